/* Sums and maxima in vectors, over float32 and 16-bit floats. Long sums are cut into blocks of fixed size, whose sums are added in float64 in
 * order: the same bits for any number of threads, and an error that does not grow with the length.
 */
#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
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

static double sum_row(const tensor *x, int64_t at, int64_t n)
{
    double sum = 0;
    float room[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t count = MIN((int64_t)BLOCK, n - i);
        sum += sum_block(row_read(x, at + i, count, room), count);
    }
    return sum;
}

/* A NaN anywhere gives NaN, as in the oracle. */
static float max_row(const tensor *t, int64_t at, int64_t n)
{
    float most = -INFINITY, room[BLOCK];
    int bad = 0;
    for (int64_t start = 0; start < n; start += BLOCK) {
        int64_t count = MIN((int64_t)BLOCK, n - start);
        const float *x = row_read(t, at + start, count, room);
#pragma omp simd reduction(max : most) reduction(| : bad)
        for (int64_t i = 0; i < count; i++) {
            most = x[i] > most ? x[i] : most;
            bad |= x[i] != x[i];
        }
    }
    return bad ? NAN : most;
}

static void *element(const tensor *t, int64_t at)
{
    return (char *)t->data + at * ingot_dtype_bytes(t->dtype);
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
        float y = sum ? (float)sum_row(&s->in[0], row * n, n) : max_row(&s->in[0], row * n, n);
        cpu_narrow(element(&s->out[0], row), s->out[0].dtype, &y, 1);
    }
}

/* One long row: blocks in parallel into scratch, then their sum in order. */
static void blocks(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t n = length_of(s);
    for (int64_t block = first; block < last; block++)
        ((double *)s->scratch)[block] = sum_row(&s->in[0], block * BLOCK, MIN((int64_t)BLOCK, n - block * BLOCK));
}

static void sum_columns(float *y, const tensor *x, int64_t at, int64_t length, int64_t stride, int64_t n)
{
    double total[COLUMNS] = {0};
    float room[COLUMNS];
    for (int64_t start = 0; start < length; start += ROW_BLOCK) {
        float part[COLUMNS] = {0};
        int64_t end = MIN(start + ROW_BLOCK, length);
        for (int64_t k = start; k < end; k++) {
            const float *row = row_read(x, at + k * stride, n, room);
            for (int64_t i = 0; i < n; i++) part[i] += row[i];
        }
        for (int64_t i = 0; i < n; i++) total[i] += part[i];
    }
    for (int64_t i = 0; i < n; i++) y[i] = (float)total[i];
}

static void max_columns(float *y, const tensor *x, int64_t at, int64_t length, int64_t stride, int64_t n)
{
    float room[COLUMNS];
    memcpy(y, row_read(x, at, n, room), sizeof *y * (size_t)n);
    for (int64_t k = 1; k < length; k++) {
        const float *row = row_read(x, at + k * stride, n, room);
        for (int64_t i = 0; i < n; i++) y[i] = row[i] > y[i] || row[i] != row[i] ? row[i] : y[i];
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
        float y[COLUMNS];
        (sum ? sum_columns : max_columns)(y, &s->in[0], at / inner * length * inner + column, length, inner, n);
        cpu_narrow(element(&s->out[0], at), s->out[0].dtype, y, n);
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
    float y = (float)sum;
    cpu_narrow(s->out[0].data, s->out[0].dtype, &y, 1);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
{
    return dtype_is_float(n->in[0]->dtype) && cpu_match_narrow(n, caps);
}

const kernel_def ISA_NAME(reduce_cpu)[] = {
    {.op = &op_reduce_def,
     .name = "reduce.simd",
     .level = LEVEL_SIMD,
     .match = match,
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
