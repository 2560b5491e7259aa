// The place of the largest element of each row on CUDA, the first of equals.
#include "kit/cuda/values.cuh"
#include "ops/table.h"

__device__ void keep_larger(float &v, int32_t &at, float w, int32_t other)
{
    if (w > v || (w == v && other < at)) v = w, at = other;
}

template <typename T> __global__ void argmax_rows(int32_t *y, const T *x, int64_t rows, int64_t n)
{
    __shared__ float values[32];
    __shared__ int32_t places[32];
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        float v = -INFINITY;
        int32_t at = 0x7fffffff;
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x) keep_larger(v, at, to_float(x[row * n + i]), (int32_t)i);
        for (int offset = 16; offset; offset /= 2)
            keep_larger(v, at, __shfl_xor_sync(0xffffffffu, v, offset), __shfl_xor_sync(0xffffffffu, at, offset));
        if (threadIdx.x % 32 == 0) values[threadIdx.x / 32] = v, places[threadIdx.x / 32] = at;
        __syncthreads();
        if (threadIdx.x == 0) {
            for (unsigned w = 1; w < blockDim.x / 32; w++) keep_larger(v, at, values[w], places[w]);
            y[row] = at == 0x7fffffff ? 0 : at;
        }
        __syncthreads();
    }
}

static status launch(const step *s, queue *q)
{
    const tensor *x = &s->in[0];
    int64_t n = x->shape.dim[x->shape.rank - 1], rows = shape_count(x->shape) / n;
    by_dtype(x->dtype, [&](auto t) {
        using T = decltype(t);
        argmax_rows<<<(unsigned)(rows < 65535 ? rows : 65535), CUDA_THREADS, 0, q->stream>>>(
            (int32_t *)s->out[0].data, (const T *)x->data, rows, n);
    });
    return INGOT_OK;
}

extern "C" const kernel_def argmax_cuda[] = {
    {.op = &op_argmax_def,
     .name = "argmax.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = cuda_match_first,
     .launch = launch},
    {},
};
