/* Rung simd: register tiles over packed panels (Goto & van de Geijn 2008).
 *
 * Idea: a tile of MR x NR results stays in registers while k runs; each step loads NR of b and MR of a and does MR * NR
 * multiply-adds, so a tile of 12 x 32 does 384 for 44 numbers loaded. b is packed so that a panel of NR columns and KC
 * rows lies together and stays in the first cache; KC rows of NC columns stay in the second. a is read where it lies when
 * its rows are contiguous, else packed as well. Each thread packs for itself: no barrier but the end.
 *
 * An element's sum runs over k in blocks of KC, in order: it does not depend on the number of rows or threads.
 * Expertise 6, effort 200 lines.
 */
#include "kit/cpu/cpu.h"
#include "ops/matmul/matmul.h"

#if defined(__AVX512F__)
enum { LANES = 16, MR = 12 };
#elif defined(__AVX2__)
enum { LANES = 8, MR = 6 };
#else
enum { LANES = 4, MR = 4 };
#endif
enum { NR = 2 * LANES, KC = 256, NC = 512, MC = 16 * MR };

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

#define UNROLL _Pragma("GCC unroll 16")

/* One worker's memory: a panel block of b, a block of a, and a tile for ragged edges. */
typedef struct packs {
    float *b;    /* (kc, columns) in panels of NR */
    float *a;    /* (rows, kc) in panels of MR */
    float *edge; /* (MR, NR) */
} packs;

typedef struct piece {
    const step *step;
    matmul_shape shape;
    const float *a, *b, *c; /* of the product this piece belongs to; c NULL: none */
    float *y;
    int64_t row, rows, column, columns;
} piece;

/* acc (MR, NR) = sum over k of a (MR, kc) b (kc, NR); a's element (i, k) is at rows[i][k * step]. */
static inline void tile_direct(int64_t kc, const float *a, int64_t a_row, const float *b, vec acc[MR][2])
{
    UNROLL for (int i = 0; i < MR; i++) acc[i][0] = acc[i][1] = (vec){0};
    for (int64_t k = 0; k < kc; k++, b += NR, a++) {
        vec b0 = *(const vec *)b, b1 = *(const vec *)(b + LANES);
        UNROLL for (int i = 0; i < MR; i++)
        {
            float x = a[i * a_row];
            acc[i][0] += x * b0;
            acc[i][1] += x * b1;
        }
    }
}

static inline void tile_packed(int64_t kc, const float *a, const float *b, vec acc[MR][2])
{
    UNROLL for (int i = 0; i < MR; i++) acc[i][0] = acc[i][1] = (vec){0};
    for (int64_t k = 0; k < kc; k++, b += NR, a += MR) {
        vec b0 = *(const vec *)b, b1 = *(const vec *)(b + LANES);
        UNROLL for (int i = 0; i < MR; i++)
        {
            acc[i][0] += a[i] * b0;
            acc[i][1] += a[i] * b1;
        }
    }
}

/* y = acc + from, where from is y itself, c, or nothing. */
static inline void store_tile(float *y, const float *from, int64_t stride, vec acc[MR][2])
{
    UNROLL for (int i = 0; i < MR; i++)
    {
        vec *to = (vec *)(y + i * stride), y0 = acc[i][0], y1 = acc[i][1];
        if (from) {
            y0 += *(const vec *)(from + i * stride);
            y1 += *(const vec *)(from + i * stride + LANES);
        }
        to[0] = y0;
        to[1] = y1;
    }
}

static void store_edge(float *y, const float *from, int64_t stride, int64_t rows, int64_t columns, vec acc[MR][2],
                       float *edge)
{
    store_tile(edge, NULL, NR, acc);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) y[i * stride + j] = edge[i * NR + j] + (from ? from[i * stride + j] : 0);
}

/* Panels of NR columns, k by k, zeros beyond the edge. */
static void pack_b(float *to, const float *b, const matmul_shape *s, int64_t kc, int64_t columns)
{
    for (int64_t j = 0; j < columns; j += NR, to += NR * kc) {
        int64_t n = MIN((int64_t)NR, columns - j);
        if (s->b_col == 1 && n == NR) {
            for (int64_t k = 0; k < kc; k++) memcpy(to + k * NR, b + k * s->b_row + j, NR * sizeof(float));
        } else if (s->b_col == 1) {
            for (int64_t k = 0; k < kc; k++)
                for (int64_t i = 0; i < NR; i++) to[k * NR + i] = i < n ? b[k * s->b_row + j + i] : 0;
        } else {
            for (int64_t i = 0; i < NR; i++) {
                const float *column = b + (j + i) * s->b_col;
                for (int64_t k = 0; k < kc; k++) to[k * NR + i] = i < n ? column[k * s->b_row] : 0;
            }
        }
    }
}

/* Panels of MR rows, k by k, zeros beyond the edge. */
static void pack_a(float *to, const float *a, const matmul_shape *s, int64_t kc, int64_t rows)
{
    for (int64_t i = 0; i < rows; i += MR, to += MR * kc) {
        int64_t m = MIN((int64_t)MR, rows - i);
        for (int64_t k = 0; k < kc; k++) {
            const float *from = a + i * s->a_row + k * s->a_col;
            for (int64_t r = 0; r < MR; r++) to[k * MR + r] = r < m ? from[r * s->a_row] : 0;
        }
    }
}

typedef struct block {
    const piece *piece;
    const float *a, *c;
    float *y;
    bool direct;
    int64_t kc, rows, columns;
} block;

static void run_block(const block *t, packs *w)
{
    const matmul_shape *s = &t->piece->shape;
    for (int64_t j = 0; j < t->columns; j += NR)
        for (int64_t i = 0; i < t->rows; i += MR) {
            vec acc[MR][2];
            const float *b = w->b + j * t->kc, *from = t->c ? t->c + i * s->n + j : NULL;
            int64_t rows = MIN((int64_t)MR, t->rows - i), columns = MIN((int64_t)NR, t->columns - j);
            if (t->direct && rows == MR)
                tile_direct(t->kc, t->a + i * s->a_row, s->a_row, b, acc);
            else
                tile_packed(t->kc, w->a + (t->direct ? 0 : i * t->kc), b, acc);
            float *y = t->y + i * s->n + j;
            if (rows == MR && columns == NR)
                store_tile(y, from, s->n, acc);
            else
                store_edge(y, from, s->n, rows, columns, acc, w->edge);
        }
}

static void run_rows(const piece *p, packs *w, int64_t k, int64_t kc, int64_t column, int64_t columns)
{
    const matmul_shape *s = &p->shape;
    for (int64_t i = 0; i < p->rows; i += MC) {
        int64_t rows = MIN((int64_t)MC, p->rows - i), row = p->row + i;
        block t = {.piece = p, .kc = kc, .rows = rows, .columns = columns, .direct = s->a_col == 1};
        t.a = p->a + row * s->a_row + k * s->a_col;
        t.y = p->y + row * s->n + column;
        t.c = k > 0 ? t.y : p->c ? p->c + row * s->n + column : NULL;
        if (!t.direct)
            pack_a(w->a, t.a, s, kc, rows);
        else if (rows % MR) /* the last, ragged panel alone */
            pack_a(w->a, t.a + rows / MR * MR * s->a_row, s, kc, rows % MR);
        run_block(&t, w);
    }
}

static void run_piece(const piece *p, packs *w)
{
    const matmul_shape *s = &p->shape;
    for (int64_t j = 0; j < p->columns; j += NC)
        for (int64_t k = 0; k < s->k; k += KC) {
            int64_t kc = MIN((int64_t)KC, s->k - k), columns = MIN((int64_t)NC, p->columns - j), column = p->column + j;
            pack_b(w->b, p->b + k * s->b_row + column * s->b_col, s, kc, columns);
            run_rows(p, w, k, kc, column, columns);
        }
}

/* How a product is cut: row_pieces x column_pieces for each of the batch. */
typedef struct grid {
    const step *step;
    matmul_shape shape;
    int64_t row_pieces, column_pieces, rows, columns;
} grid;

static int64_t split(int64_t total, int64_t pieces, int64_t tile)
{
    return ((total + pieces - 1) / pieces + tile - 1) / tile * tile;
}

static grid make_grid(const step *s, int64_t threads)
{
    grid g = {.step = s, .shape = matmul_shape_of(s), .row_pieces = 1, .column_pieces = 1};
    const matmul_shape *p = &g.shape;
    double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    bool cut = threads > 1 && p->batch < threads && flops > 4e5;
    /* Cutting rows makes each thread pack all of b; cutting columns, all of a where a must be packed. */
    bool by_rows = p->m >= p->n * (p->a_col == 1 ? 4 : 1);
    g.rows = cut && by_rows ? split(p->m, threads, MR) : p->m;
    g.columns = cut && !by_rows ? split(p->n, threads, NR) : p->n;
    g.row_pieces = (p->m + g.rows - 1) / g.rows;
    g.column_pieces = (p->n + g.columns - 1) / g.columns;
    return g;
}

/* Floats of one worker's packs: blocks are no larger than the product. */
static int64_t pack_floats(int64_t m, int64_t n, int64_t k, int64_t *a_floats)
{
    int64_t kc = MIN((int64_t)KC, k), rows = MIN((int64_t)MC, (m + MR - 1) / MR * MR),
            columns = MIN((int64_t)NC, (n + NR - 1) / NR * NR);
    *a_floats = (kc * rows + 15) / 16 * 16;
    return *a_floats + kc * columns + MR * NR;
}

static void run_pieces(void *arg, int64_t first, int64_t last, int worker)
{
    const grid *g = arg;
    const step *s = g->step;
    int64_t a_floats, floats = pack_floats(g->shape.m, g->shape.n, g->shape.k, &a_floats);
    float *memory = (float *)s->scratch + worker * floats;
    packs w = {.a = memory, .b = memory + a_floats, .edge = memory + floats - MR * NR};
    int64_t each = g->row_pieces * g->column_pieces, size = g->shape.m * g->shape.n;
    for (int64_t at = first; at < last; at++) {
        int64_t batch = at / each, a_at, b_at;
        matmul_offsets(s, batch, &a_at, &b_at);
        piece p = {.step = s, .shape = g->shape, .a = f32(&s->in[0]) + a_at, .b = f32(&s->in[1]) + b_at};
        p.y = f32(&s->out[0]) + batch * size;
        p.c = s->inputs > 2 && s->in[2].data ? f32(&s->in[2]) + batch * size : NULL;
        p.row = at % each / g->column_pieces * g->rows;
        p.column = at % g->column_pieces * g->columns;
        p.rows = MIN(g->rows, g->shape.m - p.row);
        p.columns = MIN(g->columns, g->shape.n - p.column);
        run_piece(&p, &w);
    }
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    const shape *x = &n->in[0]->shape, *y = &n->out[0]->shape;
    int64_t k = x->dim[x->rank - (ATTRS_OF(matmul_attrs, n)->trans_a ? 2 : 1)], a_floats;
    int64_t m = shape_count(*y) / y->dim[y->rank - 1]; /* a batch may be folded into rows */
    return pack_floats(m, y->dim[y->rank - 1], k, &a_floats) * (int64_t)sizeof(float) * caps->threads;
}

static status launch(const step *s, queue *q)
{
    grid g = make_grid(s, cpu_threads(q));
    int64_t pieces = g.row_pieces * g.column_pieces * g.shape.batch;
    if (q->pool && pieces > 1)
        pool_for(q->pool, pieces, 1, run_pieces, &g);
    else
        run_pieces(&g, 0, pieces, 0);
    return INGOT_OK;
}

const kernel_def ISA_NAME(matmul_cpu)[] = {
    {.op = &op_matmul_def,
     .name = "matmul.simd",
     .level = LEVEL_SIMD,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
