/* The loops of rung simd around its register tile, and how a product is cut for threads: see matmul_cpu.c. A file defines
 * `real` and REAL_BYTES, then includes this. */
#ifndef OPS_MATMUL_MATMUL_PANELS_H
#define OPS_MATMUL_MATMUL_PANELS_H

#include "kit/cpu/cpu.h"
#include "ops/matmul/matmul_tile.h"

enum {
    KC = 256,             /* a panel of b, KC x NR, fills most of the first cache */
    NC = 64 * NR,         /* columns of y at work; their panels of b stay packed while rows come by in blocks */
    FEW_ROWS = 4 * MR,    /* up to these, b is read where it lies */
    FEW_COLUMNS = 16 * NR /* up to these, so is a */
};

/* Rows of a packed at a time: KC columns of them take half of the second cache. */
static int64_t block_rows(const device_caps *caps, int64_t m)
{
    int64_t l2 = caps->l2_bytes > 0 ? caps->l2_bytes : 512 << 10;
    int64_t rows = MAX(l2 / 2 / (KC * (int64_t)sizeof(real)) / MR, 4) * MR;
    return MIN(rows, (m + MR - 1) / MR * MR);
}

/* One worker's memory. */
typedef struct packs {
    real *a;    /* panels of MR rows */
    real *b;    /* panels of NR columns */
    real *edge; /* (MR, NR) */
} packs;

/* How a product is cut: row_pieces x column_pieces for each of the batch. */
typedef struct grid {
    const step *step;
    matmul_shape shape;
    int64_t row_pieces, column_pieces, rows, columns, block_rows;
} grid;

typedef struct piece {
    matmul_shape shape;
    const real *a, *b, *c; /* of the product this piece belongs to; c NULL: none */
    real *y;
    int64_t row, rows, column, columns, block_rows;
    bool direct_a, direct_b;
} piece;

/* Blocks of at most `most`, all about equal, so that none is short. */
static int64_t even_blocks(int64_t total, int64_t most, int64_t unit)
{
    return round_up(divide_up(total, divide_up(total, most)), unit);
}

static int64_t block_depth(int64_t k)
{
    return k ? even_blocks(k, KC, 8) : 0;
}

/* Columns whose panels are kept packed: all that come by while one block of rows is at work. */
static int64_t kept_columns(int64_t m, int64_t n, int64_t most_rows)
{
    return m <= most_rows ? NR : MIN((int64_t)NC, round_up(n, NR));
}

static int64_t pack_elements(int64_t m, int64_t n, int64_t k, int64_t rows)
{
    int64_t kc = MIN(block_depth(k), k);
    return round_up(kc * rows, 64) + round_up(kc * kept_columns(m, n, rows), 64) + MR * NR;
}

/* Rows [row, row + rows) of the piece's, all of [column, column + columns), for k in [k, k + kc). */
static void run_block(const piece *p, const packs *w, int64_t k, int64_t kc, int64_t row, int64_t rows, int64_t column,
                      int64_t columns)
{
    const matmul_shape *s = &p->shape;
    const real *a = p->a + row * s->a_row + k * s->a_col;
    bool first = row == p->row, keep = p->rows > p->block_rows;
    for (int64_t i = 0; i < rows && !p->direct_a; i += MR)
        pack_a(w->a + i * kc, a + i * s->a_row, s->a_row, s->a_col, kc, MIN((int64_t)MR, rows - i));
    for (int64_t j = 0; j < columns; j += NR) {
        int64_t wide = MIN((int64_t)NR, columns - j);
        const real *b = p->b + k * s->b_row + (column + j) * s->b_col;
        real *panel = w->b + (keep ? j * kc : 0);
        bool direct = p->direct_b && (wide == NR || wide == LANES);
        if (first && !direct) pack_b(panel, b, s->b_col, s->b_row, kc, wide);
        tile_job t = {.kc = kc, .b = direct ? b : panel, .b_row = direct ? s->b_row : NR, .y_row = s->n};
        t.a_row = p->direct_a ? s->a_row : 1;
        t.a_col = p->direct_a ? s->a_col : MR;
        int64_t after = MIN((int64_t)NR, columns - j - NR), tiles = divide_up(rows, MR);
        int64_t lines = first && after > 0 && !p->direct_b ? panel_lines(s->b_col, kc, after) : 0;
        for (int64_t i = 0; i < rows; i += MR) {
            int64_t high = MIN((int64_t)MR, rows - i);
            if (lines)
                prefetch_panel(b + NR * s->b_col, s->b_col, s->b_row, kc, after, lines * (i / MR) / tiles,
                               lines * (i / MR + 1) / tiles);
            t.a = p->direct_a ? a + i * s->a_row : w->a + i * kc;
            t.y = p->y + (row + i) * s->n + column + j;
            t.from = k > 0 ? t.y : p->c ? p->c + (t.y - p->y) : NULL;
            if (high == MR && wide == NR)
                tile_whole(&t);
            else
                tile_ragged(high, wide, &t, w->edge);
        }
    }
}

static void run_piece(const piece *p, const packs *w)
{
    int64_t depth = block_depth(p->shape.k);
    int64_t rows = even_blocks(p->rows, p->block_rows, MR), columns = even_blocks(p->columns, NC, NR);
    for (int64_t j = 0; j < p->columns; j += columns) /* outermost: these of y stay in cache while k runs */
        for (int64_t k = 0; k < p->shape.k; k += depth)
            for (int64_t i = 0; i < p->rows; i += rows)
                run_block(p, w, k, MIN(depth, p->shape.k - k), p->row + i, MIN(rows, p->rows - i), p->column + j,
                          MIN(columns, p->columns - j));
}

/* The cut whose largest piece is least: work of its tiles, plus a element packed for each of a and b. */
static grid make_grid(const step *s, const device_caps *caps, int64_t threads)
{
    grid g = {.step = s, .shape = matmul_shape_of(s)};
    const matmul_shape *p = &g.shape;
    g.rows = p->m;
    g.columns = p->n;
    double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k, least = INFINITY;
    if (p->batch >= threads || flops < 2e5) threads = 1;
    for (int64_t pieces = 1; pieces <= threads; pieces++) {
        int64_t rows = divide_up(p->m, pieces), columns = round_up(divide_up(p->n, threads / pieces), NR);
        rows = MIN(p->m, round_up(rows, 4));
        double cost = (double)(rows * columns) / NR + (double)rows + (double)columns;
        if (cost >= least) continue;
        least = cost;
        g.rows = rows;
        g.columns = MIN(columns, p->n);
    }
    g.row_pieces = divide_up(p->m, g.rows);
    g.column_pieces = divide_up(p->n, g.columns);
    g.block_rows = block_rows(caps, p->m);
    return g;
}

static real *real_at(const tensor *t)
{
    return t->data;
}

static void run_pieces(void *arg, int64_t first, int64_t last, int worker)
{
    const grid *g = arg;
    const step *s = g->step;
    const matmul_shape *p = &g->shape;
    int64_t elements = pack_elements(p->m, p->n, p->k, g->block_rows), kc = MIN(block_depth(p->k), p->k);
    real *memory = (real *)s->scratch + worker * elements;
    packs w = {.a = memory, .b = memory + round_up(kc * g->block_rows, 64), .edge = memory + elements - MR * NR};
    int64_t each = g->row_pieces * g->column_pieces, size = p->m * p->n;
    for (int64_t at = first; at < last; at++) {
        int64_t batch = at / each, a_at, b_at;
        matmul_offsets(s, batch, &a_at, &b_at);
        piece q = {.shape = *p, .a = real_at(&s->in[0]) + a_at, .b = real_at(&s->in[1]) + b_at};
        q.y = real_at(&s->out[0]) + batch * size;
        q.c = s->inputs > 2 && s->in[2].data ? real_at(&s->in[2]) + batch * size : NULL;
        q.row = at % each / g->column_pieces * g->rows;
        q.column = at % g->column_pieces * g->columns;
        q.rows = MIN(g->rows, p->m - q.row);
        q.columns = MIN(g->columns, p->n - q.column);
        q.block_rows = g->block_rows;
        q.direct_a = p->a_col == 1 && q.columns <= FEW_COLUMNS;
        q.direct_b = p->b_col == 1 && q.rows <= FEW_ROWS;
        run_piece(&q, &w);
    }
}

static void zero_rows(const grid *g)
{
    const tensor *y = &g->step->out[0], *c = &g->step->in[2];
    size_t bytes = (size_t)(shape_count(y->shape) * (int64_t)sizeof(real));
    if (g->step->inputs > 2 && c->data)
        memmove(y->data, c->data, bytes);
    else
        memset(y->data, 0, bytes);
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    const shape *x = &n->in[0]->shape, *y = &n->out[0]->shape;
    int64_t k = x->dim[x->rank - (ATTRS_OF(matmul_attrs, n)->trans_a ? 2 : 1)];
    int64_t columns = y->dim[y->rank - 1], m = columns ? shape_count(*y) / columns : 0;
    /* Whether a batch is folded into rows is known with its strides: room for both. */
    int64_t rows = y->dim[y->rank - 2];
    int64_t elements =
        MAX(pack_elements(m, columns, k, block_rows(caps, m)), pack_elements(rows, columns, k, block_rows(caps, rows)));
    return elements * (int64_t)sizeof(real) * caps->threads;
}

static status launch(const step *s, queue *q)
{
    grid g = make_grid(s, q->caps, cpu_threads(q));
    int64_t pieces = g.row_pieces * g.column_pieces * g.shape.batch;
    if (!g.shape.k)
        zero_rows(&g);
    else if (q->pool && pieces > 1)
        pool_for(q->pool, pieces, 1, run_pieces, &g);
    else
        run_pieces(&g, 0, pieces, 0);
    return INGOT_OK;
}

#endif
