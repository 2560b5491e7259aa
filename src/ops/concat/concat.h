/* Attributes of concat. */
#ifndef OPS_CONCAT_CONCAT_H
#define OPS_CONCAT_CONCAT_H

#include "ops/table.h"

typedef struct concat_attrs {
    int64_t axis;
} concat_attrs;

#endif
