/* What depends on the kind of rows: attention over this graph's tokens or over the cache, dropout, chosen logits. */
#include "nn/nn.h"

#include "ingot/ops.h"

#include <math.h>
#include <stdio.h>

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
    ingot_scope_begin(b, "rope_table");
    value *table = ingot_rope_table(b, r->length ? r->length : r->positions, head_dim, theta, scaling);
    ingot_scope_end(b);
    return table;
}

value *nn_rope(build *b, value *x, value *table, int64_t heads, const rows *r)
{
    if (b->status) return NULL;
    int64_t width = x->shape.dim[1];
    value *y = ingot_rope(b, ingot_reshape(b, x, INGOT_SHAPE(r->count, heads, width / heads)), r->position, table, 0);
    return ingot_reshape(b, y, INGOT_SHAPE(r->count, width));
}

/* The pool of this layer's keys or values with this graph's rows in it; its name has no scope, so that sessions find it. */
static value *cached(build *b, const char *which, value *fresh, const rows *r)
{
    char name[48];
    shape s = fresh->shape; /* (N, K, D) */
    snprintf(name, sizeof name, "kv.%d.%s", (int)r->layer, which);
    const char *scope = b->scope;
    b->scope = "";
    s.dim[0] = r->pages * r->page_size;
    value *pool = ingot_state(b, name, fresh->dtype, s);
    b->scope = scope;
    return ingot_state_update(b, pool, ingot_scatter_rows(b, pool, r->slot, fresh));
}

/* q (N, H, D), k and v (N, K, D). */
static value *attend_cache(build *b, value *q, value *k, value *v, const rows *r, double scale)
{
    value *keys = cached(b, "k", k, r), *values = cached(b, "v", v, r);
    return ingot_attention_rows(b, q, keys, values, r->block_table, r->sequence, r->position, r->page_size, scale);
}

/* The same inside this graph's B sequences of T tokens. */
static value *attend_batch(build *b, value *q, value *k, value *v, const rows *r, double scale)
{
    value *in[] = {q, k, v};
    for (int i = 0; i < 3; i++) {
        shape s = ingot_shape_get(in[i]);
        in[i] = ingot_reshape(b, in[i], INGOT_SHAPE(r->batch, r->length, s.dim[1], s.dim[2]));
    }
    return ingot_attention(b, in[0], in[1], in[2], r->segment_start, scale, 1);
}

value *nn_attention(build *b, value *q, value *k, value *v, const rows *r, int64_t heads, int64_t kv_heads)
{
    if (b->status) return NULL;
    int64_t width = q->shape.dim[1], dim = width / heads;
    q = ingot_reshape(b, q, INGOT_SHAPE(r->count, heads, dim));
    k = ingot_reshape(b, k, INGOT_SHAPE(r->count, kv_heads, dim));
    v = ingot_reshape(b, v, INGOT_SHAPE(r->count, kv_heads, dim));
    if (b->status) return NULL;
    double scale = 1 / sqrt((double)dim);
    value *y = r->length ? attend_batch(b, q, k, v, r, scale) : attend_cache(b, q, k, v, r, scale);
    return ingot_reshape(b, y, INGOT_SHAPE(r->count, width));
}
