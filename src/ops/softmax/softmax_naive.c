/* Row by row, as one would write it first. */
#include <math.h>

#include "kit/cpu/cpu.h"
#include "ops/table.h"

static float row_max(const float *x, int64_t columns)
{
    float max = x[0];
    for (int64_t j = 1; j < columns; j++) max = x[j] > max || isnan(x[j]) ? x[j] : max;
    return max;
}

static void softmax_row(float *y, const float *x, int64_t columns)
{
    float max = row_max(x, columns), sum = 0;
    for (int64_t j = 0; j < columns; j++) sum += y[j] = expf(x[j] - max);
    for (int64_t j = 0; j < columns; j++) y[j] /= sum;
}

static void log_softmax_row(float *y, const float *x, int64_t columns)
{
    float max = row_max(x, columns), sum = 0;
    for (int64_t j = 0; j < columns; j++) sum += expf(x[j] - max);
    float lse = logf(sum);
    for (int64_t j = 0; j < columns; j++) y[j] = x[j] - max - lse;
}

/* dx may lie over dy. */
static void softmax_grad_row(float *dx, const float *dy, const float *y, int64_t columns)
{
    float along = 0;
    for (int64_t j = 0; j < columns; j++) along += dy[j] * y[j];
    for (int64_t j = 0; j < columns; j++) dx[j] = y[j] * (dy[j] - along);
}

static void log_softmax_grad_row(float *dx, const float *dy, const float *y, int64_t columns)
{
    float sum = 0;
    for (int64_t j = 0; j < columns; j++) sum += dy[j];
    for (int64_t j = 0; j < columns; j++) dx[j] = dy[j] - expf(y[j]) * sum;
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

#define KERNEL(name_, level_, suffix)                                                                                  \
    {                                                                                                                  \
        .op = &op_##name_##_def, .name = #name_ suffix, .level = level_, .traits = KERNEL_ROW_INVARIANT,               \
        .launch = name_##_launch, .error = ERROR_SUM                                                                   \
    }
const kernel_def softmax_naive[] = {
    KERNEL(softmax, LEVEL_PARALLEL, ".parallel"),
    KERNEL(softmax, LEVEL_NAIVE, ".naive"),
    KERNEL(softmax_grad, LEVEL_PARALLEL, ".parallel"),
    KERNEL(softmax_grad, LEVEL_NAIVE, ".naive"),
    KERNEL(log_softmax, LEVEL_PARALLEL, ".parallel"),
    KERNEL(log_softmax, LEVEL_NAIVE, ".naive"),
    KERNEL(log_softmax_grad, LEVEL_PARALLEL, ".parallel"),
    KERNEL(log_softmax_grad, LEVEL_NAIVE, ".naive"),
    {0},
};
