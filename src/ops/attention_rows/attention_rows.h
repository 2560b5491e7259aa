/* Attributes of attention_rows, and how its kernels see a node. */
#ifndef OPS_ATTENTION_ROWS_ATTENTION_ROWS_H
#define OPS_ATTENTION_ROWS_ATTENTION_ROWS_H

#include "graph/kernel.h"
#include "ops/table.h"

typedef struct attention_rows_attrs {
    double scale;
    int64_t page_size;
} attention_rows_attrs;

enum { ROWS_Q, ROWS_K_POOL, ROWS_V_POOL, ROWS_BLOCK_TABLE, ROWS_SEQUENCE, ROWS_POSITION };

typedef struct paged_shape {
    int64_t rows, heads, kv_heads, group, dim;
    int64_t pool, sequences, pages, page_size; /* rows of the pool; of the block table; pages a sequence; rows a page */
    float scale;
    const int32_t *block_table, *sequence, *position;
} paged_shape;

static inline paged_shape paged_shape_of(const step *s)
{
    const attention_rows_attrs *a = ATTRS_OF(attention_rows_attrs, s->node);
    shape q = s->in[ROWS_Q].shape, k = s->in[ROWS_K_POOL].shape, t = s->in[ROWS_BLOCK_TABLE].shape;
    return (paged_shape){.rows = q.dim[0],
                         .heads = q.dim[1],
                         .kv_heads = k.dim[1],
                         .group = q.dim[1] / k.dim[1],
                         .dim = q.dim[2],
                         .pool = k.dim[0],
                         .sequences = t.dim[0],
                         .pages = t.dim[1],
                         .page_size = a->page_size,
                         .scale = (float)a->scale,
                         .block_table = (const int32_t *)s->in[ROWS_BLOCK_TABLE].data,
                         .sequence = (const int32_t *)s->in[ROWS_SEQUENCE].data,
                         .position = (const int32_t *)s->in[ROWS_POSITION].data};
}

/* How many keys row i sees; 0 for a padding row. */
static inline int64_t paged_keys(const paged_shape *p, int64_t i)
{
    return MIN((int64_t)p->position[i] + 1, p->pages * p->page_size);
}

/* The pool's row of key `j` of a sequence; -1: nowhere, which reads as zeros. A sequence that is not in the table has
 * page 0 throughout. */
static inline int64_t paged_slot(const paged_shape *p, int64_t sequence, int64_t j)
{
    bool known = sequence >= 0 && sequence < p->sequences;
    int64_t page = known ? p->block_table[sequence * p->pages + j / p->page_size] : 0;
    int64_t slot = page * p->page_size + j % p->page_size;
    return page >= 0 && slot < p->pool ? slot : -1;
}

#endif
