// Dropout on CUDA: numbers are drawn where they are used, four elements a thread.
#include "kit/cuda/philox.cuh"
#include "kit/cuda/values.cuh"
#include "ops/dropout/dropout.h"

template <typename T>
__global__ void drop(T *y, const T *x, const int32_t *rng, uint32_t stream, float p, float scale, int64_t n)
{
    for (CUDA_EACH(i, (n + 3) / 4)) {
        uint4 bits = philox_block(rng, stream, (uint64_t)i);
        const uint32_t word[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            int64_t at = i * 4 + k;
            if (at < n) y[at] = to<T>(philox_float(word[k]) < p ? 0 : to_float(x[at]) * scale);
        }
    }
}

static status launch(const step *s, queue *q)
{
    const dropout_attrs *a = ATTRS_OF(dropout_attrs, s->node);
    int64_t n = shape_count(s->out[0].shape);
    by_dtype(s->in[0].dtype, [&](auto t) {
        using T = decltype(t);
        drop<T><<<cuda_blocks((n + 3) / 4), CUDA_THREADS, 0, q->stream>>>(
            (T *)s->out[0].data, (const T *)s->in[0].data, (const int32_t *)s->in[1].data, (uint32_t)a->stream,
            (float)a->p, (float)(1 / (1 - a->p)), n);
    });
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *)
{
    return cuda_float(n->in[0]->dtype) && n->out[0]->dtype == n->in[0]->dtype;
}

extern "C" const kernel_def dropout_cuda[] = {
    {.op = &op_dropout_def,
     .name = "dropout.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match,
     .launch = launch,
     .error = ERROR_POINTWISE},
    {},
};
