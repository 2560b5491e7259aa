/* What cached_attention means, one part after the other by their readable kernels: for the graphs that the match pass makes,
 * on a machine without the device that gains by them.
 */
#include "kit/cpu/cpu.h"
#include "ops/cached_attention/cached_attention.h"
#include "ops/rope/rope.h"

extern const kernel_def rope_naive[], scatter_rows_naive[], attention_rows_naive[];

static tensor contiguous_at(float *at, const tensor *like)
{
    tensor t = *like;
    layout l = layout_contiguous(like->shape);
    t.data = at;
    memcpy(t.stride, l.stride, sizeof t.stride);
    return t;
}

/* *y: x turned by the rows' positions, in scratch; x itself where there are no angles. */
static status turn(const step *s, queue *q, int input, float *at, tensor *y)
{
    const rope_attrs halves = {0};
    const node n = {.op = &op_rope_def, .attrs = (void *)&halves};
    tensor in[] = {s->in[input], s->in[CACHED_POSITION], {.data = NULL}};
    *y = in[0];
    if (s->inputs <= CACHED_ANGLES || !s->in[CACHED_ANGLES].data) return INGOT_OK;
    in[2] = s->in[CACHED_ANGLES];
    step rope = {.node = &n, .in = in, .inputs = 3, .out = {contiguous_at(at, &in[0])}};
    *y = rope.out[0];
    return rope_naive->launch(&rope, q);
}

static status put(const step *s, queue *q, int pool, int after, tensor rows)
{
    tensor in[] = {s->in[pool], s->in[CACHED_SLOT], rows};
    const step scatter = {.in = in, .inputs = 3, .out = {s->out[after]}};
    return scatter_rows_naive->launch(&scatter, q);
}

static status launch(const step *s, queue *q)
{
    float *at = s->scratch;
    const node n = {.op = &op_attention_rows_def, .attrs = s->node->attrs};
    tensor query, key;
    TRY(turn(s, q, CACHED_Q, at, &query));
    TRY(turn(s, q, CACHED_K, at + shape_count(query.shape), &key));
    TRY(put(s, q, CACHED_K_POOL, CACHED_K_AFTER, key));
    TRY(put(s, q, CACHED_V_POOL, CACHED_V_AFTER, s->in[CACHED_V]));
    tensor in[] = {query,
                   s->out[CACHED_K_AFTER],
                   s->out[CACHED_V_AFTER],
                   s->in[CACHED_BLOCK_TABLE],
                   s->in[CACHED_SEQUENCE],
                   s->in[CACHED_POSITION]};
    const step attend = {.node = &n, .in = in, .inputs = 6, .out = {s->out[CACHED_O]}};
    return attention_rows_naive->launch(&attend, q);
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    (void)caps;
    return (shape_count(n->in[CACHED_Q]->shape) + shape_count(n->in[CACHED_K]->shape)) * (int64_t)sizeof(float);
}

const kernel_def cached_attention_naive[] = {
    {.op = &op_cached_attention_def,
     .name = "cached_attention.naive",
     .level = LEVEL_NAIVE,
     .traits = KERNEL_BY_REQUEST | KERNEL_ROW_INVARIANT,
     .wants = {STORAGE_LAST_CONTIGUOUS},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
