/* Attention in tiles, without a row of scores in memory (Dao et al. 2022): 64 queries lie side by side in vector lanes, keys
 * come 64 at a time. Scores are (keys, queries), so that the running maximum and sum of a query stay in its lane; both
 * products read one operand element by element (kit/cpu/tile.h), so keys and values are never transposed.
 *
 *     scores (64 keys, 64 queries) = keys (64, D) queries^T (D, 64)
 *     result (D, 64 queries)      += values^T (D, 64 keys) p (64 keys, 64 queries)
 *
 * Key tiles begin at multiples of 64, whatever the batch: a query's sums have one order.
 */
#include "kit/cpu/cpu.h"
#include "kit/cpu/tile.h"
#include "kit/cpu/vmath.h"
#include "ops/attention/attention.h"

enum { SPAN = 64, SPANS = 4 }; /* queries of a span; spans of a task, which share each tile of keys and values */

#define LOWEST -1e30f /* of a query that has seen no key yet: finite, so that differences are */

/* 64 queries under way. */
typedef struct span {
    float *queries, *result; /* (D, 64) each */
    float max[SPAN], sum[SPAN];
    int32_t from[SPAN], end[SPAN]; /* keys that each query sees */
    int64_t first, count;          /* queries; count <= 64 */
    int64_t lowest_from, highest_from, last_end;
} span;

typedef struct views {
    attention_shape a;
    head_view q, k, v, o;
    float *lse;
} views;

static views views_of(const step *s)
{
    return (views){attention_shape_of(s, 0, 3),
                   head_view_of(&s->in[0]),
                   head_view_of(&s->in[1]),
                   head_view_of(&s->in[2]),
                   head_view_of(&s->out[ATTENTION_O]),
                   f32(&s->out[ATTENTION_LSE])};
}

static void span_start(span *p, const views *w, int64_t b, int64_t h, int64_t first)
{
    const attention_shape *a = &w->a;
    p->first = first;
    p->count = MIN(a->tokens - first, SPAN);
    p->lowest_from = a->tokens;
    p->highest_from = 0;
    p->last_end = attention_end(a, first + p->count - 1);
    for (int64_t i = 0; i < SPAN; i++) {
        p->max[i] = LOWEST;
        p->sum[i] = 0;
        int64_t t = first + MIN(i, p->count - 1), from = attention_first(a, b, t);
        p->from[i] = (int32_t)from;
        p->end[i] = (int32_t)attention_end(a, t);
        p->lowest_from = MIN(p->lowest_from, from);
        p->highest_from = MAX(p->highest_from, from);
    }
    memset(p->result, 0, sizeof(float) * (size_t)(a->dim * SPAN));
    if (p->count < SPAN) memset(p->queries, 0, sizeof(float) * (size_t)(a->dim * SPAN));
    tile_transpose(p->queries, SPAN, head_at(&w->q, b, first, h), w->q.token, p->count, a->dim,
                   a->scale * 1.44269504f); /* scores in powers of two */
}

static void mask(const span *p, float *scores, int64_t first_key, int64_t keys)
{
    for (int64_t j = 0; j < keys; j++) {
        float *row = scores + j * SPAN;
        int32_t key = (int32_t)(first_key + j);
        for (int64_t i = 0; i < SPAN; i++) row[i] = key < p->from[i] || key >= p->end[i] ? -__builtin_inff() : row[i];
    }
}

/* Scores become e^(score - max); what came before fades by the growth of the maximum. */
static void soften(span *p, float *scores, int64_t keys, int64_t dim)
{
    float max[SPAN], fade[SPAN], sum[SPAN];
    memcpy(max, p->max, sizeof max);
    for (int64_t j = 0; j < keys; j++)
        for (int64_t i = 0; i < SPAN; i++) max[i] = scores[j * SPAN + i] > max[i] ? scores[j * SPAN + i] : max[i];
    bool grew = memcmp(max, p->max, sizeof max) != 0;
    for (int64_t i = 0; i < SPAN; i++) {
        fade[i] = v_exp2_low(p->max[i] - max[i]);
        sum[i] = p->sum[i] * fade[i];
    }
    for (int64_t j = 0; j < keys; j++)
        for (int64_t i = 0; i < SPAN; i++) {
            float e = v_exp2_low(scores[j * SPAN + i] - max[i]);
            scores[j * SPAN + i] = e;
            sum[i] += e;
        }
    memcpy(p->max, max, sizeof max);
    memcpy(p->sum, sum, sizeof sum);
    for (int64_t d = 0; grew && d < dim; d++)
        for (int64_t i = 0; i < SPAN; i++) p->result[d * SPAN + i] *= fade[i];
}

/* On the diagonal the later half of the keys is seen by the later half of the queries only: a quarter of each product is
 * left out, and what is not computed is masked. */
static void span_add(span *p, const float *keys, const float *values, float *scores, int64_t first_key, int64_t dim)
{
    int64_t count = MIN(p->last_end - first_key, SPAN), half = SPAN / 2;
    bool diagonal = first_key == p->first && p->end[0] == p->first + 1 && count > half;
    int64_t early = diagonal ? half : count;
    tile_product(early, SPAN, dim, (tile_scalars){keys, dim, 1}, p->queries, SPAN, scores, SPAN, false);
    if (diagonal)
        tile_product(count - half, half, dim, (tile_scalars){keys + half * dim, dim, 1}, p->queries + half, SPAN,
                     scores + half * SPAN + half, SPAN, false);
    if (first_key + count > p->end[0] || first_key < p->highest_from) mask(p, scores, first_key, count);
    soften(p, scores, count, dim);
    tile_scalars columns = {values, 1, dim};
    tile_product(dim, half, early, columns, scores, SPAN, p->result, SPAN, true);
    tile_product(dim, half, count, columns, scores + half, SPAN, p->result + half, SPAN, true);
}

static void span_finish(span *p, const views *w, int64_t b, int64_t h)
{
    const attention_shape *a = &w->a;
    float scale[SPAN];
    for (int64_t i = 0; i < SPAN; i++) scale[i] = 1 / p->sum[i];
    for (int64_t d = 0; d < a->dim; d++)
        for (int64_t i = 0; i < SPAN; i++) p->result[d * SPAN + i] *= scale[i];
    tile_transpose(head_at(&w->o, b, p->first, h), w->o.token, p->result, SPAN, a->dim, p->count, 1);
    if (!w->lse) return;
    float *lse = w->lse + (b * a->heads + h) * a->tokens + p->first;
    for (int64_t i = 0; i < p->count; i++) lse[i] = p->max[i] * 0.693147181f + v_log(p->sum[i]);
}

/* Queries [first, end) of one head. */
static void block(const views *w, float *scratch, int64_t b, int64_t h, int64_t first, int64_t end)
{
    int64_t dim = w->a.dim, kv = h / w->a.group, spans = 0, from = w->a.tokens, last = 0;
    span span_of[SPANS];
    float *keys = scratch, *values = keys + SPAN * dim, *scores = values + SPAN * dim, *free = scores + SPAN * SPAN;
    for (int64_t t = first; t < end; t += SPAN, spans++) {
        span *p = &span_of[spans];
        tile_prefetch(head_at(&w->q, b, t + SPAN, h), w->q.token, MIN(MAX(end - t - SPAN, 0), SPAN), dim);
        p->queries = free + 2 * spans * SPAN * dim;
        p->result = p->queries + SPAN * dim;
        span_start(p, w, b, h, t);
        from = MIN(from, p->lowest_from);
        last = MAX(last, p->last_end);
    }
    for (int64_t key = from / SPAN * SPAN; key < last; key += SPAN) {
        int64_t count = MIN(last - key, SPAN), after = MIN(last - key - count, SPAN);
        tile_copy(keys, dim, head_at(&w->k, b, key, kv), w->k.token, count, dim, dim, 1);
        tile_copy(values, dim, head_at(&w->v, b, key, kv), w->v.token, count, dim, dim, 1);
        tile_prefetch(head_at(&w->k, b, key + SPAN, kv), w->k.token, after, dim);
        tile_prefetch(head_at(&w->v, b, key + SPAN, kv), w->v.token, after, dim);
        for (int64_t i = 0; i < spans; i++)
            if (key < span_of[i].last_end && key + SPAN > span_of[i].lowest_from)
                span_add(&span_of[i], keys, values, scores, key, dim);
    }
    for (int64_t i = 0; i < spans; i++) {
        if (i + 1 < spans)
            tile_prefetch(head_at(&w->o, b, span_of[i + 1].first, h), w->o.token, span_of[i + 1].count, dim);
        span_finish(&span_of[i], w, b, h);
    }
}

static int64_t scratch_floats(int64_t dim)
{
    return (2 + 2 * SPANS) * SPAN * dim + SPAN * SPAN;
}

static void blocks(const step *s, int64_t first, int64_t last, int worker)
{
    views w = views_of(s);
    int64_t tokens = w.a.tokens, per_head = (tokens + SPAN * SPANS - 1) / (SPAN * SPANS);
    float *scratch = (float *)s->scratch + worker * scratch_floats(w.a.dim);
    for (int64_t i = first; i < last; i++) {
        int64_t head = i / per_head, from = i % per_head * SPAN * SPANS;
        block(&w, scratch, head / w.a.heads, head % w.a.heads, from, MIN(from + SPAN * SPANS, tokens));
    }
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    return caps->threads * scratch_floats(n->in[0]->shape.dim[3]) * 4;
}

static status launch(const step *s, queue *q)
{
    attention_shape a = attention_shape_of(s, 0, 3);
    int64_t per_head = (a.tokens + SPAN * SPANS - 1) / (SPAN * SPANS);
    return cpu_for(s, q, a.batch * a.heads * per_head, 1, blocks);
}

#define STRIDED STORAGE_LAST_CONTIGUOUS
const kernel_def ISA_NAME(attention_cpu)[] = {
    {.op = &op_attention_def,
     .name = "attention.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .wants = {STRIDED, STRIDED, STRIDED},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
