/* The same rows with sums in vector lanes; one pass for the sum, one to scale. */
#include <math.h>

#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "kit/cpu/stream.h"
#include "kit/cpu/sums.h"
#include "ops/rms_norm/rms_norm.h"

/* y may lie over x. */
static void scale_row(float *y, const float *x, const float *restrict w, float scale, int64_t columns)
{
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) y[j] = x[j] * scale * w[j];
}

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    int64_t columns = tensor_last(&s->in[0]);
    float *room = (float *)s->scratch + worker * 2 * columns;
    const float *w = f32(&s->in[1]);
    float *rstd = f32(&s->out[RMS_NORM_RSTD]), block[STREAM_BLOCK];
    bool past = stream_past(&s->out[RMS_NORM_Y]);
    for (int64_t i = first; i < last; i++) {
        const float *x = row_read(&s->in[0], tensor_row(&s->in[0], i), columns, room);
        float *y = row_place(&s->out[RMS_NORM_Y], i * columns, room + columns);
        float scale = 1 / sqrtf(sum_deviations(x, 0, columns).second / (float)columns +
                                (float)ATTRS_OF(rms_norm_attrs, s->node)->eps);
        if (rstd) rstd[i] = scale;
        if (!past) {
            scale_row(y, x, w, scale, columns);
            row_write(&s->out[RMS_NORM_Y], i * columns, columns, y);
            continue;
        }
        const float *next = i + 1 < last ? f32(&s->in[0]) + tensor_row(&s->in[0], i + 1) : x;
        for (int64_t j = 0; j < columns; j += STREAM_BLOCK) {
            int64_t n = MIN((int64_t)STREAM_BLOCK, columns - j);
            stream_next(next + j, n);
            scale_row(block, x + j, w + j, scale, n);
            stream_block(y + j, block, n);
        }
    }
    if (past) stream_end();
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    return row_rooms(n, caps, 2);
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, tensor_rows(&s->in[0], 1), 1 + CPU_GRAIN / tensor_last(&s->in[0]), rows);
}

/* dx may lie over dy: each element is read before it is written. */
static void both(float *dx, float *restrict dw, const float *dy, const float *restrict x, const float *restrict w,
                 float rstd, float along, int64_t columns)
{
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) {
        float d = dy[j];
        dw[j] += d * (x[j] * rstd);
        dx[j] = rstd * (d * w[j]) - x[j] * along;
    }
}

static void only_dx(float *dx, const float *dy, const float *restrict x, const float *restrict w, float rstd,
                    float along, int64_t columns)
{
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) dx[j] = rstd * (dy[j] * w[j]) - x[j] * along;
}

static void add_row(float *dx, const float *restrict residual, int64_t columns)
{
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) dx[j] += residual[j];
}

static void grad_chunks(const step *s, int64_t first, int64_t last, int worker)
{
    int64_t columns = tensor_last(&s->in[1]), count = tensor_rows(&s->in[1], 1);
    const float *w = f32(&s->in[2]);
    float block[STREAM_BLOCK];
    bool past = stream_past(&s->out[RMS_NORM_GRAD_DX]);
    float *room = (float *)s->scratch + ((s->out[RMS_NORM_GRAD_DW].data ? CPU_ROW_CHUNKS : 0) + worker * 4) * columns;
    for (int64_t chunk = first; chunk < last; chunk++) {
        float *dw = s->out[RMS_NORM_GRAD_DW].data ? (float *)s->scratch + chunk * columns : NULL;
        if (dw) memset(dw, 0, sizeof *dw * (size_t)columns);
        for (int64_t i = cpu_chunk_first(count, chunk); i < cpu_chunk_first(count, chunk + 1); i++) {
            const float *dy = row_read(&s->in[0], i * columns, columns, room);
            const float *x = row_read(&s->in[1], tensor_row(&s->in[1], i), columns, room + columns);
            float *dx = row_place(&s->out[RMS_NORM_GRAD_DX], i * columns, room + 2 * columns);
            const float *residual =
                s->inputs > 4 && s->in[4].data ? row_read(&s->in[4], i * columns, columns, room + 3 * columns) : NULL;
            float rstd = f32(&s->in[3])[i], along = 0;
#pragma omp simd reduction(+ : along)
            for (int64_t j = 0; j < columns; j++) along += dy[j] * w[j] * x[j];
            along *= rstd * rstd * rstd / (float)columns;
            for (int64_t j = 0, n; j < columns; j += n) {
                n = past ? MIN((int64_t)STREAM_BLOCK, columns - j) : columns;
                float *to = past ? block : dx;
                if (dw)
                    both(to, dw + j, dy + j, x + j, w + j, rstd, along, n);
                else
                    only_dx(to, dy + j, x + j, w + j, rstd, along, n);
                if (residual) add_row(past ? block : dx, residual + j, n);
                if (past) stream_block(dx + j, block, n);
                if (past) stream_next(dy + columns + j, n);
            }
            row_write(&s->out[RMS_NORM_GRAD_DX], i * columns, columns, dx);
        }
    }
    if (past) stream_end();
}

static int64_t grad_scratch(const node *n, const device_caps *caps)
{
    return (n->out[RMS_NORM_GRAD_DW] ? CPU_ROW_CHUNKS * value_bytes(n->in[2]) : 0) + row_rooms(n, caps, 4);
}

static status grad_launch(const step *s, queue *q)
{
    TRY(cpu_for(s, q, CPU_ROW_CHUNKS, 1, grad_chunks));
    float *dw = f32(&s->out[RMS_NORM_GRAD_DW]);
    if (dw) cpu_sum_chunks(q, dw, s->scratch, tensor_last(&s->in[1]));
    return INGOT_OK;
}

#define FORWARD                                                                                                        \
    .op = &op_rms_norm_def, .match = cpu_match_narrow, .scratch = scratch, .wants = {STORAGE_LAST_CONTIGUOUS},         \
    .traits = KERNEL_ROW_INVARIANT, .launch = launch, .error = ERROR_SUM
#define BACKWARD                                                                                                       \
    .op = &op_rms_norm_grad_def, .match = cpu_match_narrow, .wants = {[1] = STORAGE_LAST_CONTIGUOUS},                  \
    .scratch = grad_scratch, .launch = grad_launch, .error = ERROR_SUM
const kernel_def ISA_NAME(rms_norm_cpu)[] = {
    {.name = "rms_norm.simd", .level = LEVEL_SIMD, FORWARD},
    {.name = "rms_norm_grad.simd", .level = LEVEL_SIMD, BACKWARD},
    {0},
};
