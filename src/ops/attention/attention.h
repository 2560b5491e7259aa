/* Attributes of the attention ops, and how their kernels see a node. */
#ifndef OPS_ATTENTION_ATTENTION_H
#define OPS_ATTENTION_ATTENTION_H

#include "graph/kernel.h"
#include "ops/table.h"

typedef struct attention_attrs {
    double scale;
    int64_t causal;
} attention_attrs;

/* attention: q, k, v, segment_start (optional) -> o, lse (optional).
 * attention_grad: do, q, k, v, o, lse, segment_start (optional) -> dq, dk, dv. */
enum { ATTENTION_O, ATTENTION_LSE };
enum { ATTENTION_GRAD_DQ, ATTENTION_GRAD_DK, ATTENTION_GRAD_DV };

/* A tensor (B, T, heads, D) by heads: element d of token t is at data + batch*b + token*t + head*h + d. */
typedef struct head_view {
    float *data;
    int64_t batch, token, head;
} head_view;

static inline head_view head_view_of(const tensor *t)
{
    return (head_view){(float *)t->data, t->stride[0], t->stride[1], t->stride[2]};
}

static inline float *head_at(const head_view *v, int64_t b, int64_t t, int64_t h)
{
    return v->data + b * v->batch + t * v->token + h * v->head;
}

typedef struct attention_shape {
    int64_t batch, tokens, heads, kv_heads, group, dim;
    float scale;
    bool causal;
    const int32_t *starts; /* (B, T) or NULL */
} attention_shape;

static inline attention_shape attention_shape_of(const step *s, int q, int starts)
{
    const attention_attrs *a = ATTRS_OF(attention_attrs, s->node);
    shape qs = s->in[q].shape;
    return (attention_shape){.batch = qs.dim[0],
                             .tokens = qs.dim[1],
                             .heads = qs.dim[2],
                             .kv_heads = s->in[q + 1].shape.dim[2],
                             .group = qs.dim[2] / s->in[q + 1].shape.dim[2],
                             .dim = qs.dim[3],
                             .scale = (float)a->scale,
                             .causal = a->causal != 0,
                             .starts = s->inputs > starts ? (const int32_t *)s->in[starts].data : NULL};
}

/* The first key that token t of row b sees; the one after the last. */
static inline int64_t attention_first(const attention_shape *a, int64_t b, int64_t t)
{
    int64_t start = a->starts ? a->starts[b * a->tokens + t] : 0;
    return start < 0 ? 0 : MIN(start, t);
}
static inline int64_t attention_end(const attention_shape *a, int64_t t)
{
    return a->causal ? t + 1 : a->tokens;
}

#endif
