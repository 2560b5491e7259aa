/* The loops of rung simd around its register tile, and how a product is cut for threads: see matmul_cpu.c. A file defines
 * `real` and REAL_BYTES, then includes this. */
#ifndef OPS_MATMUL_MATMUL_PANELS_H
#define OPS_MATMUL_MATMUL_PANELS_H

#include "kit/cpu/cpu.h"
#include "ops/matmul/matmul_pack.h"

enum {
    MOST_DEPTH = 512,  /* y is read and written for every 2 * MOST_DEPTH FLOPs: 8 bytes, 2 GB/s at 250 GFLOP/s */
    FEW_ROWS = 4 * MR, /* up to these, b is read where it lies */
    FEW_BLOCKS = 2     /* up to these many of b's columns, so is a */
};

/* A matrix that nobody wrote down, as windows of an image: copies rows [row, row + rows), columns [column, column + columns)
 * of it to `to`, whose rows are to_row apart. */
typedef struct implicit {
    void (*copy)(const void *of, real *to, int64_t to_row, int64_t row, int64_t rows, int64_t column, int64_t columns);
    const void *of;
} implicit;

/* A product, and how it is cut: row_pieces x column_pieces for each of the batch. */
typedef struct grid {
    const step *step; /* matmul's: where each of a batch lies */
    matmul_shape shape;
    const real *a, *b, *c; /* c NULL: none */
    int64_t c_row;         /* 0: one row for all, a bias */
    real *y, *scratch;
    implicit implicit_a, implicit_b;          /* (M, K), (K, N), where given in place of a, b */
    int64_t l2_bytes, depth, block;           /* k and columns of a block of b */
    int64_t packed_rows;                      /* rows of a that are packed at a time, where they are */
    int64_t a_elements, b_elements, elements; /* of one worker's scratch */
    int64_t row_pieces, column_pieces, rows, columns;
} grid;

/* One worker's share of one product, and its memory. */
typedef struct piece {
    matmul_shape shape;
    const grid *grid;
    const real *a, *b, *c; /* of the product this piece belongs to; c NULL: none */
    real *y;
    int64_t row, rows, column, columns;
    bool direct_a, direct_b;
    real *pack_a, *pack_b, *edge; /* panels of MR rows, panels of NR columns, (MR, NR) */
} piece;

/* A block of the product. */
typedef struct block {
    int64_t row, rows, column, columns, k, kc;
} block;

/* Blocks of at most `most`, all about equal, so that none is short. */
static int64_t even_blocks(int64_t total, int64_t most, int64_t unit)
{
    return total ? round_up(divide_up(total, divide_up(total, most)), unit) : 0;
}

/* Blocks from the caches of one core (and its share of the last):
 *   first   half of it for the panel of a (MR, depth), which all panels of b at work meet; they come by from the second
 *   second  3/8 of it for the block of b (depth, block), read once for each MR rows; room is left for what comes next
 *   last    a's packed panels (packed_rows, depth), read once for each block of b
 * So 48 KB, 1 MB, 32 MB for two give 512 deep blocks of 192 columns; 48 KB, 2 MB give 384 columns. */
static void size_blocks(grid *g, const device_caps *caps, int64_t m, int64_t n, int64_t k)
{
    int64_t size = (int64_t)sizeof(real), l1 = caps->l1_bytes > 0 ? caps->l1_bytes : 32 << 10;
    int64_t l2 = caps->l2_bytes > 0 ? caps->l2_bytes : 512 << 10, share = caps->l3_bytes / 2 / MAX(caps->threads, 1);
    g->l2_bytes = l2;
    g->depth = even_blocks(k, MIN(MAX(l1 / 2 / (MR * size) / 8 * 8, 64), (int64_t)MOST_DEPTH), 8);
    int64_t a_column = MAX(g->depth, 8) * size; /* bytes of a row of a, of a column of b */
    g->block = even_blocks(n, MAX(l2 * 3 / 8 / a_column / NR, 1) * NR, NR);
    g->packed_rows = even_blocks(m, MAX(MAX(l2, MIN(4 * l2, share)) / a_column / MR, 1) * MR, MR);
    g->a_elements = round_up(g->depth * g->packed_rows, 64);
    g->b_elements = round_up(g->depth * g->block, 64);
    g->elements = g->a_elements + g->b_elements + MR * NR;
}

/* Where a lies well enough and is read seldom enough that packing it would cost more. */
static bool reads_a(const grid *g, int64_t columns)
{
    const matmul_shape *s = &g->shape;
    return g->implicit_a.copy || (s->a_col == 1 && (columns <= FEW_BLOCKS * g->block ||
                                                    s->m * s->k * (int64_t)sizeof(real) <= 2 * g->l2_bytes));
}

/* The lines of a matrix of (count, kc). */
static fetch fetch_matrix(const real *from, int64_t across, int64_t along, int64_t kc, int64_t count)
{
    fetch f = {.at = (const char *)from};
    int64_t size = (int64_t)sizeof(real), rows = across == 1;
    if ((across != 1 && along != 1) || count <= 0 || kc <= 0) return f;
    f.runs = rows ? kc : count;
    f.lines = divide_up((rows ? count : kc) * size, 64);
    f.stride = (rows ? along : across) * size;
    return f;
}

static void pack_a_block(const piece *p, const block *t)
{
    const matmul_shape *s = &p->shape;
    const real *a = p->a + t->row * s->a_row + t->k * s->a_col;
    pack_a(p->pack_a, a, s->a_row, s->a_col, t->kc, t->rows);
}

static bool reads_b(const piece *p, int64_t wide)
{
    return p->direct_b && (wide == NR || wide == LANES);
}

static void pack_implicit_b(const piece *p, const block *t)
{
    const implicit *b = &p->grid->implicit_b;
    for (int64_t j = 0; j < t->columns; j += NR) {
        int64_t wide = MIN((int64_t)NR, t->columns - j);
        real *panel = p->pack_b + j * t->kc;
        if (wide < NR) memset(panel, 0, (size_t)(t->kc * NR) * sizeof *panel);
        b->copy(b->of, panel, NR, t->k, t->kc, t->column + j, wide);
    }
}

static void pack_b_block(const piece *p, const block *t)
{
    const matmul_shape *s = &p->shape;
    if (p->grid->implicit_b.copy) {
        pack_implicit_b(p, t);
        return;
    }
    const real *b = p->b + t->k * s->b_row + t->column * s->b_col;
    int64_t last = t->columns % NR, from = !p->direct_b ? 0 : reads_b(p, last) ? t->columns : t->columns - last;
    pack_b(p->pack_b + from * t->kc, b + from * s->b_col, s->b_col, s->b_row, t->kc, t->columns - from);
}

/* MR rows of a block, against all its columns. */
static void run_rows(const piece *p, const block *t, int64_t i, fetch *b_after, int64_t b_lines)
{
    const matmul_shape *s = &p->shape;
    int64_t high = MIN((int64_t)MR, t->rows - i), kc = t->kc;
    const real *a = p->a + (t->row + i) * s->a_row + t->k * s->a_col;
    fetch a_after = {0};
    tile_job job = {.kc = kc, .a = p->pack_a + i * kc, .a_row = 1, .a_col = MR, .y_row = s->n, .ahead = &a_after};
    const implicit *rows = &p->grid->implicit_a;
    if (rows->copy) {
        rows->copy(rows->of, p->pack_a, kc, t->row + i, high, t->k, kc);
        job.a = p->pack_a, job.a_row = kc, job.a_col = 1;
    } else if (p->direct_a) {
        job.a = a, job.a_row = s->a_row, job.a_col = s->a_col;
        a_after = fetch_matrix(a + MR * s->a_row, s->a_row, s->a_col, kc, MIN((int64_t)MR, t->rows - i - MR));
        job.lines = divide_up(a_after.runs * a_after.lines * FETCH_EVERY, divide_up(t->columns, NR) * kc);
    }
    for (int64_t j = 0; j < t->columns; j += NR) {
        int64_t wide = MIN((int64_t)NR, t->columns - j);
        bool direct = reads_b(p, wide);
        job.b = direct ? p->b + t->k * s->b_row + t->column + j : p->pack_b + j * kc;
        job.b_row = direct ? s->b_row : NR;
        job.y = p->y + (t->row + i) * s->n + t->column + j;
        job.from = t->k > 0 ? job.y : p->c ? p->c + (t->row + i) * p->grid->c_row + t->column + j : NULL;
        job.from_row = t->k > 0 ? s->n : p->grid->c_row;
        fetch_some(b_after, b_lines);
        if (high == MR && wide == NR)
            tile_whole(&job);
        else
            tile_ragged(high, wide, &job, p->edge);
    }
}

/* While this block is multiplied, the `next` one of b comes nearer. */
static void run_block(const piece *p, const block *t, const block *next)
{
    const matmul_shape *s = &p->shape;
    fetch after = {0};
    if (next->kc && !p->direct_b && !p->grid->implicit_b.copy)
        after = fetch_matrix(p->b + next->k * s->b_row + next->column * s->b_col, s->b_col, s->b_row, next->kc,
                             next->columns);
    int64_t lines = divide_up(after.runs * after.lines, divide_up(t->rows, MR) * divide_up(t->columns, NR));
    pack_b_block(p, t);
    for (int64_t i = 0; i < t->rows; i += MR) run_rows(p, t, i, &after, lines);
}

/* The block that is `at` in turn of these rows. Packed panels of a serve all columns before k moves on; without them y's
 * columns are finished one block after the other, so that they stay in cache. */
static block block_at(const piece *p, int64_t row, int64_t rows, int64_t at)
{
    const grid *g = p->grid;
    int64_t blocks = divide_up(p->columns, g->block), depths = divide_up(p->shape.k, g->depth);
    if (at >= blocks * depths) return (block){0};
    int64_t j = (p->direct_a ? at / depths : at % blocks) * g->block;
    int64_t k = (p->direct_a ? at % depths : at / blocks) * g->depth;
    return (block){row, rows, p->column + j, MIN(g->block, p->columns - j), k, MIN(g->depth, p->shape.k - k)};
}

static void run_piece(const piece *p)
{
    int64_t rows = p->direct_a ? p->rows : p->grid->packed_rows, at = 0;
    for (int64_t i = 0; i < p->rows; i += rows, at = 0) {
        int64_t here = MIN(rows, p->rows - i);
        for (block t = block_at(p, p->row + i, here, 0), next; t.kc; t = next) {
            next = block_at(p, t.row, here, ++at);
            if (!p->direct_a && t.column == p->column) pack_a_block(p, &t);
            run_block(p, &t, &next);
        }
    }
}

/* The cut whose largest piece is least: work of its tiles, plus an element packed for each of a and b. */
static void cut(grid *g, const device_caps *caps, int64_t threads)
{
    const matmul_shape *p = &g->shape;
    size_blocks(g, caps, p->m, p->n, p->k);
    g->rows = p->m;
    g->columns = p->n;
    double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k, least = INFINITY;
    if (p->batch >= threads || flops < 2e5) threads = 1;
    for (int64_t pieces = 1; pieces <= threads; pieces++) {
        int64_t rows = divide_up(p->m, pieces), columns = round_up(divide_up(p->n, threads / pieces), NR);
        rows = MIN(p->m, round_up(rows, 4));
        double cost = (double)(rows * columns) / NR + (reads_a(g, columns) ? 0 : (double)rows) + (double)columns;
        if (cost >= least) continue;
        least = cost;
        g->rows = rows;
        g->columns = MIN(columns, p->n);
    }
    g->row_pieces = divide_up(p->m, g->rows);
    g->column_pieces = divide_up(p->n, g->columns);
}

static void run_pieces(void *arg, int64_t first, int64_t last, int worker)
{
    const grid *g = arg;
    const matmul_shape *p = &g->shape;
    real *memory = g->scratch + worker * g->elements;
    int64_t each = g->row_pieces * g->column_pieces, size = p->m * p->n;
    for (int64_t at = first; at < last; at++) {
        int64_t batch = at / each, a_at = 0, b_at = 0;
        if (p->batch > 1) matmul_offsets(g->step, batch, &a_at, &b_at);
        piece q = {.shape = *p, .grid = g, .a = g->a + a_at, .b = g->b + b_at, .y = g->y + batch * size};
        q.c = g->c ? g->c + batch * size : NULL;
        q.row = at % each / g->column_pieces * g->rows;
        q.column = at % g->column_pieces * g->columns;
        q.rows = MIN(g->rows, p->m - q.row);
        q.columns = MIN(g->columns, p->n - q.column);
        q.direct_a = reads_a(g, q.columns);
        q.direct_b = p->b_col == 1 && q.rows <= FEW_ROWS && !g->implicit_b.copy;
        q.pack_a = memory, q.pack_b = memory + g->a_elements, q.edge = q.pack_b + g->b_elements;
        run_piece(&q);
    }
}

/* The product that `g` says, on the queue's threads. */
static void run_grid(grid *g, queue *q)
{
    cut(g, q->caps, cpu_threads(q));
    int64_t pieces = g->row_pieces * g->column_pieces * g->shape.batch;
    if (q->pool && pieces > 1)
        pool_for(q->pool, pieces, 1, run_pieces, g);
    else
        run_pieces(g, 0, pieces, 0);
}

#endif
