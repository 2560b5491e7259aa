/* Row by row, as one would write it first. */
#include <math.h>

#include "kit/cpu/cpu.h"
#include "ops/layer_norm/layer_norm.h"

static float row_mean(const float *x, int64_t columns)
{
    float sum = 0;
    for (int64_t j = 0; j < columns; j++) sum += x[j];
    return sum / (float)columns;
}

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t columns = tensor_last(&s->in[0]);
    const float *w = f32(&s->in[1]), *bias = s->inputs > 2 ? f32(&s->in[2]) : NULL;
    float *rstds = f32(&s->out[LAYER_NORM_RSTD]);
    for (int64_t i = first; i < last; i++) {
        const float *x = f32(&s->in[0]) + tensor_row(&s->in[0], i);
        float *y = f32(&s->out[LAYER_NORM_Y]) + i * columns;
        float mean = row_mean(x, columns), rest = 0, squares = 0;
        /* What rounding left of the mean: more than the deviations, where a row has a large offset. */
        for (int64_t j = 0; j < columns; j++) rest += x[j] - mean;
        rest /= (float)columns;
        for (int64_t j = 0; j < columns; j++) squares += (x[j] - mean - rest) * (x[j] - mean - rest);
        float rstd = 1 / sqrtf(squares / (float)columns + (float)ATTRS_OF(layer_norm_attrs, s->node)->eps);
        for (int64_t j = 0; j < columns; j++) y[j] = (x[j] - mean - rest) * rstd * w[j] + (bias ? bias[j] : 0);
        if (rstds) rstds[i] = rstd;
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
    float *all_dw = s->scratch, *all_db = all_dw + CPU_ROW_CHUNKS * columns;
    memset(all_dw + first * columns, 0, sizeof(float) * (size_t)((last - first) * columns));
    memset(all_db + first * columns, 0, sizeof(float) * (size_t)((last - first) * columns));
    for (int64_t chunk = first; chunk < last; chunk++) {
        float *dw = all_dw + chunk * columns, *db = all_db + chunk * columns;
        for (int64_t i = cpu_chunk_first(count, chunk); i < cpu_chunk_first(count, chunk + 1); i++) {
            const float *dy = f32(&s->in[0]) + i * columns, *x = f32(&s->in[1]) + tensor_row(&s->in[1], i);
            float *dx = f32(&s->out[LAYER_NORM_GRAD_DX]) + i * columns;
            const float *residual = s->inputs > 4 ? f32(&s->in[4]) + i * columns : NULL;
            float rstd = f32(&s->in[3])[i], mean = row_mean(x, columns), rest = 0, level = 0, along = 0;
            for (int64_t j = 0; j < columns; j++) rest += x[j] - mean; /* of the mean, as in the forward pass */
            rest /= (float)columns;
            for (int64_t j = 0; j < columns; j++) {
                level += dy[j] * w[j];
                along += dy[j] * w[j] * ((x[j] - mean - rest) * rstd);
            }
            level /= (float)columns;
            along /= (float)columns;
            for (int64_t j = 0; j < columns; j++) {
                float d = dy[j], unit = (x[j] - mean - rest) * rstd; /* dx may lie over dy */
                dw[j] += d * unit;
                db[j] += d;
                dx[j] = rstd * (d * w[j] - level - unit * along) + (residual ? residual[j] : 0);
            }
        }
    }
}

static int64_t grad_scratch(const node *n, const device_caps *caps)
{
    (void)caps;
    return 2 * CPU_ROW_CHUNKS * value_bytes(n->in[2]);
}

static status grad_launch(const step *s, queue *q)
{
    int64_t columns = tensor_last(&s->in[1]);
    float *dw = f32(&s->out[LAYER_NORM_GRAD_DW]), *db = f32(&s->out[LAYER_NORM_GRAD_DBIAS]);
    TRY(cpu_for(s, q, CPU_ROW_CHUNKS, 1, grad_chunks));
    if (dw) cpu_sum_chunks(q, dw, s->scratch, columns);
    if (db) cpu_sum_chunks(q, db, (float *)s->scratch + CPU_ROW_CHUNKS * columns, columns);
    return INGOT_OK;
}

static bool match_grad(const node *n, const device_caps *caps)
{
    return !n->out[LAYER_NORM_GRAD_SUMS] && match_f32(n, caps);
}

#define FORWARD                                                                                                        \
    .op = &op_layer_norm_def, .wants = {STORAGE_LAST_CONTIGUOUS}, .traits = KERNEL_ROW_INVARIANT, .launch = launch,    \
    .error = ERROR_SUM
#define BACKWARD                                                                                                       \
    .op = &op_layer_norm_grad_def, .match = match_grad, .wants = {[1] = STORAGE_LAST_CONTIGUOUS},                      \
    .scratch = grad_scratch, .launch = grad_launch, .error = ERROR_SUM
const kernel_def layer_norm_naive[] = {
    {.name = "layer_norm.parallel", .level = LEVEL_PARALLEL, FORWARD},
    {.name = "layer_norm.naive", .level = LEVEL_NAIVE, FORWARD},
    {.name = "layer_norm_grad.parallel", .level = LEVEL_PARALLEL, BACKWARD},
    {.name = "layer_norm_grad.naive", .level = LEVEL_NAIVE, BACKWARD},
    {0},
};
