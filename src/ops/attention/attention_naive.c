/* Attention as its formula says: for each query a row of scores, its softmax, the sum of values. */
#include <math.h>

#include "kit/cpu/cpu.h"
#include "ops/attention/attention.h"

static float dot(const float *x, const float *y, int64_t count)
{
    float sum = 0;
    for (int64_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

static void add_scaled(float *y, const float *x, float scale, int64_t count)
{
    for (int64_t i = 0; i < count; i++) y[i] += scale * x[i];
}

/* Queries of one head lie side by side: row i is ((b, h), t). */
static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    attention_shape a = attention_shape_of(s, 0, 3);
    head_view q = head_view_of(&s->in[0]), k = head_view_of(&s->in[1]), v = head_view_of(&s->in[2]);
    head_view o = head_view_of(&s->out[ATTENTION_O]);
    float *lse = f32(&s->out[ATTENTION_LSE]), *p = (float *)s->scratch + worker * a.tokens;
    for (int64_t i = first; i < last; i++) {
        int64_t t = i % a.tokens, h = i / a.tokens % a.heads, b = i / a.tokens / a.heads, kv = h / a.group;
        int64_t from = attention_first(&a, b, t), to = attention_end(&a, t);
        float max = -INFINITY, sum = 0, *out = head_at(&o, b, t, h);
        for (int64_t j = from; j < to; j++) {
            p[j] = a.scale * dot(head_at(&q, b, t, h), head_at(&k, b, j, kv), a.dim);
            max = p[j] > max ? p[j] : max;
        }
        for (int64_t j = from; j < to; j++) sum += p[j] = expf(p[j] - max);
        memset(out, 0, sizeof *out * (size_t)a.dim);
        for (int64_t j = from; j < to; j++) add_scaled(out, head_at(&v, b, j, kv), p[j] / sum, a.dim);
        if (lse) lse[i] = max + logf(sum);
    }
}

static int64_t row_scratch(const node *n, const device_caps *caps)
{
    return caps->threads * n->in[0]->shape.dim[1] * 4;
}

static status launch(const step *s, queue *q)
{
    attention_shape a = attention_shape_of(s, 0, 3);
    return cpu_for(s, q, a.batch * a.heads * a.tokens, 1 + CPU_GRAIN / (a.tokens * a.dim), rows);
}

typedef struct grad_views {
    head_view dout, q, k, v, o, dq, dk, dv;
    const float *lse;
} grad_views;

static grad_views views_of(const step *s)
{
    return (grad_views){head_view_of(&s->in[0]),
                        head_view_of(&s->in[1]),
                        head_view_of(&s->in[2]),
                        head_view_of(&s->in[3]),
                        head_view_of(&s->in[4]),
                        head_view_of(&s->out[ATTENTION_GRAD_DQ]),
                        head_view_of(&s->out[ATTENTION_GRAD_DK]),
                        head_view_of(&s->out[ATTENTION_GRAD_DV]),
                        f32(&s->in[5])};
}

/* One query adds to its own dq and to dk, dv of every key it sees. */
static void grad_row(const attention_shape *a, const grad_views *g, int64_t b, int64_t h, int64_t t)
{
    int64_t kv = h / a->group;
    const float *dout = head_at(&g->dout, b, t, h), *q = head_at(&g->q, b, t, h);
    float *dq = head_at(&g->dq, b, t, h), lse = g->lse[(b * a->heads + h) * a->tokens + t];
    float delta = dot(dout, head_at(&g->o, b, t, h), a->dim);
    memset(dq, 0, sizeof *dq * (size_t)a->dim);
    for (int64_t j = attention_first(a, b, t); j < attention_end(a, t); j++) {
        const float *k = head_at(&g->k, b, j, kv);
        float p = expf(a->scale * dot(q, k, a->dim) - lse);
        float ds = p * (dot(dout, head_at(&g->v, b, j, kv), a->dim) - delta) * a->scale;
        add_scaled(head_at(&g->dv, b, j, kv), dout, p, a->dim);
        add_scaled(head_at(&g->dk, b, j, kv), q, ds, a->dim);
        add_scaled(dq, k, ds, a->dim);
    }
}

/* A kv head with its group of heads is one thread's, so that no two threads add to one dk. */
static void grad_heads(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    attention_shape a = attention_shape_of(s, 1, 6);
    grad_views g = views_of(s);
    for (int64_t i = first; i < last; i++) {
        int64_t b = i / a.kv_heads, kv = i % a.kv_heads;
        for (int64_t t = 0; t < a.tokens; t++) {
            memset(head_at(&g.dk, b, t, kv), 0, sizeof(float) * (size_t)a.dim);
            memset(head_at(&g.dv, b, t, kv), 0, sizeof(float) * (size_t)a.dim);
        }
        for (int64_t h = kv * a.group; h < (kv + 1) * a.group; h++)
            for (int64_t t = 0; t < a.tokens; t++) grad_row(&a, &g, b, h, t);
    }
}

static status grad_launch(const step *s, queue *q)
{
    attention_shape a = attention_shape_of(s, 1, 6);
    return cpu_for(s, q, a.batch * a.kv_heads, 1, grad_heads);
}

#define STRIDED STORAGE_LAST_CONTIGUOUS
#define FORWARD                                                                                                        \
    .op = &op_attention_def, .wants = {STRIDED, STRIDED, STRIDED}, .scratch = row_scratch,                             \
    .traits = KERNEL_ROW_INVARIANT, .launch = launch, .error = ERROR_SUM
#define BACKWARD                                                                                                       \
    .op = &op_attention_grad_def, .wants = {STRIDED, STRIDED, STRIDED, STRIDED, STRIDED}, .launch = grad_launch,       \
    .error = ERROR_SUM
const kernel_def attention_naive[] = {
    {.name = "attention.parallel", .level = LEVEL_PARALLEL, FORWARD},
    {.name = "attention.naive", .level = LEVEL_NAIVE, FORWARD},
    {.name = "attention_grad.parallel", .level = LEVEL_PARALLEL, BACKWARD},
    {.name = "attention_grad.naive", .level = LEVEL_NAIVE, BACKWARD},
    {0},
};
