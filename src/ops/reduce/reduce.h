/* Attributes of reduce. */
#ifndef OPS_REDUCE_REDUCE_H
#define OPS_REDUCE_REDUCE_H

#include "ops/table.h"

typedef enum reduce_kind { REDUCE_SUM, REDUCE_MAX } reduce_kind;

/* Over one axis: x seen as (outer, length, inner) -> (outer, inner). */
typedef struct reduce_attrs {
    int64_t kind, axis, keep;
} reduce_attrs;

#endif
