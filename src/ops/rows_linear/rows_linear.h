#ifndef OPS_ROWS_LINEAR_ROWS_LINEAR_H
#define OPS_ROWS_LINEAR_ROWS_LINEAR_H

#include "ops/table.h"

typedef struct rows_linear_attrs {
    double eps;     /* of the norm, where there is a gain */
    int64_t swiglu; /* the first half of the outputs are gates of the second */
    int64_t wide;   /* of 16-bit x and w: y is float32 */
} rows_linear_attrs;

enum { ROWS_LINEAR_X, ROWS_LINEAR_W, ROWS_LINEAR_GAIN, ROWS_LINEAR_C };
enum { ROWS_LINEAR_MOST = 8 }; /* rows: beyond them reading the weights is not what takes the time */

#endif
