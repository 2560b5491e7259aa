/* The same rows with sums in vector lanes. */
#include <math.h>

#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "kit/cpu/stream.h"
#include "kit/cpu/sums.h"
#include "ops/layer_norm/layer_norm.h"

typedef struct row_numbers {
    float mean, rest, rstd;
} row_numbers;

/* y may lie over x. */
static void scale_row(float *y, const float *x, const float *restrict w, const float *restrict bias, row_numbers r,
                      int64_t columns)
{
    if (bias) {
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) y[j] = (x[j] - r.mean - r.rest) * r.rstd * w[j] + bias[j];
    } else {
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) y[j] = (x[j] - r.mean - r.rest) * r.rstd * w[j];
    }
}

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    int64_t columns = tensor_last(&s->in[0]);
    float *room = (float *)s->scratch + worker * 2 * columns;
    const float *w = f32(&s->in[1]), *bias = s->inputs > 2 ? f32(&s->in[2]) : NULL;
    float *rstds = f32(&s->out[LAYER_NORM_RSTD]), block[STREAM_BLOCK];
    bool past = stream_past(&s->out[LAYER_NORM_Y]);
    for (int64_t i = first; i < last; i++) {
        const float *x = row_read(&s->in[0], tensor_row(&s->in[0], i), columns, room);
        float *y = row_place(&s->out[LAYER_NORM_Y], i * columns, room + columns);
        float mean = sum_row(x, columns) / (float)columns;
        sum_moments m = sum_deviations(x, mean, columns);
        /* What rounding left of the mean: more than the deviations, where a row has a large offset. */
        float rest = m.first / (float)columns, squares = m.second - rest * rest * (float)columns;
        float rstd = 1 / sqrtf(MAX(squares, 0) / (float)columns + (float)ATTRS_OF(layer_norm_attrs, s->node)->eps);
        row_numbers r = {mean, rest, rstd};
        if (rstds) rstds[i] = rstd;
        if (!past) {
            scale_row(y, x, w, bias, r, columns);
            row_write(&s->out[LAYER_NORM_Y], i * columns, columns, y);
            continue;
        }
        const float *next = i + 1 < last ? f32(&s->in[0]) + tensor_row(&s->in[0], i + 1) : x;
        for (int64_t j = 0; j < columns; j += STREAM_BLOCK) {
            int64_t n = MIN((int64_t)STREAM_BLOCK, columns - j);
            stream_next(next + j, n);
            scale_row(block, x + j, w + j, bias ? bias + j : NULL, r, n);
            stream_block(y + j, block, n);
        }
    }
    if (past) stream_end();
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, tensor_rows(&s->in[0], 1), 1 + CPU_GRAIN / tensor_last(&s->in[0]), rows);
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    return row_rooms(n, caps, 2);
}

typedef struct grad_numbers {
    row_numbers row;
    float level, along;
} grad_numbers;

/* dx may lie over dy: each element is read before it is written. */
static void grad_row(float *dx, float *restrict dw, float *restrict db, const float *dy, const float *restrict x,
                     const float *restrict w, grad_numbers g, int64_t columns)
{
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) {
        float d = dy[j], unit = (x[j] - g.row.mean - g.row.rest) * g.row.rstd;
        dw[j] += d * unit;
        db[j] += d;
        dx[j] = g.row.rstd * (d * w[j] - g.level - unit * g.along);
    }
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
    bool past = stream_past(&s->out[LAYER_NORM_GRAD_DX]);
    float *all_dw = s->scratch, *all_db = all_dw + CPU_ROW_CHUNKS * columns;
    float *room = all_db + (CPU_ROW_CHUNKS + worker * 4) * columns;
    memset(all_dw + first * columns, 0, sizeof(float) * (size_t)((last - first) * columns));
    memset(all_db + first * columns, 0, sizeof(float) * (size_t)((last - first) * columns));
    for (int64_t chunk = first; chunk < last; chunk++) {
        float *dw = all_dw + chunk * columns, *db = all_db + chunk * columns;
        for (int64_t i = cpu_chunk_first(count, chunk); i < cpu_chunk_first(count, chunk + 1); i++) {
            const float *dy = row_read(&s->in[0], i * columns, columns, room);
            const float *x = row_read(&s->in[1], tensor_row(&s->in[1], i), columns, room + columns);
            float *dx = row_place(&s->out[LAYER_NORM_GRAD_DX], i * columns, room + 2 * columns);
            const float *residual =
                s->inputs > 4 && s->in[4].data ? row_read(&s->in[4], i * columns, columns, room + 3 * columns) : NULL;
            float rstd = f32(&s->in[3])[i], mean = sum_row(x, columns) / (float)columns, rest = 0, level = 0, along = 0;
#pragma omp simd reduction(+ : level, along, rest)
            for (int64_t j = 0; j < columns; j++) {
                level += dy[j] * w[j];
                along += dy[j] * w[j] * (x[j] - mean);
                rest += x[j] - mean; /* of the mean, as in the forward pass */
            }
            level /= (float)columns;
            rest /= (float)columns;
            along = (along / (float)columns - level * rest) * rstd;
            grad_numbers g = {{mean, rest, rstd}, level, along};
            for (int64_t j = 0, n; j < columns; j += n) {
                n = past ? MIN((int64_t)STREAM_BLOCK, columns - j) : columns;
                grad_row(past ? block : dx, dw + j, db + j, dy + j, x + j, w + j, g, n);
                if (residual) add_row(past ? block : dx, residual + j, n);
                if (past) stream_block(dx + j, block, n);
                if (past) stream_next(dy + columns + j, n);
            }
            row_write(&s->out[LAYER_NORM_GRAD_DX], i * columns, columns, dx);
        }
    }
    if (past) stream_end();
}

static int64_t grad_scratch(const node *n, const device_caps *caps)
{
    return 2 * CPU_ROW_CHUNKS * value_bytes(n->in[2]) + row_rooms(n, caps, 4);
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
    return !n->out[LAYER_NORM_GRAD_SUMS] && cpu_match_narrow(n, caps);
}

#define FORWARD                                                                                                        \
    .op = &op_layer_norm_def, .match = cpu_match_narrow, .scratch = scratch, .wants = {STORAGE_LAST_CONTIGUOUS},       \
    .traits = KERNEL_ROW_INVARIANT, .launch = launch, .error = ERROR_SUM
#define BACKWARD                                                                                                       \
    .op = &op_layer_norm_grad_def, .match = match_grad, .wants = {[1] = STORAGE_LAST_CONTIGUOUS},                      \
    .scratch = grad_scratch, .launch = grad_launch, .error = ERROR_SUM
const kernel_def ISA_NAME(layer_norm_cpu)[] = {
    {.name = "layer_norm.simd", .level = LEVEL_SIMD, FORWARD},
    {.name = "layer_norm_grad.simd", .level = LEVEL_SIMD, BACKWARD},
    {0},
};
