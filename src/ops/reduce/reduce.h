/* Attributes of reduce. */
#ifndef OPS_REDUCE_REDUCE_H
#define OPS_REDUCE_REDUCE_H

#include "ops/table.h"

typedef enum reduce_kind { REDUCE_SUM, REDUCE_MAX } reduce_kind;

/* Over one axis: x seen as (outer, length, inner) -> (outer, inner). */
typedef struct reduce_attrs {
    int64_t kind, axis, keep;
    int64_t wide; /* of 16-bit x: y is float32 */
} reduce_attrs;

/* The sum of 16-bit x in float32, as gradients of weights want it. */
value *sum_wide(build *b, value *x, int axis, int keep);

#endif
