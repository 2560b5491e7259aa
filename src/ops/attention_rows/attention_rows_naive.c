/* Row by row and head by head; the softmax is kept running (Milakov & Gimelshein 2018), so that no row of scores is kept. */
#include <math.h>

#include "kit/cpu/cpu.h"
#include "ops/attention_rows/attention_rows.h"

static void one_head(const step *s, const paged_shape *p, int64_t row, int64_t head)
{
    const float *q = f32(&s->in[ROWS_Q]) + tensor_row(&s->in[ROWS_Q], row * p->heads + head);
    const tensor *kt = &s->in[ROWS_K_POOL], *vt = &s->in[ROWS_V_POOL];
    float *o = f32(&s->out[0]) + (row * p->heads + head) * p->dim, max = -INFINITY, sum = 0;
    memset(o, 0, sizeof *o * (size_t)p->dim);
    for (int64_t j = 0; j < paged_keys(p, row); j++) {
        int64_t slot = paged_slot(p, p->sequence[row], j), kv = head / p->group;
        const float *k = f32(kt) + MAX(slot, 0) * kt->stride[0] + kv * kt->stride[1];
        const float *v = f32(vt) + MAX(slot, 0) * vt->stride[0] + kv * vt->stride[1];
        float score = 0;
        for (int64_t d = 0; slot >= 0 && d < p->dim; d++) score += q[d] * k[d];
        score *= p->scale;
        if (score > max) {
            float fade = expf(max - score);
            for (int64_t d = 0; d < p->dim; d++) o[d] *= fade;
            sum *= fade;
            max = score;
        }
        float e = expf(score - max);
        for (int64_t d = 0; slot >= 0 && d < p->dim; d++) o[d] += e * v[d];
        sum += e;
    }
    for (int64_t d = 0; sum != 0 && d < p->dim; d++) o[d] /= sum;
}

static void heads(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    paged_shape p = paged_shape_of(s);
    for (int64_t i = first; i < last; i++) one_head(s, &p, i / p.heads, i % p.heads);
}

static status launch(const step *s, queue *q)
{
    paged_shape p = paged_shape_of(s);
    return cpu_for(s, q, p.rows * p.heads, 1, heads);
}

#define STRIDED STORAGE_LAST_CONTIGUOUS
#define KERNEL                                                                                                         \
    .op = &op_attention_rows_def, .wants = {STRIDED, STRIDED, STRIDED}, .traits = KERNEL_ROW_INVARIANT,                \
    .launch = launch, .error = ERROR_SUM
const kernel_def attention_rows_naive[] = {
    {.name = "attention_rows.parallel", .level = LEVEL_PARALLEL, KERNEL},
    {.name = "attention_rows.naive", .level = LEVEL_NAIVE, KERNEL},
    {0},
};
