/* Rungs tiled and tiled-parallel: the loops reordered and cut into blocks that stay in the cache.
 *
 * Idea: with k outside j the inner loop runs along rows of b and y, whose elements lie side by side, and no addition waits
 * for the one before. Cut into blocks of BLOCK x BLOCK, a block of b is read from the first cache BLOCK times for once from
 * memory: 2 BLOCK^3 FLOPs for 3 BLOCK^2 numbers, 32 FLOPs a number instead of one. What is left idle is the vector unit:
 * each multiply-add is one lane wide and loads and stores its sum. Expertise 3, effort 65 lines, 3 hours; shared out to
 * threads 75 lines, 4 hours.
 */
#include "kit/cpu/cpu.h"
#include "ops/matmul/matmul.h"

#ifndef MATMUL_F64 /* matmul_tiled_f64.c */
typedef float real;
#define TABLE      matmul_tiled
#define NAME(rung) "matmul." rung
#define MATCH      match_f32
enum { BLOCK = 48 }; /* three blocks of 48 x 48 float32 are 27 KB: they fit a first cache of 32 KB */
#endif

static void copy_block(real *to, const real *from, int64_t row, int64_t col, int64_t rows, int64_t cols)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) to[i * BLOCK + j] = from[i * row + j * col];
}

/* y (rows, cols) += a (rows, inner) b (inner, cols), both with rows of BLOCK. */
static void block_product(real *y, int64_t stride, const real *a, const real *b, int64_t rows, int64_t cols,
                          int64_t inner)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < inner; k++) {
            real x = a[i * BLOCK + k];
            for (int64_t j = 0; j < cols; j++) y[i * stride + j] += x * b[k * BLOCK + j];
        }
}

static void row_of_blocks(const step *s, const matmul_shape *p, int64_t batch, int64_t row)
{
    real a_block[BLOCK * BLOCK], b_block[BLOCK * BLOCK];
    int64_t a_at, b_at, rows = MIN((int64_t)BLOCK, p->m - row);
    matmul_offsets(s, batch, &a_at, &b_at);
    const real *a = (const real *)s->in[0].data + a_at + row * p->a_row, *b = (const real *)s->in[1].data + b_at;
    const real *c = s->inputs > 2 ? s->in[2].data : NULL;
    int64_t start = (batch * p->m + row) * p->n;
    real *y = (real *)s->out[0].data + start;
    if (!c) memset(y, 0, (size_t)(rows * p->n) * sizeof *y);
    if (c && c + start != y) memcpy(y, c + start, (size_t)(rows * p->n) * sizeof *y);
    for (int64_t k = 0; k < p->k; k += BLOCK) {
        int64_t inner = MIN((int64_t)BLOCK, p->k - k);
        copy_block(a_block, a + k * p->a_col, p->a_row, p->a_col, rows, inner);
        for (int64_t j = 0; j < p->n; j += BLOCK) {
            int64_t cols = MIN((int64_t)BLOCK, p->n - j);
            copy_block(b_block, b + k * p->b_row + j * p->b_col, p->b_row, p->b_col, inner, cols);
            block_product(y + j, p->n, a_block, b_block, rows, cols, inner);
        }
    }
}

static void block_rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    matmul_shape p = matmul_shape_of(s);
    int64_t blocks = (p.m + BLOCK - 1) / BLOCK;
    for (int64_t i = first; i < last; i++) row_of_blocks(s, &p, i / blocks, i % blocks * BLOCK);
}

static status launch(const step *s, queue *q)
{
    matmul_shape p = matmul_shape_of(s);
    return cpu_for(s, q, (p.m + BLOCK - 1) / BLOCK * p.batch, MAX(1, CPU_GRAIN * 4 / (BLOCK * p.n * p.k)), block_rows);
}

const kernel_def TABLE[] = {
    {.op = &op_matmul_def,
     .name = NAME("tiled"),
     .level = LEVEL_TILED,
     .match = MATCH,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .launch = launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {.op = &op_matmul_def,
     .name = NAME("tiled_parallel"),
     .level = LEVEL_TILED_PARALLEL,
     .match = MATCH,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .launch = launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
