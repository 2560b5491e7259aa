/* The same rows with vector exponentials and sums in vector lanes. */
#include "kit/cpu/cpu.h"
#include "kit/cpu/vmath.h"
#include "ops/table.h"

static void softmax_row(float *y, const float *x, int64_t columns)
{
    float max = v_max(x, columns), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < columns; j++) {
        y[j] = v_exp(x[j] - max);
        sum += y[j];
    }
    float scale = 1 / sum;
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) y[j] *= scale;
}

static void log_softmax_row(float *y, const float *x, int64_t columns)
{
    float max = v_max(x, columns), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < columns; j++) sum += v_exp(x[j] - max);
    float lse = v_log(sum);
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) y[j] = x[j] - max - lse;
}

/* dx may lie over dy: each element is read before it is written. */
static void softmax_grad_row(float *dx, const float *dy, const float *y, int64_t columns)
{
    float along = 0;
#pragma omp simd reduction(+ : along)
    for (int64_t j = 0; j < columns; j++) along += dy[j] * y[j];
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) dx[j] = y[j] * (dy[j] - along);
}

static void log_softmax_grad_row(float *dx, const float *dy, const float *y, int64_t columns)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < columns; j++) sum += dy[j];
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) dx[j] = dy[j] - v_exp(y[j]) * sum;
}

#define ROWS(name)                                                                                                     \
    static void name##_rows(const step *s, int64_t first, int64_t last, int worker)                                    \
    {                                                                                                                  \
        (void)worker;                                                                                                  \
        int64_t columns = tensor_last(&s->in[0]);                                                                      \
        for (int64_t i = first; i < last; i++)                                                                         \
            name##_row(f32(&s->out[0]) + i * columns, f32(&s->in[0]) + i * columns ROWS_SECOND, columns);              \
    }                                                                                                                  \
    static status name##_launch(const step *s, queue *q)                                                               \
    {                                                                                                                  \
        return cpu_for(s, q, tensor_rows(&s->in[0], 1), 1 + CPU_GRAIN / 4 / tensor_last(&s->in[0]), name##_rows);      \
    }
#define ROWS_SECOND
ROWS(softmax)
ROWS(log_softmax)
#undef ROWS_SECOND
#define ROWS_SECOND , f32(&s->in[1]) + i *columns
ROWS(softmax_grad)
ROWS(log_softmax_grad)

#define KERNEL(name_)                                                                                                  \
    {                                                                                                                  \
        .op = &op_##name_##_def, .name = #name_ ".simd", .level = LEVEL_SIMD, .traits = KERNEL_ROW_INVARIANT,          \
        .launch = name_##_launch, .error = ERROR_SUM                                                                   \
    }
const kernel_def ISA_NAME(softmax_cpu)[] = {
    KERNEL(softmax), KERNEL(softmax_grad), KERNEL(log_softmax), KERNEL(log_softmax_grad), {0},
};
