/* The memory that a step touches: who must not overtake whom. */
#ifndef GRAPH_SPANS_H
#define GRAPH_SPANS_H

#include "graph/kernel.h"

typedef struct span {
    const char *from, *to;
} span;

/* From the first to the last element, whatever lies between. */
static inline span span_of(const tensor *t)
{
    int64_t last = 0, size = ingot_dtype_bytes(t->dtype);
    for (int64_t i = 0; i < t->shape.rank; i++) last += (t->shape.dim[i] - 1) * t->stride[i];
    return (span){t->data, (const char *)t->data + (last + 1) * size};
}

static inline bool spans_meet(span a, span b)
{
    return a.from < b.to && b.from < a.to;
}

static inline bool any_spans_meet(const span *a, int count, const span *b, int others)
{
    for (int i = 0; i < count; i++)
        for (int j = 0; j < others; j++)
            if (spans_meet(a[i], b[j])) return true;
    return false;
}

#endif
