/* Attention of bfloat16 in tiles (Dao et al. 2022), forward and backward, with vdpbf16ps. A kv head with its group of query
 * heads is one task: its keys and values are packed once, then 48 queries at a time go over 64 keys at a time.
 *
 *     scores (48, 64 keys) = queries (48, D) keys^T       pairs of D: queries are read where they lie
 *     result (48, D)      += p (48, 64 keys) values       pairs of keys
 *
 * and backwards, with p made again from lse:
 *
 *     ds = p (do values^T - delta)       dv (64 keys, D) += p^T do      pairs of queries
 *     dq (48, D) += ds keys              dk (64 keys, D) += ds^T q
 *
 * Scores, sums and the results under way are float32; p and ds are rounded to bfloat16 to be multiplied with.
 */
#include "kit/cpu/bf16_tiles.h"
#include "kit/cpu/narrow.h"
#include "kit/cpu/vmath.h"
#include "ops/attention/attention.h"

#if defined(__AVX512BF16__)

enum { QUERIES = 48, KEYS = 64 };

#define LOG2_E 1.44269504f
#define LN_2   0.693147181f
#define LOWEST -1e30f /* of a query that has seen no key yet: finite, so that differences are */

/* A tensor (B, T, heads, D) by heads. */
typedef struct heads_of {
    bf16 *data;
    int64_t batch, token, head;
} heads_of;

static heads_of heads_in(const tensor *t)
{
    return (heads_of){t->data, t->stride[0], t->stride[1], t->stride[2]};
}

static bf16 *at_token(const heads_of *v, int64_t b, int64_t t, int64_t h)
{
    return v->data + b * v->batch + t * v->token + h * v->head;
}

static int64_t even(int64_t n)
{
    return bf16_round_up(n, 2);
}

static int64_t panels(int64_t columns)
{
    return bf16_round_up(columns, BF16_COLUMNS);
}

/* c (rows, columns), float32, = or += a (rows, depth) b; a's pairs lie along its rows. */
static void product(float *c, int64_t c_row, const bf16 *a, int64_t a_row, const bf16 *b, int64_t rows, int64_t columns,
                    int64_t depth, bool add)
{
    for (int64_t j = 0; j < columns; j += BF16_COLUMNS)
        for (int64_t i = 0; i < rows; i += BF16_ROWS) {
            bf16_target to = {.y = c + i * c_row + j, .y_row = c_row, .add_row = c_row};
            to.columns = bf16_columns(columns - j);
            if (add) to.add = to.y;
            bf16_tile_direct(MIN(BF16_ROWS, rows - i), depth, a + i * a_row, a_row, b + j * even(depth), &to);
        }
}

/* The same with a^T: a (depth, rows) is packed, a tile at a time, into `room`. */
static void product_turned(float *c, int64_t c_row, const bf16 *a, int64_t a_row, const bf16 *b, int64_t rows,
                           int64_t columns, int64_t depth, bf16 *room)
{
    for (int64_t i = 0; i < rows; i += BF16_ROWS) {
        int64_t height = MIN(BF16_ROWS, rows - i);
        bf16_pack_a(room, a + i, 1, a_row, depth, height);
        for (int64_t j = 0; j < columns; j += BF16_COLUMNS) {
            bf16_target to = {.y = c + i * c_row + j, .y_row = c_row, .add_row = c_row};
            to.columns = bf16_columns(columns - j);
            to.add = to.y;
            bf16_tile_packed(height, even(depth) / 2, room, b + j * even(depth), &to);
        }
    }
}

/* ---- forward ---- */

typedef struct forward {
    attention_shape a;
    heads_of q, k, v, o;
    float *lse;
} forward;

/* Of one worker: keys by pairs of D and values by pairs of keys, a block of KEYS behind the other; a tile under way. */
typedef struct room {
    bf16 *keys, *values, *p;
    float *scores, *result;
} room;

static int64_t blocks_of(int64_t tokens)
{
    return (tokens + KEYS - 1) / KEYS;
}

static int64_t forward_bytes(int64_t tokens, int64_t dim)
{
    int64_t packed = blocks_of(tokens) * KEYS * (even(dim) + panels(dim)) * 2;
    return bf16_round_up(packed + QUERIES * KEYS * 6 + QUERIES * panels(dim) * 4, 64);
}

static room room_in(char *at, int64_t tokens, int64_t dim)
{
    room r = {.keys = (bf16 *)at};
    r.values = r.keys + blocks_of(tokens) * KEYS * even(dim);
    r.p = r.values + blocks_of(tokens) * KEYS * panels(dim);
    r.scores = (float *)(r.p + QUERIES * KEYS);
    r.result = r.scores + QUERIES * KEYS;
    return r;
}

/* scores of a row become p, in powers of two; returns their sum. Keys [from, end) are seen. */
static float soften(bf16 *p, float *scores, int64_t from, int64_t end, float scale, float max)
{
    float sum = 0;
    for (int64_t j = 0; j < KEYS; j++) {
        float e = v_exp2_low(scores[j] * scale - max);
        scores[j] = j >= from && j < end ? e : 0;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < KEYS; j++) sum += scores[j];
    narrow_bf16(p, scores, KEYS);
    return sum;
}

static float highest(const float *scores, int64_t from, int64_t end, float scale)
{
    float max = -__builtin_inff();
#pragma omp simd reduction(max : max)
    for (int64_t j = 0; j < KEYS; j++) {
        float s = j >= from && j < end ? scores[j] * scale : -__builtin_inff();
        max = s > max ? s : max;
    }
    return max;
}

/* Queries under way. */
typedef struct span {
    float max[QUERIES], sum[QUERIES];
    int64_t from[QUERIES], end[QUERIES];
    int64_t count, lowest, last;
} span;

static void span_add(span *p, const forward *w, const room *r, const bf16 *q, int64_t key)
{
    int64_t dim = w->a.dim, wide = panels(dim), keys = MIN(KEYS, w->a.tokens - key), block = key / KEYS;
    float scale = w->a.scale * LOG2_E;
    product(r->scores, KEYS, q, w->q.token, r->keys + block * KEYS * even(dim), p->count, panels(keys), dim, false);
    for (int64_t i = 0; i < p->count; i++) {
        float *scores = r->scores + i * KEYS;
        int64_t from = MAX(p->from[i] - key, 0), end = MIN(p->end[i] - key, KEYS);
        float max = highest(scores, from, end, scale);
        max = max > p->max[i] ? max : p->max[i];
        float fade = v_exp2_low(p->max[i] - max), sum = soften(r->p + i * KEYS, scores, from, end, scale, max);
        if (fade != 1)
            for (int64_t d = 0; d < wide; d++) r->result[i * wide + d] *= fade;
        p->sum[i] = p->sum[i] * fade + sum;
        p->max[i] = max;
    }
    product(r->result, wide, r->p, KEYS, r->values + block * KEYS * wide, p->count, wide, keys, true);
}

static void span_run(const forward *w, const room *r, int64_t b, int64_t h, int64_t first)
{
    const attention_shape *a = &w->a;
    int64_t wide = panels(a->dim);
    span p = {.count = MIN(QUERIES, a->tokens - first), .lowest = a->tokens};
    p.last = attention_end(a, first + p.count - 1);
    for (int64_t i = 0; i < p.count; i++) {
        p.max[i] = LOWEST;
        p.from[i] = attention_first(a, b, first + i);
        p.end[i] = attention_end(a, first + i);
        p.lowest = MIN(p.lowest, p.from[i]);
    }
    memset(r->result, 0, sizeof(float) * (size_t)(p.count * wide));
    for (int64_t key = p.lowest / KEYS * KEYS; key < p.last; key += KEYS)
        span_add(&p, w, r, at_token(&w->q, b, first, h), key);
    for (int64_t i = 0; i < p.count; i++) {
        float scale = 1 / p.sum[i], *row = r->result + i * wide;
        for (int64_t d = 0; d < a->dim; d++) row[d] *= scale;
        narrow_bf16(at_token(&w->o, b, first + i, h), row, a->dim);
        if (w->lse) w->lse[(b * a->heads + h) * a->tokens + first + i] = p.max[i] * LN_2 + v_log(p.sum[i]);
    }
}

static void pack_keys(bf16 *to, const heads_of *k, const attention_shape *a, int64_t b, int64_t kv, bool by_dim)
{
    for (int64_t key = 0; key < a->tokens; key += KEYS) {
        int64_t keys = MIN(KEYS, a->tokens - key);
        if (by_dim)
            bf16_pack_b(to + key * even(a->dim), at_token(k, b, key, kv), 1, k->token, a->dim, keys);
        else
            bf16_pack_b(to + key * panels(a->dim), at_token(k, b, key, kv), k->token, 1, keys, a->dim);
    }
}

static void heads(const step *s, int64_t first, int64_t last, int worker)
{
    forward w = {attention_shape_of(s, 0, 3),    heads_in(&s->in[0]),        heads_in(&s->in[1]), heads_in(&s->in[2]),
                 heads_in(&s->out[ATTENTION_O]), f32(&s->out[ATTENTION_LSE])};
    const attention_shape *a = &w.a;
    room r = room_in((char *)s->scratch + worker * forward_bytes(a->tokens, a->dim), a->tokens, a->dim);
    for (int64_t i = first; i < last; i++) {
        int64_t b = i / a->kv_heads, kv = i % a->kv_heads;
        pack_keys(r.keys, &w.k, a, b, kv, true);
        pack_keys(r.values, &w.v, a, b, kv, false);
        for (int64_t h = kv * a->group; h < (kv + 1) * a->group; h++)
            for (int64_t t = 0; t < a->tokens; t += QUERIES) span_run(&w, &r, b, h, t);
    }
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    shape q = n->in[0]->shape;
    return caps->threads * forward_bytes(q.dim[1], q.dim[3]);
}

static status launch(const step *s, queue *q)
{
    attention_shape a = attention_shape_of(s, 0, 3);
    return cpu_for(s, q, a.batch * a.kv_heads, 1, heads);
}

/* ---- backward ---- */

typedef struct backward {
    attention_shape a;
    heads_of dout, q, k, v, o, dq, dk, dv;
    const float *lse;
} backward;

/* Of one worker. Keys by pairs of D and by pairs of keys, values by pairs of D; queries and do of one head by pairs of
 * queries, in blocks of QUERIES; tiles under way. */
typedef struct grad_room {
    bf16 *keys, *key_rows, *values, *query_rows, *dout_rows, *p, *ds, *turned;
    float *scores, *dp, *dq, *dk, *dv, *delta; /* dk, dv (T, wide); dq (QUERIES, wide); delta (T) */
} grad_room;

static int64_t spans_of(int64_t tokens)
{
    return (tokens + QUERIES - 1) / QUERIES;
}

static grad_room grad_room_in(char *at, int64_t tokens, int64_t dim, int64_t *bytes)
{
    int64_t keys = blocks_of(tokens) * KEYS, queries = spans_of(tokens) * QUERIES, wide = panels(dim);
    grad_room r;
    char *free = at;
#define TAKE(field, count)                                                                                             \
    r.field = (void *)free;                                                                                            \
    free += bf16_round_up((count) * (int64_t)sizeof *r.field, 64)
    TAKE(keys, keys * even(dim));
    TAKE(key_rows, keys * wide);
    TAKE(values, keys * even(dim));
    TAKE(query_rows, queries * wide);
    TAKE(dout_rows, queries * wide);
    TAKE(p, QUERIES * KEYS);
    TAKE(ds, QUERIES * KEYS);
    TAKE(turned, QUERIES * BF16_ROWS + 32);
    TAKE(scores, QUERIES * KEYS);
    TAKE(dp, QUERIES * KEYS);
    TAKE(dq, QUERIES * wide);
    TAKE(dk, keys * wide);
    TAKE(dv, keys * wide);
    TAKE(delta, tokens);
#undef TAKE
    *bytes = free - at;
    return r;
}

static int64_t grad_bytes(int64_t tokens, int64_t dim)
{
    char nowhere[64];
    int64_t bytes;
    grad_room_in(nowhere, tokens, dim, &bytes);
    return bytes;
}

/* A row: scores to p = e^(score - lse), dp to ds; what is not seen is 0. */
static void soften_grad(bf16 *p, bf16 *ds, float *scores, float *dp, int64_t from, int64_t end, float scale,
                        float level, float delta)
{
    for (int64_t j = 0; j < KEYS; j++) {
        float e = v_exp2_low(scores[j] * (scale * LOG2_E) - level);
        bool seen = j >= from && j < end;
        scores[j] = seen ? e : 0;
        dp[j] = seen ? e * (dp[j] - delta) * scale : 0;
    }
    narrow_bf16(p, scores, KEYS);
    narrow_bf16(ds, dp, KEYS);
}

static void grad_span(const backward *w, const grad_room *r, int64_t b, int64_t h, int64_t first)
{
    const attention_shape *a = &w->a;
    int64_t dim = a->dim, wide = panels(dim), count = MIN(QUERIES, a->tokens - first), span = first / QUERIES;
    int64_t lowest = a->tokens, last = attention_end(a, first + count - 1);
    const bf16 *q = at_token(&w->q, b, first, h), *dout = at_token(&w->dout, b, first, h);
    const float *lse = w->lse + (b * a->heads + h) * a->tokens + first;
    for (int64_t i = 0; i < count; i++) lowest = MIN(lowest, attention_first(a, b, first + i));
    memset(r->dq, 0, sizeof(float) * (size_t)(count * wide));
    for (int64_t key = lowest / KEYS * KEYS; key < last; key += KEYS) {
        int64_t keys = MIN(KEYS, a->tokens - key), block = key / KEYS; /* as they are packed: those not seen count 0 */
        product(r->scores, KEYS, q, w->q.token, r->keys + key * even(dim), count, panels(keys), dim, false);
        product(r->dp, KEYS, dout, w->dout.token, r->values + key * even(dim), count, panels(keys), dim, false);
        for (int64_t i = 0; i < count; i++) {
            int64_t from = MAX(attention_first(a, b, first + i) - key, 0);
            int64_t end = MIN(attention_end(a, first + i) - key, KEYS);
            soften_grad(r->p + i * KEYS, r->ds + i * KEYS, r->scores + i * KEYS, r->dp + i * KEYS, from, end, a->scale,
                        lse[i] * LOG2_E, r->delta[first + i]);
        }
        product(r->dq, wide, r->ds, KEYS, r->key_rows + block * KEYS * wide, count, wide, keys, true);
        product_turned(r->dv + key * wide, wide, r->p, KEYS, r->dout_rows + span * QUERIES * wide, keys, wide, count,
                       r->turned);
        product_turned(r->dk + key * wide, wide, r->ds, KEYS, r->query_rows + span * QUERIES * wide, keys, wide, count,
                       r->turned);
    }
    for (int64_t i = 0; i < count; i++) narrow_bf16(at_token(&w->dq, b, first + i, h), r->dq + i * wide, dim);
}

/* Of one head: queries and do by pairs of queries, and delta = sum(do o) of each query. */
static void grad_head(const backward *w, const grad_room *r, int64_t b, int64_t h)
{
    const attention_shape *a = &w->a;
    int64_t wide = panels(a->dim);
    for (int64_t t = 0; t < a->tokens; t += QUERIES) {
        int64_t count = MIN(QUERIES, a->tokens - t);
        bf16_pack_b(r->query_rows + t * wide, at_token(&w->q, b, t, h), w->q.token, 1, count, a->dim);
        bf16_pack_b(r->dout_rows + t * wide, at_token(&w->dout, b, t, h), w->dout.token, 1, count, a->dim);
    }
    for (int64_t t = 0; t < a->tokens; t++) {
        const bf16 *dout = at_token(&w->dout, b, t, h), *o = at_token(&w->o, b, t, h);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t d = 0; d < a->dim; d++) sum += narrow_from_bf16(dout[d]) * narrow_from_bf16(o[d]);
        r->delta[t] = sum;
    }
}

static void grad_heads(const step *s, int64_t first, int64_t last, int worker)
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
    int64_t wide = panels(a->dim), bytes = grad_bytes(a->tokens, a->dim);
    grad_room r = grad_room_in((char *)s->scratch + worker * bytes, a->tokens, a->dim, &bytes);
    for (int64_t i = first; i < last; i++) {
        int64_t b = i / a->kv_heads, kv = i % a->kv_heads;
        pack_keys(r.keys, &w.k, a, b, kv, true);
        pack_keys(r.key_rows, &w.k, a, b, kv, false);
        pack_keys(r.values, &w.v, a, b, kv, true);
        memset(r.dk, 0, sizeof(float) * (size_t)(a->tokens * wide));
        memset(r.dv, 0, sizeof(float) * (size_t)(a->tokens * wide));
        for (int64_t h = kv * a->group; h < (kv + 1) * a->group; h++) {
            grad_head(&w, &r, b, h);
            for (int64_t t = 0; t < a->tokens; t += QUERIES) grad_span(&w, &r, b, h, t);
        }
        for (int64_t t = 0; t < a->tokens; t++) {
            narrow_bf16(at_token(&w.dk, b, t, kv), r.dk + t * wide, a->dim);
            narrow_bf16(at_token(&w.dv, b, t, kv), r.dv + t * wide, a->dim);
        }
    }
}

static int64_t grad_scratch(const node *n, const device_caps *caps)
{
    shape q = n->in[1]->shape;
    return caps->threads * grad_bytes(q.dim[1], q.dim[3]);
}

static status grad_launch(const step *s, queue *q)
{
    attention_shape a = attention_shape_of(s, 1, 6);
    return cpu_for(s, q, a.batch * a.kv_heads, 1, grad_heads);
}

static bool match(const node *n, const device_caps *caps)
{
    if (!caps->avx512_bf16) return false;
    for (int i = 0; i < n->inputs; i++) {
        if (!n->in[i] || !dtype_is_float(n->in[i]->dtype)) continue;
        if (n->in[i]->dtype != (n->op->inputs[i].wide ? INGOT_F32 : INGOT_BF16)) return false;
    }
    return true;
}

#define STRIDED STORAGE_LAST_CONTIGUOUS
const kernel_def attention_avx512bf16[] = {
    {.op = &op_attention_def,
     .name = "attention.avx512-bf16",
     .level = LEVEL_AVX512_BF16,
     .match = match,
     .traits = KERNEL_ROW_INVARIANT,
     .wants = {STRIDED, STRIDED, STRIDED},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {.op = &op_attention_grad_def,
     .name = "attention_grad.avx512-bf16",
     .level = LEVEL_AVX512_BF16,
     .match = match,
     .wants = {STRIDED, STRIDED, STRIDED, STRIDED, STRIDED},
     .scratch = grad_scratch,
     .launch = grad_launch,
     .error = ERROR_SUM},
    {0},
};
#else
extern const kernel_def attention_avx512bf16[];
const kernel_def attention_avx512bf16[] = {{0}};
#endif
