/* What depends on the kind of rows: attention over this graph's tokens or over the cache, dropout, chosen logits. */
#include "nn/nn.h"

#include "ingot/ops.h"

#include <math.h>

value *nn_dropout(build *b, value *x, const rows *r)
{
    if (!r->rng || r->dropout == 0 || b->status) return x;
    return ingot_dropout(b, x, r->rng, r->dropout, b->streams++);
}

value *nn_wanted(build *b, value *x, const rows *r)
{
    return r->wanted ? ingot_gather(b, x, r->wanted) : x;
}

value *nn_rope_table(build *b, int64_t head_dim, double theta, const ingot_rope_scaling *scaling, const rows *r)
{
    return ingot_rope_table(b, r->length ? r->length : r->positions, head_dim, theta, scaling);
}

value *nn_rope(build *b, value *x, value *table, int64_t heads, const rows *r)
{
    if (b->status) return NULL;
    int64_t width = x->shape.dim[1];
    value *y = ingot_rope(b, ingot_reshape(b, x, INGOT_SHAPE(r->count, heads, width / heads)), r->position, table, 0);
    return ingot_reshape(b, y, INGOT_SHAPE(r->count, width));
}

value *nn_attention(build *b, value *q, value *k, value *v, const rows *r, int64_t heads, int64_t kv_heads)
{
    if (b->status) return NULL;
    if (!r->length) return build_fail(b, INGOT_ERROR_UNSUPPORTED, "rows over a cache wait for ingot_attention_rows");
    int64_t dim = q->shape.dim[1] / heads;
    shape queries = INGOT_SHAPE(r->batch, r->length, heads, dim),
          keys = INGOT_SHAPE(r->batch, r->length, kv_heads, dim);
    q = ingot_reshape(b, q, queries), k = ingot_reshape(b, k, keys), v = ingot_reshape(b, v, keys);
    value *y = ingot_attention(b, q, k, v, r->segment_start, 1 / sqrt((double)dim), 1);
    return ingot_reshape(b, y, INGOT_SHAPE(r->count, heads * dim));
}
