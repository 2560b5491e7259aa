/* Sums and maxima over float32 in vectors. Long sums are cut into blocks of fixed size, whose sums are added in float64 in
 * order: the same bits for any number of threads, and an error that does not grow with the length.
 */
#include "kit/cpu/cpu.h"
#include "ops/reduce/reduce.h"

#include <math.h>

enum { BLOCK = 4096, ROW_BLOCK = 64, COLUMNS = 256 };

static double sum_block(const float *x, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

static double sum_row(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += BLOCK) sum += sum_block(x + i, MIN((int64_t)BLOCK, n - i));
    return sum;
}

/* A NaN anywhere gives NaN, as in the oracle. */
static float max_row(const float *x, int64_t n)
{
    float most = -INFINITY;
    int bad = 0;
#pragma omp simd reduction(max : most) reduction(| : bad)
    for (int64_t i = 0; i < n; i++) {
        most = x[i] > most ? x[i] : most;
        bad |= x[i] != x[i];
    }
    return bad ? NAN : most;
}

static int64_t length_of(const step *s)
{
    return s->in[0].shape.dim[ATTRS_OF(reduce_attrs, s->node)->axis];
}

static int64_t inner_of(const step *s)
{
    int64_t inner = 1;
    for (int64_t i = ATTRS_OF(reduce_attrs, s->node)->axis + 1; i < s->in[0].shape.rank; i++)
        inner *= s->in[0].shape.dim[i];
    return inner;
}

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t n = length_of(s);
    bool sum = ATTRS_OF(reduce_attrs, s->node)->kind == REDUCE_SUM;
    for (int64_t row = first; row < last; row++) {
        const float *x = f32(&s->in[0]) + row * n;
        f32(&s->out[0])[row] = sum ? (float)sum_row(x, n) : max_row(x, n);
    }
}

/* One long row: blocks in parallel into scratch, then their sum in order. */
static void blocks(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t n = length_of(s);
    for (int64_t block = first; block < last; block++)
        ((double *)s->scratch)[block] =
            sum_block(f32(&s->in[0]) + block * BLOCK, MIN((int64_t)BLOCK, n - block * BLOCK));
}

static void sum_columns(float *y, const float *x, int64_t length, int64_t stride, int64_t n)
{
    double total[COLUMNS] = {0};
    for (int64_t start = 0; start < length; start += ROW_BLOCK) {
        float part[COLUMNS] = {0};
        int64_t end = MIN(start + ROW_BLOCK, length);
        for (int64_t k = start; k < end; k++)
            for (int64_t i = 0; i < n; i++) part[i] += x[k * stride + i];
        for (int64_t i = 0; i < n; i++) total[i] += part[i];
    }
    for (int64_t i = 0; i < n; i++) y[i] = (float)total[i];
}

static void max_columns(float *y, const float *x, int64_t length, int64_t stride, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i];
    for (int64_t k = 1; k < length; k++)
        for (int64_t i = 0; i < n; i++) {
            float v = x[k * stride + i];
            y[i] = v > y[i] || v != v ? v : y[i];
        }
}

/* Columns are visited in groups of up to COLUMNS that do not cross an outer index. */
static void columns(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t length = length_of(s), inner = inner_of(s);
    bool sum = ATTRS_OF(reduce_attrs, s->node)->kind == REDUCE_SUM;
    for (int64_t at = first; at < last;) {
        int64_t column = at % inner, n = MIN(MIN((int64_t)COLUMNS, inner - column), last - at);
        const float *x = f32(&s->in[0]) + at / inner * length * inner + column;
        (sum ? sum_columns : max_columns)(f32(&s->out[0]) + at, x, length, inner, n);
        at += n;
    }
}

static bool one_long_sum(const step *s)
{
    return ATTRS_OF(reduce_attrs, s->node)->kind == REDUCE_SUM && length_of(s) > 4 * BLOCK &&
           shape_count(s->out[0].shape) == 1;
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    (void)caps;
    return shape_count(n->out[0]->shape) == 1 ? (shape_count(n->in[0]->shape) / BLOCK + 1) * (int64_t)sizeof(double)
                                              : 0;
}

static status launch(const step *s, queue *q)
{
    int64_t length = length_of(s), count = shape_count(s->out[0].shape);
    if (inner_of(s) > 1) return cpu_for(s, q, count, MAX(16, CPU_GRAIN / length), columns);
    if (!one_long_sum(s)) return cpu_for(s, q, count, MAX(1, CPU_GRAIN / length), rows);
    int64_t parts = (length + BLOCK - 1) / BLOCK;
    cpu_for(s, q, parts, 4, blocks);
    double sum = 0;
    for (int64_t i = 0; i < parts; i++) sum += ((const double *)s->scratch)[i];
    f32(&s->out[0])[0] = (float)sum;
    return INGOT_OK;
}

const kernel_def ISA_NAME(reduce_cpu)[] = {
    {.op = &op_reduce_def,
     .name = "reduce.simd",
     .level = LEVEL_SIMD,
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
