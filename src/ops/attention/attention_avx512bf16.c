/* Attention of bfloat16 in tiles (Dao et al. 2022), with vdpbf16ps, as attention_cpu.c lays it out: 64 queries side by side,
 * 64 keys at a time, four spans of queries to each copy of keys and values.
 *
 *     scores (64 keys, 64 queries) = keys (64, D) queries^T (D, 64)             pairs of D: keys are read row by row
 *     result (D, 64 queries)      += values^T (D, 64 keys) p (64 keys, 64)      pairs of keys: two rows of p leave the
 *                                                                               registers as pairs, with no packing
 *
 * Scores, sums and the results under way are float32; p is rounded to bfloat16 to be multiplied with.
 */
#include "ops/attention/attention_bf16.h"

#if defined(__AVX512BF16__)

enum { SPANS = 4 }; /* of a task */

#define LN_2   0.693147181f
#define LOWEST -1e30f /* of a query that has seen no key yet: finite, so that differences are */

/* 64 queries under way. */
typedef struct span {
    bf16 *queries; /* two panels by pairs of D */
    float *result; /* (D, 64) */
    float max[SPAN], sum[SPAN];
    int32_t from[SPAN], end[SPAN]; /* keys that each query sees */
    int64_t first, count, lowest_from, highest_from, last_end;
} span;

typedef struct views {
    attention_shape a;
    heads_of q, k, v, o;
    float *lse;
} views;

/* Of one worker, for all spans of a task. */
typedef struct room {
    bf16 *keys;   /* (64, D) */
    bf16 *values; /* (32 pairs, D) */
    bf16 *p;      /* two panels of 32 pairs of keys */
    float *scores, *turned;
    bf16 *queries;  /* of SPANS */
    float *results; /* of SPANS */
} room;

static int64_t room_bytes(int64_t dim)
{
    int64_t narrow = SPAN * (even(dim) + panels(dim) + SPAN + SPANS * even(dim));
    return bf16_round_up(narrow * 2 + SPAN * (SPAN + panels(dim) + SPANS * dim) * 4, 64);
}

static room room_in(char *at, int64_t dim)
{
    room r = {.scores = (float *)at};
    r.turned = r.scores + SPAN * SPAN;
    r.results = r.turned + SPAN * panels(dim);
    r.p = (bf16 *)(r.results + SPANS * SPAN * dim);
    r.values = r.p + SPAN * SPAN;
    r.keys = r.values + SPAN * panels(dim);
    r.queries = r.keys + SPAN * even(dim);
    return r;
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
        int64_t t = first + MIN(i, p->count - 1), from = attention_first(a, b, t);
        p->max[i] = LOWEST;
        p->sum[i] = 0;
        p->from[i] = (int32_t)from;
        p->end[i] = (int32_t)attention_end(a, t);
        p->lowest_from = MIN(p->lowest_from, from);
        p->highest_from = MAX(p->highest_from, from);
    }
    memset(p->result, 0, sizeof(float) * (size_t)(a->dim * SPAN));
    pack_queries(p->queries, at_token(&w->q, b, first, h), w->q.token, p->count, a->dim);
}

/* 16 queries: scores are scaled, what is not seen becomes -infinity. */
static void mask(const span *p, int64_t at, float *scores, int64_t first_key, int64_t keys, float scale)
{
    for (int64_t j = 0; j < keys; j++) {
        __mmask16 seen = sees(p->from + at, p->end + at, first_key + j);
        __m512 s = _mm512_mul_ps(_mm512_loadu_ps(scores + j * SPAN), _mm512_set1_ps(scale));
        _mm512_storeu_ps(scores + j * SPAN, _mm512_mask_blend_ps(seen, _mm512_set1_ps(-__builtin_inff()), s));
    }
}

/* 16 queries: scores become p, pairs of keys side by side; what came before fades by the growth of the maximum. */
static void soften(span *p, int64_t at, const float *scores, bf16 *to, int64_t keys, float scale, int64_t dim)
{
    const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512 by = _mm512_set1_ps(scale), before = _mm512_loadu_ps(p->max + at), max = before, other = before;
    for (int64_t j = 0; j + 1 < keys; j += 2) { /* NaN is passed over: p is NaN then */
        max = _mm512_max_ps(_mm512_mul_ps(_mm512_loadu_ps(scores + j * SPAN), by), max);
        other = _mm512_max_ps(_mm512_mul_ps(_mm512_loadu_ps(scores + (j + 1) * SPAN), by), other);
    }
    if (keys % 2) max = _mm512_max_ps(_mm512_mul_ps(_mm512_loadu_ps(scores + (keys - 1) * SPAN), by), max);
    max = _mm512_max_ps(other, max);
    __m512 fade = exp2_lanes(_mm512_sub_ps(before, max));
    __m512 sum = _mm512_mul_ps(_mm512_loadu_ps(p->sum + at), fade), odd_sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < keys; j += 2, to += 2 * BF16_COLUMNS) {
        __m512 e = exp2_lanes(_mm512_fmsub_ps(_mm512_loadu_ps(scores + j * SPAN), by, max)), odd = _mm512_setzero_ps();
        if (j + 1 < keys) odd = exp2_lanes(_mm512_fmsub_ps(_mm512_loadu_ps(scores + (j + 1) * SPAN), by, max));
        sum = _mm512_add_ps(sum, e);
        odd_sum = _mm512_add_ps(odd_sum, odd);
        _mm512_storeu_si512(to, _mm512_permutexvar_epi16(turns, (__m512i)_mm512_cvtne2ps_pbh(odd, e)));
    }
    _mm512_storeu_ps(p->max + at, max);
    _mm512_storeu_ps(p->sum + at, _mm512_add_ps(sum, odd_sum));
    if (!_mm512_cmp_ps_mask(before, max, _CMP_NEQ_UQ)) return;
    for (int64_t d = 0; d < dim; d++) {
        float *r = p->result + d * SPAN + at;
        _mm512_storeu_ps(r, _mm512_mul_ps(_mm512_loadu_ps(r), fade));
    }
}

/* On the diagonal the later half of the keys is seen by the later half of the queries only: a quarter is left out. */
static void span_add(span *p, const room *r, int64_t first_key, const attention_shape *a)
{
    int64_t count = MIN(p->last_end - first_key, SPAN), dim = a->dim;
    float scale = a->scale * LOG2_E; /* powers of two */
    bool diagonal = first_key == p->first && p->end[0] == p->first + 1 && count > HALF;
    bool some = first_key + count > p->end[0] || first_key < p->highest_from;
    for (int64_t half = 0; half < p->count; half += HALF) {
        int64_t keys = diagonal && !half ? HALF : count;
        float *scores = r->scores + half;
        bf16 *pairs = r->p + half * SPAN;
        stripe(scores, SPAN, HALF, r->keys, dim, p->queries + half * even(dim), keys, dim, false);
        for (int64_t v = 0; v < HALF; v += LANES) {
            if (some) mask(p, half + v, scores + v, first_key, keys, scale);
            soften(p, half + v, scores + v, pairs + 2 * v, keys, some ? 1 : scale, dim);
        }
        stripe_across(p->result + half, SPAN, r->values, 2 * panels(dim), pairs, dim, even(keys) / 2);
    }
}

static void span_finish(span *p, const views *w, const room *r, int64_t b, int64_t h)
{
    const attention_shape *a = &w->a;
    float scale[SPAN];
    for (int64_t i = 0; i < SPAN; i++) scale[i] = 1 / p->sum[i];
    for (int64_t d = 0; d < a->dim; d++)
        for (int64_t i = 0; i < SPAN; i++) p->result[d * SPAN + i] *= scale[i];
    turn_and_narrow(at_token(&w->o, b, p->first, h), w->o.token, p->result, p->count, a->dim, r->turned);
    if (!w->lse) return;
    float *lse = w->lse + (b * a->heads + h) * a->tokens + p->first;
    for (int64_t i = 0; i < p->count; i++) lse[i] = p->max[i] * LN_2 + v_log(p->sum[i]);
}

/* Queries [first, end) of one head. */
static void block(const views *w, const room *r, int64_t b, int64_t h, int64_t first, int64_t end)
{
    int64_t dim = w->a.dim, kv = h / w->a.group, spans = 0, from = w->a.tokens, last = 0;
    span span_of[SPANS];
    for (int64_t t = first; t < end; t += SPAN, spans++) {
        span *p = &span_of[spans];
        p->queries = r->queries + spans * SPAN * even(dim);
        p->result = r->results + spans * SPAN * dim;
        span_start(p, w, b, h, t);
        from = MIN(from, p->lowest_from);
        last = MAX(last, p->last_end);
    }
    for (int64_t key = from / SPAN * SPAN; key < last; key += SPAN) {
        int64_t count = MIN(last - key, SPAN);
        gather_rows(r->keys, at_token(&w->k, b, key, kv), w->k.token, count, dim);
        interleave(r->values, at_token(&w->v, b, key, kv), w->v.token, count, dim);
        for (int64_t i = 0; i < spans; i++)
            if (key < span_of[i].last_end && key + SPAN > span_of[i].lowest_from) span_add(&span_of[i], r, key, &w->a);
    }
    for (int64_t i = 0; i < spans; i++) span_finish(&span_of[i], w, r, b, h);
}

static int64_t blocks_of_head(const attention_shape *a)
{
    return (a->tokens + SPAN * SPANS - 1) / (SPAN * SPANS);
}

static void blocks(const step *s, int64_t first, int64_t last, int worker)
{
    views w = {attention_shape_of(s, 0, 3),    heads_in(&s->in[0]),        heads_in(&s->in[1]), heads_in(&s->in[2]),
               heads_in(&s->out[ATTENTION_O]), f32(&s->out[ATTENTION_LSE])};
    int64_t tokens = w.a.tokens, per_head = blocks_of_head(&w.a);
    room r = room_in((char *)s->scratch + worker * room_bytes(w.a.dim), w.a.dim);
    for (int64_t i = first; i < last; i++) {
        int64_t head = i / per_head, from = i % per_head * SPAN * SPANS;
        block(&w, &r, head / w.a.heads, head % w.a.heads, from, MIN(from + SPAN * SPANS, tokens));
    }
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    return caps->threads * room_bytes(n->in[0]->shape.dim[3]);
}

static status launch(const step *s, queue *q)
{
    attention_shape a = attention_shape_of(s, 0, 3);
    return cpu_for(s, q, a.batch * a.heads * blocks_of_head(&a), 1, blocks);
}

#define STRIDED STORAGE_LAST_CONTIGUOUS
const kernel_def attention_avx512bf16[] = {
    {.op = &op_attention_def,
     .name = "attention.avx512-bf16",
     .level = LEVEL_AVX512_BF16,
     .match = bf16_attention_match,
     .traits = KERNEL_ROW_INVARIANT,
     .wants = {STRIDED, STRIDED, STRIDED},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
#else
extern const kernel_def attention_avx512bf16[];
const kernel_def attention_avx512bf16[] = {{0}};
#endif
