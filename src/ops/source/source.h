/* Where values come from and where they stay: inputs, uniforms, states, constants. */
#ifndef OPS_SOURCE_SOURCE_H
#define OPS_SOURCE_SOURCE_H

#include "ops/table.h"

typedef struct source_attrs {
    const char *name;
    const char *group; /* of states; NULL: alone */
    int64_t dtype;
    shape shape;
} source_attrs;

typedef struct constant_attrs {
    double value;
    int64_t dtype;
    shape shape;
} constant_attrs;

typedef struct iota_attrs {
    int64_t axis, dtype;
    shape shape;
} iota_attrs;

#endif
