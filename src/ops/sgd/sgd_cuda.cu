// Gradient descent on CUDA: one launch for a flat group.
#include "kit/cuda/values.cuh"
#include "ops/sgd/sgd.h"

struct sgd_tensors {
    const float *w, *g, *lr, *scale, *apply, *buffer;
    float *new_w, *new_buffer;
};

__global__ void sgd_update(sgd_tensors t, float momentum, float weight_decay, bool nesterov, int64_t n)
{
    float lr = *t.lr, scale = *t.scale;
    bool apply = *t.apply != 0;
    for (CUDA_EACH(i, n)) {
        float w = t.w[i], buffer = t.buffer ? t.buffer[i] : 0;
        if (apply) {
            float g = t.g[i] * scale + w * weight_decay, move = g;
            if (t.buffer) {
                buffer = buffer * momentum + g;
                move = nesterov ? g + buffer * momentum : buffer;
            }
            w -= lr * move;
        }
        t.new_w[i] = w;
        if (t.new_buffer) t.new_buffer[i] = buffer;
    }
}

static status launch(const step *s, queue *q)
{
    const sgd_attrs *a = ATTRS_OF(sgd_attrs, s->node);
    const float *in[6] = {};
    for (int i = 0; i < s->inputs; i++) in[i] = (const float *)s->in[i].data;
    sgd_tensors t = {in[0],
                     in[1],
                     in[2],
                     in[3],
                     in[4],
                     a->momentum != 0 ? in[5] : nullptr,
                     (float *)s->out[0].data,
                     (float *)s->out[1].data};
    int64_t n = shape_count(s->out[0].shape);
    sgd_update<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>(t, (float)a->momentum, (float)a->weight_decay,
                                                               a->nesterov != 0, n);
    return INGOT_OK;
}

extern "C" const kernel_def sgd_cuda[] = {
    {.op = &op_sgd_def, .name = "sgd.cuda", .level = LEVEL_BEST, .launch = launch, .error = ERROR_POINTWISE},
    {},
};
