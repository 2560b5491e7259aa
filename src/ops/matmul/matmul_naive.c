/* Rungs naive and parallel: the three loops of the definition, one row of the result at a time.
 *
 * Idea: none. Every element of y reads a row of a and a column of b again: 2 FLOPs for 8 bytes from cache or worse, one
 * addition waiting for the one before. `parallel` gives each thread some rows.
 * Expertise 1, effort 40 lines, 0.5 hours; parallel: expertise 2, 49 lines, 1 hours.
 */
#include "kit/cpu/cpu.h"
#include "ops/matmul/matmul.h"

#ifndef MATMUL_F64 /* matmul_naive_f64.c */
typedef float real;
#define TABLE      matmul_naive
#define NAME(rung) "matmul." rung
#define MATCH      match_f32
#endif

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    matmul_shape p = matmul_shape_of(s);
    const real *c = s->inputs > 2 ? s->in[2].data : NULL;
    for (int64_t row = first; row < last; row++) {
        int64_t a_at, b_at, i = row % p.m;
        matmul_offsets(s, row / p.m, &a_at, &b_at);
        const real *a = (const real *)s->in[0].data + a_at + i * p.a_row, *b = (const real *)s->in[1].data + b_at;
        real *y = (real *)s->out[0].data + row * p.n;
        for (int64_t j = 0; j < p.n; j++) {
            real sum = c ? c[row * p.n + j] : 0;
            for (int64_t k = 0; k < p.k; k++) sum += a[k * p.a_col] * b[k * p.b_row + j * p.b_col];
            y[j] = sum;
        }
    }
}

static status launch(const step *s, queue *q)
{
    matmul_shape p = matmul_shape_of(s);
    return cpu_for(s, q, p.m * p.batch, MAX(1, CPU_GRAIN / (p.n * p.k)), rows);
}

const kernel_def TABLE[] = {
    {.op = &op_matmul_def,
     .name = NAME("naive"),
     .level = LEVEL_NAIVE,
     .match = MATCH,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .launch = launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {.op = &op_matmul_def,
     .name = NAME("parallel"),
     .level = LEVEL_PARALLEL,
     .match = MATCH,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .launch = launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
