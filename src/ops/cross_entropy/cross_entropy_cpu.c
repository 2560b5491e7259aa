/* The same rows with vector exponentials and sums in vector lanes. */
#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "kit/cpu/vmath.h"
#include "ops/cross_entropy/cross_entropy.h"

/* Apart, so that the loss of logits with a large offset keeps its digits: lse = max + log_sum. */
typedef struct row_sum {
    float max, log_sum;
} row_sum;

static row_sum sum_row(const float *x, int64_t columns)
{
    float max = v_max(x, columns), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < columns; j++) sum += v_exp_low(x[j] - max);
    return (row_sum){max, v_log(sum)};
}

/* dx may lie over x: each element is read before it is written. */
static void row_grad(float *dx, const float *x, float lse, float d, int64_t columns)
{
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) dx[j] = v_exp_low(x[j] - lse) * d;
}

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    int64_t columns = tensor_last(&s->in[0]);
    float *room = (float *)s->scratch + worker * columns;
    float *losses = f32(&s->out[CROSS_ENTROPY_LOSSES]), *lses = f32(&s->out[CROSS_ENTROPY_LSE]);
    for (int64_t i = first; i < last; i++) {
        const float *x = row_read(&s->in[0], i * columns, columns, room);
        int64_t target = i32(&s->in[1])[i];
        bool counts = target >= 0 && target < columns;
        row_sum sum = counts ? sum_row(x, columns) : (row_sum){0};
        losses[i] = counts ? sum.max - x[target] + sum.log_sum : 0;
        if (lses) lses[i] = sum.max + sum.log_sum;
    }
}

static void grad_rows(const step *s, int64_t first, int64_t last, int worker)
{
    int64_t columns = tensor_last(&s->in[0]);
    float *room = (float *)s->scratch + worker * columns;
    const float *lse = f32(&s->in[2]), *d = f32(&s->in[3]);
    for (int64_t i = first; i < last; i++) {
        const float *x = row_read(&s->in[0], i * columns, columns, room);
        float *dx = row_place(&s->out[0], i * columns, room);
        int64_t target = i32(&s->in[1])[i];
        if (target < 0 || target >= columns) {
            memset(dx, 0, sizeof *dx * (size_t)columns);
            row_write(&s->out[0], i * columns, columns, dx);
            continue;
        }
        row_grad(dx, x, lse[i], d[i], columns);
        dx[target] -= d[i];
        row_write(&s->out[0], i * columns, columns, dx);
    }
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    return row_rooms(n, caps, 1);
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, tensor_rows(&s->in[0], 1), 1 + CPU_GRAIN / 4 / tensor_last(&s->in[0]), rows);
}

static status grad_launch(const step *s, queue *q)
{
    return cpu_for(s, q, tensor_rows(&s->in[0], 1), 1 + CPU_GRAIN / 4 / tensor_last(&s->in[0]), grad_rows);
}

#define FORWARD                                                                                                        \
    .op = &op_cross_entropy_def, .match = cpu_match_narrow, .scratch = scratch, .traits = KERNEL_ROW_INVARIANT,        \
    .launch = launch, .error = ERROR_SUM
#define BACKWARD                                                                                                       \
    .op = &op_cross_entropy_grad_def, .match = cpu_match_narrow, .scratch = scratch, .traits = KERNEL_ROW_INVARIANT,   \
    .launch = grad_launch, .error = ERROR_SUM
const kernel_def ISA_NAME(cross_entropy_cpu)[] = {
    {.name = "cross_entropy.simd", .level = LEVEL_SIMD, FORWARD},
    {.name = "cross_entropy_grad.simd", .level = LEVEL_SIMD, BACKWARD},
    {0},
};
