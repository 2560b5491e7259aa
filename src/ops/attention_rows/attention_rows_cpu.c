/* Paged attention in tiles of 64 keys. Neighbouring rows of one sequence, a chunk of a prompt, share the tiles; a decoded
 * row is a run of one. Tiles begin at multiples of 64 and every sum is one chain in the order of the keys (kit/cpu/tile.h),
 * so a row gives the same bits alone, in a chunk, or in a batch.
 */
#include "kit/cpu/cpu.h"
#include "kit/cpu/tile.h"
#include "kit/cpu/vmath.h"
#include "ops/attention_rows/attention_rows.h"

enum { SPAN = 64 }; /* keys of a tile; about as many (row, head) pairs of a run */

#define LOWEST -1e30f /* of a row that has seen no key yet: finite, so that differences are */

/* Rows of one sequence and the heads of one kv head: pair i is row first + i / group, head kv * group + i % group. */
typedef struct run {
    const step *step;
    const paged_shape *p;
    int64_t first, rows, kv, pairs, longest; /* keys of the row that sees most */
    int64_t wide;                            /* D rounded up to whole vectors */
    float *q, *keys, *values, *scores, *o;   /* (pairs, D), (D, 64), (64, wide), (pairs, 64), (pairs, wide) */
    float *max, *sum;
} run;

static int64_t whole_vectors(int64_t dim)
{
    return (dim + TILE_LANES - 1) / TILE_LANES * TILE_LANES;
}

static int64_t rows_of_run(int64_t group)
{
    return MAX(SPAN / group, 1);
}

static int64_t scratch_floats(int64_t group, int64_t dim)
{
    int64_t pairs = rows_of_run(group) * group, wide = whole_vectors(dim);
    return pairs * (dim + SPAN + wide + 2) + SPAN * (dim + wide) + 64;
}

static void place_in(run *r, float *at)
{
    int64_t dim = r->p->dim, most = rows_of_run(r->p->group) * r->p->group;
    r->q = at;
    r->keys = r->q + most * dim;
    r->values = r->keys + SPAN * dim;
    r->scores = r->values + SPAN * r->wide;
    r->o = r->scores + most * SPAN;
    r->max = r->o + most * r->wide;
    r->sum = r->max + most;
}

static void start(run *r)
{
    const paged_shape *p = r->p;
    const tensor *q = &r->step->in[ROWS_Q];
    for (int64_t i = 0; i < r->pairs; i++) {
        int64_t row = r->first + i / p->group, head = r->kv * p->group + i % p->group;
        const float *x = f32(q) + row * q->stride[0] + head * q->stride[1];
        for (int64_t d = 0; d < p->dim; d++) r->q[i * p->dim + d] = x[d] * (p->scale * 1.44269504f);
        r->max[i] = LOWEST;
        r->sum[i] = 0;
    }
    memset(r->o, 0, sizeof(float) * (size_t)(r->pairs * r->wide));
}

/* Keys [first, first + count) of the sequence as columns, their values as rows: page by page. */
static void fetch(run *r, int64_t first, int64_t count)
{
    const paged_shape *p = r->p;
    const tensor *k = &r->step->in[ROWS_K_POOL], *v = &r->step->in[ROWS_V_POOL];
    if (count < SPAN) memset(r->keys, 0, sizeof(float) * (size_t)(SPAN * p->dim));
    for (int64_t j = 0, here; j < count; j += here) {
        int64_t key = first + j, slot = paged_slot(p, p->sequence[r->first], key);
        here = MIN(count - j, p->page_size - key % p->page_size);
        if (slot < 0 || slot + here > p->pool) { /* not in the pool: zeros */
            for (int64_t d = 0; d < p->dim; d++) memset(r->keys + d * SPAN + j, 0, sizeof(float) * (size_t)here);
            memset(r->values + j * r->wide, 0, sizeof(float) * (size_t)(here * r->wide));
            continue;
        }
        tile_transpose(r->keys + j, SPAN, f32(k) + slot * k->stride[0] + r->kv * k->stride[1], k->stride[0], here,
                       p->dim, 1);
        tile_copy(r->values + j * r->wide, r->wide, f32(v) + slot * v->stride[0] + r->kv * v->stride[1], v->stride[0],
                  here, p->dim, r->wide, 1);
    }
}

/* Scores of one pair become e^(score - max), 0 beyond the keys it sees; its result so far fades. */
static void soften(run *r, int64_t pair, int64_t seen)
{
    float *s = r->scores + pair * SPAN, *o = r->o + pair * r->wide, sum = 0;
    if (seen < SPAN)
        for (int64_t j = 0; j < SPAN; j++) s[j] = j < seen ? s[j] : -__builtin_inff();
    float top = v_max(s, SPAN), max = top > r->max[pair] ? top : r->max[pair];
    float fade = v_exp2_low(r->max[pair] - max);
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < SPAN; j++) {
        s[j] = v_exp2_low(s[j] - max);
        sum += s[j];
    }
    r->sum[pair] = r->sum[pair] * fade + sum;
    r->max[pair] = max;
    for (int64_t d = 0; fade != 1 && d < r->wide; d++) o[d] *= fade;
}

static void attend(run *r)
{
    const paged_shape *p = r->p;
    start(r);
    for (int64_t key = 0; key < r->longest; key += SPAN) {
        int64_t count = MIN(r->longest - key, SPAN);
        fetch(r, key, count);
        tile_product(r->pairs, SPAN, p->dim, (tile_scalars){r->q, p->dim, 1}, r->keys, SPAN, r->scores, SPAN, false);
        for (int64_t i = 0; i < r->pairs; i++) soften(r, i, MAX(paged_keys(p, r->first + i / p->group) - key, 0));
        tile_product(r->pairs, r->wide, count, (tile_scalars){r->scores, SPAN, 1}, r->values, r->wide, r->o, r->wide,
                     true);
    }
    float *out = f32(&r->step->out[0]);
    for (int64_t i = 0; i < r->pairs; i++) {
        float *o = out + ((r->first + i / p->group) * p->heads + r->kv * p->group + i % p->group) * p->dim;
        float scale = paged_keys(p, r->first + i / p->group) > 0 ? 1 / r->sum[i] : 0;
        for (int64_t d = 0; d < p->dim; d++) o[d] = r->o[i * r->wide + d] * scale;
    }
}

/* Task i: a block of rows, one kv head; the block is cut where the sequence changes. */
static void blocks(const step *s, int64_t first, int64_t last, int worker)
{
    paged_shape p = paged_shape_of(s);
    run r = {.step = s, .p = &p, .wide = whole_vectors(p.dim)};
    place_in(&r, (float *)s->scratch + worker * scratch_floats(p.group, p.dim));
    int64_t most = rows_of_run(p.group);
    for (int64_t i = first; i < last; i++) {
        int64_t end = MIN((i / p.kv_heads + 1) * most, p.rows);
        r.kv = i % p.kv_heads;
        for (r.first = i / p.kv_heads * most; r.first < end; r.first += r.rows) {
            r.longest = 0;
            for (r.rows = 0; r.first + r.rows < end; r.rows++) {
                if (p.sequence[r.first + r.rows] != p.sequence[r.first]) break;
                r.longest = MAX(r.longest, paged_keys(&p, r.first + r.rows));
            }
            r.pairs = r.rows * p.group;
            attend(&r);
        }
    }
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    shape q = n->in[ROWS_Q]->shape;
    return caps->threads * scratch_floats(q.dim[1] / n->in[ROWS_K_POOL]->shape.dim[1], q.dim[2]) * 4;
}

static status launch(const step *s, queue *q)
{
    paged_shape p = paged_shape_of(s);
    int64_t most = rows_of_run(p.group);
    return cpu_for(s, q, (p.rows + most - 1) / most * p.kv_heads, 1, blocks);
}

#define STRIDED STORAGE_LAST_CONTIGUOUS
const kernel_def ISA_NAME(attention_rows_cpu)[] = {
    {.op = &op_attention_rows_def,
     .name = "attention_rows.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .wants = {STRIDED, STRIDED, STRIDED},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
