/* The gradient of attention in tiles of 64 queries and 64 keys (Dao et al. 2022): probabilities are made again from lse. A
 * kv head with its group of query heads is one task, so that no two threads add to one dk; its sums have one order. Where
 * there are fewer such heads than threads want, each is several tasks with every second (third, ..) tile of keys, and a dq
 * of its own, added in order at the end.
 *
 *     p (64 queries, 64 keys) = e^(q k^T - lse)        dv (64 keys, D)    += p^T do
 *     ds                      = p (do v^T - delta)     dk (64 keys, D)    += ds^T q
 *                                                      dq (64 queries, D) += ds k
 */
#include "kit/cpu/cpu.h"
#include "kit/cpu/tile.h"
#include "kit/cpu/vmath.h"
#include "ops/attention/attention.h"

enum { SPAN = 64 };

#define LOG2_E 1.44269504f
#define LN_2   0.693147181f

typedef struct views {
    attention_shape a;
    head_view dout, q, k, v, o, dq, dk, dv;
    const float *lse;
    int64_t wide; /* D rounded up to whole vectors: rows of the tiles that are read as vectors */
} views;

static int64_t whole_vectors(int64_t dim)
{
    return (dim + TILE_LANES - 1) / TILE_LANES * TILE_LANES;
}

static views views_of(const step *s)
{
    attention_shape a = attention_shape_of(s, 1, 6);
    return (views){a,
                   head_view_of(&s->in[0]),
                   head_view_of(&s->in[1]),
                   head_view_of(&s->in[2]),
                   head_view_of(&s->in[3]),
                   head_view_of(&s->in[4]),
                   head_view_of(&s->out[ATTENTION_GRAD_DQ]),
                   head_view_of(&s->out[ATTENTION_GRAD_DK]),
                   head_view_of(&s->out[ATTENTION_GRAD_DV]),
                   f32(&s->in[5]),
                   whole_vectors(a.dim)};
}

/* What a task works in. Of the tile of keys: transposed, (D, 64), and as rows (64, wide). */
typedef struct workspace {
    float *k_columns, *v_columns, *k_rows, *dk, *dv;
    float *q, *dout, *dq; /* a tile of queries, (64, wide) */
    float *p, *ds;        /* (64, 64) */
    float *delta;         /* (heads of the group, T): sum of do o */
} workspace;

/* `rows` of delta. */
static int64_t workspace_floats(int64_t dim, int64_t rows)
{
    return SPAN * (6 * whole_vectors(dim) + 2 * dim + 2 * SPAN) + (rows + 15) / 16 * 16;
}

static workspace workspace_in(float *at, int64_t dim)
{
    int64_t wide = SPAN * whole_vectors(dim);
    float *columns = at + 6 * wide, *scores = columns + 2 * SPAN * dim;
    return (workspace){.k_rows = at,
                       .dk = at + wide,
                       .dv = at + 2 * wide,
                       .q = at + 3 * wide,
                       .dout = at + 4 * wide,
                       .dq = at + 5 * wide,
                       .k_columns = columns,
                       .v_columns = columns + SPAN * dim,
                       .p = scores,
                       .ds = scores + SPAN * SPAN,
                       .delta = scores + 2 * SPAN * SPAN};
}

static float dot(const float *x, const float *y, int64_t count)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

/* A tile: keys [key, key + keys) and queries [query, query + queries) of head h. */
typedef struct place {
    int64_t b, h, kv, key, keys, query, queries;
} place;

/* p = e^(p - lse), 0 for keys that a query does not see; ds = p (ds - delta). */
static void soften(const views *w, workspace *s, const place *at)
{
    const attention_shape *a = &w->a;
    const float *lse = w->lse + (at->b * a->heads + at->h) * a->tokens;
    const float *delta = s->delta + at->h % a->group * a->tokens;
    for (int64_t i = 0; i < at->queries; i++) {
        int64_t t = at->query + i;
        float *p = s->p + i * SPAN, *ds = s->ds + i * SPAN, level = lse[t] * LOG2_E, d = delta[t];
        int32_t from = (int32_t)MAX(attention_first(a, at->b, t) - at->key, 0);
        int32_t end = (int32_t)MIN(attention_end(a, t) - at->key, SPAN);
        if (from == 0 && end == SPAN) {
            for (int32_t j = 0; j < SPAN; j++) {
                p[j] = v_exp2_low(p[j] - level);
                ds[j] = p[j] * (ds[j] - d);
            }
        } else {
            for (int32_t j = 0; j < SPAN; j++) {
                float seen = v_exp2_low(p[j] - level);
                p[j] = j >= from && j < end ? seen : 0;
                ds[j] = j >= from && j < end ? seen * (ds[j] - d) : 0;
            }
        }
    }
}

static void add_dq(const views *w, workspace *s, const place *at, int64_t from, int64_t queries, int64_t keys)
{
    int64_t dim = w->a.dim, wide = w->wide;
    float *dq = head_at(&w->dq, at->b, at->query + from, at->h);
    tile_scalars ds = {s->ds + from * SPAN, SPAN, 1};
    if (wide == dim) {
        tile_product(queries, dim, keys, ds, s->k_rows, wide, dq, w->dq.token, true);
        return;
    }
    tile_product(queries, wide, keys, ds, s->k_rows, wide, s->dq, wide, false);
    for (int64_t i = 0; i < queries; i++, dq += w->dq.token)
        for (int64_t d = 0; d < dim; d++) dq[d] += s->dq[i * wide + d];
}

/* Queries [from, from + queries) of the tile and its first `keys` keys, for which whole vectors are computed. */
static void scores(const views *w, workspace *s, int64_t from, int64_t queries, int64_t keys)
{
    int64_t dim = w->a.dim, wide = w->wide, at = from * SPAN;
    tile_scalars q = {s->q + from * wide, wide, 1}, dout = {s->dout + from * wide, wide, 1};
    tile_product(queries, keys, dim, q, s->k_columns, SPAN, s->p + at, SPAN, false);
    tile_product(queries, keys, dim, dout, s->v_columns, SPAN, s->ds + at, SPAN, false);
}

/* Keys [from, from + keys) and queries [query, query + queries) of the tile. */
static void add_dk_dv(const views *w, workspace *s, int64_t from, int64_t keys, int64_t query, int64_t queries)
{
    int64_t wide = w->wide, at = query * SPAN + from;
    tile_scalars p = {s->p + at, 1, SPAN}, ds = {s->ds + at, 1, SPAN};
    tile_product(keys, wide, queries, p, s->dout + query * wide, wide, s->dv + from * wide, wide, true);
    tile_product(keys, wide, queries, ds, s->q + query * wide, wide, s->dk + from * wide, wide, true);
}

/* On the diagonal the earlier half of the queries sees the earlier half of the keys only: a quarter is left out. */
static void add_tile(const views *w, workspace *s, const place *at)
{
    int64_t dim = w->a.dim, wide = w->wide, queries = at->queries, half = SPAN / 2;
    bool diagonal = w->a.causal && at->query == at->key && queries > half;
    int64_t early = diagonal ? half : 0;
    tile_copy(s->q, wide, head_at(&w->q, at->b, at->query, at->h), w->q.token, queries, dim, wide, w->a.scale * LOG2_E);
    tile_copy(s->dout, wide, head_at(&w->dout, at->b, at->query, at->h), w->dout.token, queries, dim, wide, 1);
    scores(w, s, 0, early, half);
    scores(w, s, early, queries - early, SPAN);
    soften(w, s, at);
    add_dk_dv(w, s, 0, diagonal ? half : at->keys, 0, queries);
    if (diagonal) add_dk_dv(w, s, half, at->keys - half, half, queries - half);
    add_dq(w, s, at, 0, early, half);
    add_dq(w, s, at, early, queries - early, at->keys);
}

/* The keys of one tile, through all queries that see any of them. */
static void add_keys(const views *w, workspace *s, place at)
{
    const attention_shape *a = &w->a;
    int64_t dim = a->dim, wide = w->wide;
    const float *k = head_at(&w->k, at.b, at.key, at.kv), *v = head_at(&w->v, at.b, at.key, at.kv);
    if (at.keys < SPAN) {
        memset(s->k_columns, 0, sizeof(float) * (size_t)(SPAN * dim));
        memset(s->v_columns, 0, sizeof(float) * (size_t)(SPAN * dim));
    }
    tile_transpose(s->k_columns, SPAN, k, w->k.token, at.keys, dim, 1);
    tile_transpose(s->v_columns, SPAN, v, w->v.token, at.keys, dim, 1);
    tile_copy(s->k_rows, wide, k, w->k.token, at.keys, dim, wide, a->scale);
    memset(s->dk, 0, sizeof(float) * (size_t)(SPAN * wide));
    memset(s->dv, 0, sizeof(float) * (size_t)(SPAN * wide));
    for (int64_t h = 0; h < a->group; h++) {
        at.h = at.kv * a->group + h;
        for (at.query = a->causal ? at.key : 0; at.query < a->tokens; at.query += SPAN) {
            at.queries = MIN(a->tokens - at.query, SPAN);
            bool seen = false;
            for (int64_t i = 0; i < at.queries && !seen; i++)
                seen = attention_first(a, at.b, at.query + i) < at.key + at.keys;
            if (seen) add_tile(w, s, &at);
        }
    }
    /* s->q held scores' factor of log2(e). */
    tile_copy(head_at(&w->dk, at.b, at.key, at.kv), w->dk.token, s->dk, wide, at.keys, dim, dim, LN_2);
    tile_copy(head_at(&w->dv, at.b, at.key, at.kv), w->dv.token, s->dv, wide, at.keys, dim, dim, 1);
}

/* Tasks that one kv head is cut into: from shape and threads alone. */
static int64_t parts_of(int64_t kv_heads, int64_t tokens, int64_t threads)
{
    int64_t tiles = (tokens + SPAN - 1) / SPAN;
    if (threads < 2 || kv_heads >= 2 * threads) return 1;
    return MIN(tiles, (2 * threads + kv_heads - 1) / kv_heads);
}

typedef struct job {
    const step *step;
    int64_t parts, elements; /* of dq */
    float *dq;               /* of all parts but the first, one after the other */
} job;

/* One kv head, every `parts`th tile of keys from `part` on. */
static void head(const views *w, workspace *s, place at, int64_t part, int64_t parts)
{
    const attention_shape *a = &w->a;
    for (int64_t g = 0; g < a->group; g++) {
        int64_t h = at.kv * a->group + g;
        for (int64_t t = 0; t < a->tokens; t++) {
            memset(head_at(&w->dq, at.b, t, h), 0, sizeof(float) * (size_t)a->dim);
            s->delta[g * a->tokens + t] = dot(head_at(&w->dout, at.b, t, h), head_at(&w->o, at.b, t, h), a->dim);
        }
    }
    for (at.key = part * SPAN; at.key < a->tokens; at.key += parts * SPAN) {
        at.keys = MIN(a->tokens - at.key, SPAN);
        add_keys(w, s, at);
    }
}

static void heads(void *arg, int64_t first, int64_t last, int worker)
{
    const job *j = arg;
    views w = views_of(j->step);
    const attention_shape *a = &w.a;
    float *dq = w.dq.data;
    int64_t floats = workspace_floats(a->dim, a->group * a->tokens);
    workspace s = workspace_in((float *)j->step->scratch + worker * floats, a->dim);
    for (int64_t i = first; i < last; i++) {
        int64_t part = i % j->parts, at = i / j->parts;
        w.dq.data = part ? j->dq + (part - 1) * j->elements : dq; /* laid out as dq, which is contiguous */
        head(&w, &s, (place){.b = at / a->kv_heads, .kv = at % a->kv_heads}, part, j->parts);
    }
}

static void add_parts(void *arg, int64_t first, int64_t last, int worker)
{
    const job *j = arg;
    float *dq = f32(&j->step->out[ATTENTION_GRAD_DQ]);
    (void)worker;
    for (int64_t part = 0; part < j->parts - 1; part++) {
        const float *from = j->dq + part * j->elements;
        CPU_INDEPENDENT
        for (int64_t i = first; i < last; i++) dq[i] += from[i];
    }
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    shape q = n->in[1]->shape, k = n->in[2]->shape;
    int64_t parts = parts_of(q.dim[0] * k.dim[2], q.dim[1], caps->threads);
    return (caps->threads * workspace_floats(q.dim[3], q.dim[2] / k.dim[2] * q.dim[1]) + (parts - 1) * shape_count(q)) *
           (int64_t)sizeof(float);
}

static status launch(const step *s, queue *q)
{
    attention_shape a = attention_shape_of(s, 1, 6);
    job j = {.step = s, .parts = parts_of(a.batch * a.kv_heads, a.tokens, q->caps->threads)};
    j.elements = shape_count(s->out[ATTENTION_GRAD_DQ].shape);
    j.dq = (float *)s->scratch + q->caps->threads * workspace_floats(a.dim, a.group * a.tokens);
    int64_t tasks = a.batch * a.kv_heads * j.parts;
    if (!q->pool) {
        heads(&j, 0, tasks, 0);
        add_parts(&j, 0, j.elements, 0);
        return INGOT_OK;
    }
    pool_for(q->pool, tasks, 1, heads, &j);
    if (j.parts > 1) pool_for(q->pool, j.elements, CPU_GRAIN, add_parts, &j);
    return INGOT_OK;
}

#define STRIDED STORAGE_LAST_CONTIGUOUS
const kernel_def ISA_NAME(attention_grad_cpu)[] = {
    {.op = &op_attention_grad_def,
     .name = "attention_grad.simd",
     .level = LEVEL_SIMD,
     .wants = {STRIDED, STRIDED, STRIDED, STRIDED, STRIDED},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
