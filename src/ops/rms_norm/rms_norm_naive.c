/* Row by row, as one would write it first. */
#include <math.h>

#include "kit/cpu/cpu.h"
#include "ops/rms_norm/rms_norm.h"

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t columns = tensor_last(&s->in[0]);
    const float *w = f32(&s->in[1]);
    float *rstd = f32(&s->out[RMS_NORM_RSTD]);
    for (int64_t i = first; i < last; i++) {
        const float *x = f32(&s->in[0]) + tensor_row(&s->in[0], i);
        float *y = f32(&s->out[RMS_NORM_Y]) + i * columns;
        float sum = 0;
        for (int64_t j = 0; j < columns; j++) sum += x[j] * x[j];
        float scale = 1 / sqrtf(sum / (float)columns + (float)ATTRS_OF(rms_norm_attrs, s->node)->eps);
        for (int64_t j = 0; j < columns; j++) y[j] = x[j] * scale * w[j];
        if (rstd) rstd[i] = scale;
    }
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, tensor_rows(&s->in[0], 1), 1 + CPU_GRAIN / tensor_last(&s->in[0]), rows);
}

static void grad_chunks(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t columns = tensor_last(&s->in[1]), count = tensor_rows(&s->in[1], 1);
    const float *w = f32(&s->in[2]);
    for (int64_t chunk = first; chunk < last; chunk++) {
        float *dw = s->out[RMS_NORM_GRAD_DW].data ? (float *)s->scratch + chunk * columns : NULL;
        if (dw) memset(dw, 0, sizeof *dw * (size_t)columns);
        for (int64_t i = cpu_chunk_first(count, chunk); i < cpu_chunk_first(count, chunk + 1); i++) {
            const float *dy = f32(&s->in[0]) + i * columns, *x = f32(&s->in[1]) + tensor_row(&s->in[1], i);
            float *dx = f32(&s->out[RMS_NORM_GRAD_DX]) + i * columns;
            const float *residual = s->inputs > 4 ? f32(&s->in[4]) + i * columns : NULL;
            float rstd = f32(&s->in[3])[i], along = 0;
            for (int64_t j = 0; j < columns; j++) along += dy[j] * w[j] * x[j] * rstd;
            along /= (float)columns;
            for (int64_t j = 0; dw && j < columns; j++) dw[j] += dy[j] * x[j] * rstd; /* first: dx may lie over dy */
            for (int64_t j = 0; j < columns; j++) dx[j] = rstd * (dy[j] * w[j] - x[j] * rstd * along);
            for (int64_t j = 0; residual && j < columns; j++) dx[j] += residual[j];
        }
    }
}

static int64_t grad_scratch(const node *n, const device_caps *caps)
{
    (void)caps;
    return n->out[RMS_NORM_GRAD_DW] ? CPU_ROW_CHUNKS * value_bytes(n->in[2]) : 0;
}

static status grad_launch(const step *s, queue *q)
{
    TRY(cpu_for(s, q, CPU_ROW_CHUNKS, 1, grad_chunks));
    float *dw = f32(&s->out[RMS_NORM_GRAD_DW]);
    if (dw) cpu_sum_chunks(q, dw, s->scratch, tensor_last(&s->in[1]));
    return INGOT_OK;
}

#define FORWARD                                                                                                        \
    .op = &op_rms_norm_def, .wants = {STORAGE_LAST_CONTIGUOUS}, .traits = KERNEL_ROW_INVARIANT, .launch = launch,      \
    .error = ERROR_SUM
#define BACKWARD                                                                                                       \
    .op = &op_rms_norm_grad_def, .wants = {[1] = STORAGE_LAST_CONTIGUOUS}, .scratch = grad_scratch,                    \
    .launch = grad_launch, .error = ERROR_SUM
const kernel_def rms_norm_naive[] = {
    {.name = "rms_norm.parallel", .level = LEVEL_PARALLEL, FORWARD},
    {.name = "rms_norm.naive", .level = LEVEL_NAIVE, FORWARD},
    {.name = "rms_norm_grad.parallel", .level = LEVEL_PARALLEL, BACKWARD},
    {.name = "rms_norm_grad.naive", .level = LEVEL_NAIVE, BACKWARD},
    {0},
};
