// Sums and maxima on CUDA: a block for each result, in a fixed tree; columns of many rows by threads side by side.
#include "kit/cuda/cuda.h"
#include "ops/reduce/reduce.h"

template <bool SUM> __device__ float join(float a, float b)
{
    if (SUM) return a + b;
    return a > b || a != a ? a : b; // NaN stays
}

template <bool SUM> __device__ float block_join(float v)
{
    __shared__ float warps[32];
    for (int offset = 16; offset; offset /= 2) v = join<SUM>(v, __shfl_xor_sync(0xffffffffu, v, offset));
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x < blockDim.x / 32 ? warps[threadIdx.x] : SUM ? 0.0f : -INFINITY;
    if (threadIdx.x < 32)
        for (int offset = 16; offset; offset /= 2) v = join<SUM>(v, __shfl_xor_sync(0xffffffffu, v, offset));
    __syncthreads();
    return v;
}

// x (rows, n) -> y (rows)
template <bool SUM> __global__ void reduce_rows(float *y, const float *x, int64_t rows, int64_t n)
{
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        float v = SUM ? 0.0f : -INFINITY;
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x) v = join<SUM>(v, x[row * n + i]);
        v = block_join<SUM>(v);
        if (threadIdx.x == 0) y[row] = v;
    }
}

// x (outer, n, inner) -> y (outer, inner); 32 columns a block, 8 threads share a column's rows.
template <bool SUM> __global__ void reduce_columns(float *y, const float *x, int64_t n, int64_t inner)
{
    __shared__ float part[8][32];
    int64_t column = blockIdx.x * 32 + threadIdx.x;
    const float *from = x + blockIdx.y * n * inner + column;
    float v = SUM ? 0.0f : -INFINITY;
    if (column < inner)
        for (int64_t k = threadIdx.y; k < n; k += 8) v = join<SUM>(v, from[k * inner]);
    part[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    if (threadIdx.y || column >= inner) return;
    for (int k = 1; k < 8; k++) v = join<SUM>(v, part[k][threadIdx.x]);
    y[blockIdx.y * inner + column] = v;
}

// A long sum in two rounds: fixed blocks, then their sums.
enum { PARTS = 1024 };

__global__ void sum_parts(float *parts, const float *x, int64_t n)
{
    float v = 0;
    int64_t each = (n + gridDim.x - 1) / gridDim.x, first = blockIdx.x * each,
            last = first + each < n ? first + each : n;
    for (int64_t i = first + threadIdx.x; i < last; i += blockDim.x) v += x[i];
    v = block_join<true>(v);
    if (threadIdx.x == 0) parts[blockIdx.x] = v;
}

static int64_t scratch(const node *n, const device_caps *)
{
    return shape_count(n->out[0]->shape) == 1 ? PARTS * (int64_t)sizeof(float) : 0;
}

template <bool SUM> static void reduce(const step *s, queue *q)
{
    const reduce_attrs *a = ATTRS_OF(reduce_attrs, s->node);
    const tensor *x = &s->in[0];
    int64_t n = x->shape.dim[a->axis], inner = 1, outer = 1;
    for (int64_t i = a->axis + 1; i < x->shape.rank; i++) inner *= x->shape.dim[i];
    for (int64_t i = 0; i < a->axis; i++) outer *= x->shape.dim[i];
    float *y = (float *)s->out[0].data;
    const float *from = (const float *)x->data;
    if (inner > 1) {
        dim3 grid((unsigned)((inner + 31) / 32), (unsigned)outer);
        reduce_columns<SUM><<<grid, dim3(32, 8), 0, q->stream>>>(y, from, n, inner);
    } else if (SUM && outer == 1 && n > 16384) {
        sum_parts<<<PARTS, CUDA_THREADS, 0, q->stream>>>((float *)s->scratch, from, n);
        reduce_rows<true><<<1, CUDA_THREADS, 0, q->stream>>>(y, (const float *)s->scratch, 1, PARTS);
    } else {
        unsigned threads = n < 64 ? 32 : n < 256 ? 64 : 256, blocks = (unsigned)(outer < 65535 ? outer : 65535);
        reduce_rows<SUM><<<blocks, threads, 0, q->stream>>>(y, from, outer, n);
    }
}

static status launch(const step *s, queue *q)
{
    if (ATTRS_OF(reduce_attrs, s->node)->kind == REDUCE_SUM)
        reduce<true>(s, q);
    else
        reduce<false>(s, q);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
{
    const reduce_attrs *a = ATTRS_OF(reduce_attrs, n);
    int64_t outer = 1;
    for (int64_t i = 0; i < a->axis; i++) outer *= n->in[0]->shape.dim[i];
    bool columns = a->axis + 1 < n->in[0]->shape.rank;
    return match_f32(n, caps) && n->in[0]->dtype == INGOT_F32 && (!columns || outer <= 65535);
}

extern "C" const kernel_def reduce_cuda[] = {
    {.op = &op_reduce_def,
     .name = "reduce.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match,
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
