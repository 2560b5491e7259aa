/* Attributes of views that passes read. */
#ifndef OPS_VIEW_VIEW_H
#define OPS_VIEW_VIEW_H

#include "ops/table.h"

typedef struct slice_attrs {
    int64_t axis, start, length;
} slice_attrs;

#endif
