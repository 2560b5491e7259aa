/* The backward pass of attention in bfloat16: tiles of 64 keys by 64 queries as in the forward pass, p made again from lse.
 *
 *     p  = e^(scores - lse)                      scores (64 keys, 64 queries) = keys (64, D) queries^T
 *     ds = p (dp - delta) scale                  dp (64 keys, 64 queries) = values (64, D) do^T
 *     dv (64 keys, D) += p do                    p, ds as rows of queries
 *     dk (64 keys, D) += ds queries
 *     dq^T (D, 64 queries) += keys^T ds          ds as pairs of keys, which two rows of it are
 *
 * All five products take what the softmax leaves as it lies. p and ds are rounded to bfloat16, sums are float32. A kv head
 * with its group of query heads is one task, so that nothing is added by two threads.
 */
#include "ops/attention/attention_bf16.h"

#if defined(__AVX512BF16__)

typedef struct backward {
    attention_shape a;
    heads_of dout, q, k, v, o, dq, dk, dv;
    const float *lse;
} backward;

/* Of one worker. */
typedef struct room {
    bf16 *keys, *values;                        /* (T, D), rows as they are */
    bf16 *key_pairs;                            /* (T / 2 pairs, D) */
    bf16 *queries, *dout;                       /* of a span: two panels by pairs of D */
    bf16 *query_pairs, *dout_pairs;             /* of a span: panels of D by pairs of queries */
    bf16 *p, *ds, *ds_pairs;                    /* (64 keys, 64 queries) twice, two panels by pairs of keys */
    float *scores, *dp, *dq, *dk, *dv, *turned; /* (64, 64) twice, (D, 64), (T, D panels) twice, (64, D panels) */
    float level[SPAN], delta[SPAN];             /* of a span's queries: lse in powers of two, sum(do o) */
    int32_t from[SPAN], end[SPAN];
} room;

/* Where each part lies behind `at`, and the bytes of them all; NULL: only these. */
static room room_in(char *at, int64_t tokens, int64_t dim, int64_t *bytes)
{
    int64_t keys = bf16_round_up(tokens, SPAN), wide = panels(dim);
    room r;
    int64_t used = 0;
#define TAKE(field, count)                                                                                             \
    r.field = at ? (void *)(at + used) : NULL;                                                                         \
    used += bf16_round_up((count) * (int64_t)sizeof *r.field, 64)
    TAKE(keys, keys * dim);
    TAKE(values, keys * dim);
    TAKE(key_pairs, keys * wide);
    TAKE(queries, SPAN * even(dim));
    TAKE(dout, SPAN * even(dim));
    TAKE(query_pairs, SPAN * wide);
    TAKE(dout_pairs, SPAN * wide);
    TAKE(p, SPAN * SPAN);
    TAKE(ds, SPAN * SPAN);
    TAKE(ds_pairs, SPAN * SPAN);
    TAKE(scores, SPAN * SPAN);
    TAKE(dp, SPAN * SPAN);
    TAKE(dq, SPAN * dim);
    TAKE(dk, keys * wide);
    TAKE(dv, keys * wide);
    TAKE(turned, SPAN * wide);
#undef TAKE
    *bytes = used;
    return r;
}

static int64_t room_bytes(int64_t tokens, int64_t dim)
{
    int64_t bytes;
    room_in(NULL, tokens, dim, &bytes);
    return bytes;
}

/* p and ds of 16 queries and one key. */
typedef struct weights {
    __m512 p, ds;
} weights;

static inline __attribute__((always_inline)) weights weights_of(const room *r, int64_t at, int64_t j, __mmask16 seen,
                                                                float scale)
{
    __m512 level = _mm512_loadu_ps(r->level + at), delta = _mm512_loadu_ps(r->delta + at);
    __m512 s = _mm512_loadu_ps(r->scores + j * SPAN + at), dp = _mm512_loadu_ps(r->dp + j * SPAN + at);
    __m512 p = _mm512_maskz_mov_ps(seen, exp2_lanes(_mm512_fmsub_ps(s, _mm512_set1_ps(scale * LOG2_E), level)));
    __m512 ds = _mm512_mul_ps(_mm512_mul_ps(p, _mm512_set1_ps(scale)), _mm512_sub_ps(dp, delta));
    return (weights){p, _mm512_maskz_mov_ps(seen, ds)};
}

/* 32 queries from `half` on: scores and dp of `keys` keys become p and ds. */
static inline __attribute__((always_inline)) void soften(const room *r, int64_t half, int64_t first_key, int64_t keys,
                                                         float scale, const bool some)
{
    __m512i above = _mm512_setzero_si512();
    for (int64_t j = 0; j < even(keys); j++) {
        __m512i ds = _mm512_setzero_si512();
        if (j < keys) {
            __mmask16 low = 0xffff, high = 0xffff;
            if (some) {
                low = sees(r->from + half, r->end + half, first_key + j);
                high = sees(r->from + half + LANES, r->end + half + LANES, first_key + j);
            }
            weights a = weights_of(r, half, j, low, scale), b = weights_of(r, half + LANES, j, high, scale);
            _mm512_storeu_si512(r->p + j * SPAN + half, (__m512i)_mm512_cvtne2ps_pbh(b.p, a.p));
            ds = (__m512i)_mm512_cvtne2ps_pbh(b.ds, a.ds);
            _mm512_storeu_si512(r->ds + j * SPAN + half, ds);
        }
        if (j % 2) bf16_interleave(r->ds_pairs + half * SPAN + (j - 1) * HALF, above, ds, BF16_COLUMNS);
        above = ds;
    }
}

/* to (keys, D) += a (keys, queries) b, a quarter left out on the diagonal, as below. */
static void add_rows(float *to, const bf16 *a, const bf16 *b, int64_t keys, int64_t count, int64_t dim, bool diagonal)
{
    int64_t early = diagonal ? HALF : keys;
    for (int64_t d = 0; d < dim; d += BF16_COLUMNS) {
        const bf16 *panel = b + d * SPAN;
        stripe(to + d, panels(dim), dim - d, a, SPAN, panel, early, even(count), true);
        if (diagonal)
            stripe(to + d + HALF * panels(dim), panels(dim), dim - d, a + HALF * SPAN + HALF, SPAN, panel + HALF * HALF,
                   keys - HALF, even(count) - HALF, true);
    }
}

/* On the diagonal the later half of the keys is seen by the later half of the queries only. */
static void add_keys(const room *r, const attention_shape *a, int64_t first, int64_t count, int64_t key, int64_t last,
                     int64_t highest_from)
{
    int64_t dim = a->dim, wide = panels(dim), keys = MIN(last - key, SPAN);
    bool diagonal = key == first && r->end[0] == first + 1 && keys > HALF;
    bool some = key + keys > r->end[0] || key < highest_from;
    for (int64_t half = 0; half < count; half += HALF) {
        int64_t seen = diagonal && !half ? HALF : keys;
        stripe(r->scores + half, SPAN, HALF, r->keys + key * dim, dim, r->queries + half * even(dim), seen, dim, false);
        stripe(r->dp + half, SPAN, HALF, r->values + key * dim, dim, r->dout + half * even(dim), seen, dim, false);
        if (some)
            soften(r, half, key, seen, a->scale, true);
        else
            soften(r, half, key, seen, a->scale, false);
        stripe_across(r->dq + half, SPAN, r->key_pairs + key * wide, 2 * wide, r->ds_pairs + half * SPAN, dim,
                      even(seen) / 2);
    }
    add_rows(r->dv + key * wide, r->p, r->dout_pairs, keys, count, dim, diagonal);
    add_rows(r->dk + key * wide, r->ds, r->query_pairs, keys, count, dim, diagonal);
}

/* Rows of queries as pairs, a panel of D behind the other. */
static void pack_pairs(bf16 *to, const bf16 *from, int64_t from_row, int64_t count, int64_t dim)
{
    for (int64_t d = 0; d < dim; d += BF16_COLUMNS)
        bf16_pack_rows(to + d * SPAN, from + d, from_row, count, MIN(BF16_COLUMNS, dim - d));
}

static float dot(const bf16 *a, const bf16 *b, int64_t count)
{
    __m512 sum = _mm512_setzero_ps();
    for (int64_t d = 0; d < count; d += 32) {
        __mmask32 these = bf16_columns(count - d);
        __m512i x = _mm512_maskz_loadu_epi16(these, a + d), y = _mm512_maskz_loadu_epi16(these, b + d);
        sum = _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y);
    }
    return _mm512_reduce_add_ps(sum);
}

static void span_run(const backward *w, room *r, int64_t b, int64_t h, int64_t first)
{
    const attention_shape *a = &w->a;
    int64_t dim = a->dim, count = MIN(SPAN, a->tokens - first), last = attention_end(a, first + count - 1);
    int64_t lowest = a->tokens, highest = 0;
    const bf16 *q = at_token(&w->q, b, first, h), *dout = at_token(&w->dout, b, first, h);
    const float *lse = w->lse + (b * a->heads + h) * a->tokens + first;
    for (int64_t i = 0; i < SPAN; i++) {
        int64_t t = first + MIN(i, count - 1), from = attention_first(a, b, t);
        r->from[i] = (int32_t)from;
        r->end[i] = (int32_t)attention_end(a, t);
        r->level[i] = i < count ? lse[i] * LOG2_E : __builtin_inff(); /* p is 0 beyond the queries */
        r->delta[i] = i < count ? dot(dout + i * w->dout.token, at_token(&w->o, b, t, h), dim) : 0;
        lowest = MIN(lowest, from);
        highest = MAX(highest, from);
    }
    pack_queries(r->queries, q, w->q.token, count, dim);
    pack_queries(r->dout, dout, w->dout.token, count, dim);
    pack_pairs(r->query_pairs, q, w->q.token, count, dim);
    pack_pairs(r->dout_pairs, dout, w->dout.token, count, dim);
    memset(r->dq, 0, sizeof(float) * (size_t)(SPAN * dim));
    for (int64_t key = lowest / SPAN * SPAN; key < last; key += SPAN) add_keys(r, a, first, count, key, last, highest);
    turn_and_narrow(at_token(&w->dq, b, first, h), w->dq.token, r->dq, count, dim, r->turned);
}

static void narrow_rows(const heads_of *to, int64_t b, int64_t kv, const float *from, int64_t tokens, int64_t dim)
{
    for (int64_t t = 0; t < tokens; t++, from += panels(dim))
        for (int64_t d = 0; d < dim; d += BF16_COLUMNS) {
            __m512bh row = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + d + LANES), _mm512_loadu_ps(from + d));
            _mm512_mask_storeu_epi16(at_token(to, b, t, kv) + d, bf16_columns(dim - d), (__m512i)row);
        }
}

static void heads(const step *s, int64_t first, int64_t last, int worker)
{
    backward w = {attention_shape_of(s, 1, 6),
                  heads_in(&s->in[0]),
                  heads_in(&s->in[1]),
                  heads_in(&s->in[2]),
                  heads_in(&s->in[3]),
                  heads_in(&s->in[4]),
                  heads_in(&s->out[ATTENTION_GRAD_DQ]),
                  heads_in(&s->out[ATTENTION_GRAD_DK]),
                  heads_in(&s->out[ATTENTION_GRAD_DV]),
                  f32(&s->in[5])};
    const attention_shape *a = &w.a;
    int64_t bytes = room_bytes(a->tokens, a->dim);
    size_t sums = sizeof(float) * (size_t)(a->tokens * panels(a->dim));
    room r = room_in((char *)s->scratch + worker * bytes, a->tokens, a->dim, &bytes);
    for (int64_t i = first; i < last; i++) {
        int64_t b = i / a->kv_heads, kv = i % a->kv_heads;
        gather_rows(r.keys, at_token(&w.k, b, 0, kv), w.k.token, a->tokens, a->dim);
        gather_rows(r.values, at_token(&w.v, b, 0, kv), w.v.token, a->tokens, a->dim);
        interleave(r.key_pairs, r.keys, a->dim, a->tokens, a->dim);
        memset(r.dk, 0, sums);
        memset(r.dv, 0, sums);
        for (int64_t h = kv * a->group; h < (kv + 1) * a->group; h++)
            for (int64_t t = 0; t < a->tokens; t += SPAN) span_run(&w, &r, b, h, t);
        narrow_rows(&w.dk, b, kv, r.dk, a->tokens, a->dim);
        narrow_rows(&w.dv, b, kv, r.dv, a->tokens, a->dim);
    }
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    shape q = n->in[1]->shape;
    return caps->threads * room_bytes(q.dim[1], q.dim[3]);
}

static status launch(const step *s, queue *q)
{
    attention_shape a = attention_shape_of(s, 1, 6);
    return cpu_for(s, q, a.batch * a.kv_heads, 1, heads);
}

#define STRIDED STORAGE_LAST_CONTIGUOUS
const kernel_def attention_grad_avx512bf16[] = {
    {.op = &op_attention_grad_def,
     .name = "attention_grad.avx512-bf16",
     .level = LEVEL_AVX512_BF16,
     .match = bf16_attention_match,
     .wants = {STRIDED, STRIDED, STRIDED, STRIDED, STRIDED},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
#else
extern const kernel_def attention_grad_avx512bf16[];
const kernel_def attention_grad_avx512bf16[] = {{0}};
#endif
