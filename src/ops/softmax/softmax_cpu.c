/* The same rows with vector exponentials and sums in vector lanes. */
#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "kit/cpu/stream.h"
#include "kit/cpu/vmath.h"
#include "ops/table.h"

/* Sums are in blocks, whichever way the result is written. */
static float exp_block(float *y, const float *x, float max, int64_t columns)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < columns; j++) {
        y[j] = v_exp_low(x[j] - max);
        sum += y[j];
    }
    return sum;
}

static void scale_block(float *y, float scale, int64_t columns)
{
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) y[j] *= scale;
}

enum { ROW_MOST = 8192 }; /* elements of a row that is kept in the first cache */

static void softmax_row(float *y, const float *x, int64_t columns, bool past)
{
    float kept[ROW_MOST], max = v_max(x, columns), sum = 0;
    past = past && columns <= ROW_MOST;
    float *e = past ? kept : y;
    for (int64_t j = 0; j < columns; j += STREAM_BLOCK) {
        int64_t n = MIN((int64_t)STREAM_BLOCK, columns - j);
        if (past) stream_next(x + columns + j, n);
        sum += exp_block(e + j, x + j, max, n);
    }
    scale_block(e, 1 / sum, columns);
    if (past) stream_block(y, e, columns);
}

static void log_softmax_row(float *y, const float *x, int64_t columns, bool past)
{
    (void)past;
    float max = v_max(x, columns), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < columns; j++) sum += v_exp(x[j] - max);
    float lse = v_log(sum);
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) y[j] = x[j] - max - lse;
}

/* dx may lie over dy: each element is read before it is written. */
static void softmax_grad_block(float *dx, const float *dy, const float *y, float along, int64_t columns)
{
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) dx[j] = y[j] * (dy[j] - along);
}

static void softmax_grad_row(float *dx, const float *dy, const float *y, int64_t columns, bool past)
{
    float along = 0, block[STREAM_BLOCK];
#pragma omp simd reduction(+ : along)
    for (int64_t j = 0; j < columns; j++) along += dy[j] * y[j];
    for (int64_t j = 0, n; j < columns; j += n) {
        n = past ? MIN((int64_t)STREAM_BLOCK, columns - j) : columns;
        softmax_grad_block(past ? block : dx, dy + j, y + j, along, n);
        if (past) stream_block(dx + j, block, n);
        if (past) stream_next(dy + columns + j, n);
    }
}

static void log_softmax_grad_row(float *dx, const float *dy, const float *y, int64_t columns, bool past)
{
    (void)past;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < columns; j++) sum += dy[j];
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) dx[j] = dy[j] - v_exp(y[j]) * sum;
}

#define ROWS(name)                                                                                                     \
    static void name##_rows(const step *s, int64_t first, int64_t last, int worker)                                    \
    {                                                                                                                  \
        int64_t columns = tensor_last(&s->in[0]);                                                                      \
        float *room = (float *)s->scratch + worker * 3 * columns;                                                      \
        bool past = stream_past(&s->out[0]);                                                                           \
        for (int64_t i = first; i < last; i++) {                                                                       \
            const float *x = row_read(&s->in[0], i * columns, columns, room);                                          \
            float *y = row_place(&s->out[0], i * columns, room + 2 * columns);                                         \
            name##_row(y, x ROWS_SECOND, columns, past);                                                               \
            row_write(&s->out[0], i *columns, columns, y);                                                             \
        }                                                                                                              \
        if (past) stream_end();                                                                                        \
    }                                                                                                                  \
    static status name##_launch(const step *s, queue *q)                                                               \
    {                                                                                                                  \
        return cpu_for(s, q, tensor_rows(&s->in[0], 1), 1 + CPU_GRAIN / 4 / tensor_last(&s->in[0]), name##_rows);      \
    }
#define ROWS_SECOND
ROWS(softmax)
ROWS(log_softmax)
#undef ROWS_SECOND
#define ROWS_SECOND , row_read(&s->in[1], i *columns, columns, room + columns)
ROWS(softmax_grad)
ROWS(log_softmax_grad)

static int64_t scratch(const node *n, const device_caps *caps)
{
    return row_rooms(n, caps, 3);
}

#define KERNEL(name_)                                                                                                  \
    {                                                                                                                  \
        .op = &op_##name_##_def, .name = #name_ ".simd", .level = LEVEL_SIMD, .traits = KERNEL_ROW_INVARIANT,          \
        .match = cpu_match_narrow, .scratch = scratch, .launch = name_##_launch, .error = ERROR_SUM                    \
    }
const kernel_def ISA_NAME(softmax_cpu)[] = {
    KERNEL(softmax), KERNEL(softmax_grad), KERNEL(log_softmax), KERNEL(log_softmax_grad), {0},
};
