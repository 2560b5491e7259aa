/* Attributes of concat. */
#ifndef OPS_CONCAT_CONCAT_H
#define OPS_CONCAT_CONCAT_H

#include "graph/kernel.h"
#include "ops/table.h"

typedef struct concat_attrs {
    int64_t axis;
} concat_attrs;

/* Whether input i was made in its place in the result: there is nothing to move. */
static inline bool concat_in_place(const step *s, int i)
{
    return s->node->in[i]->storage == s->node->out[0];
}

#endif
