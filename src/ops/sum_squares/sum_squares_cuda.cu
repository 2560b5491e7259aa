// The sum of squares on CUDA: blocks of a fixed share of the elements, then one block over their sums; in float64, so that
// the order matters to no digit that is kept.
#include "kit/cuda/values.cuh"
#include "ops/table.h"

enum { BLOCKS = 528, THREADS = 512 };

__device__ __forceinline__ double block_sum(double v)
{
    __shared__ double part[THREADS / 32];
    for (int offset = 16; offset; offset /= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0;
    for (int i = 0; i < THREADS / 32; i++) v += part[i];
    return v;
}

// N elements at once; y: where one block does it all.
template <int N, typename T>
__global__ void __launch_bounds__(THREADS) square_parts(double *parts, T *y, const T *x, int64_t n)
{
    wait_for_inputs();
    double sum = 0;
    int64_t packs = n / N;
    for (CUDA_EACH(i, packs)) {
        pack<T, N> v = load_pack<N>(x + i * N);
#pragma unroll
        for (int k = 0; k < N; k++) sum += (double)to_float(v.at[k]) * (double)to_float(v.at[k]);
    }
    int64_t rest = packs * N + threadIdx.x;
    if (blockIdx.x == 0 && rest < n) sum += (double)to_float(x[rest]) * (double)to_float(x[rest]);
    sum = block_sum(sum);
    if (threadIdx.x) return;
    if (y)
        *y = to<T>((float)sum);
    else
        parts[blockIdx.x] = sum;
}

template <typename T> __global__ void __launch_bounds__(THREADS) add_parts(T *y, const double *parts, int blocks)
{
    wait_for_inputs();
    double sum = 0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *y = to<T>((float)sum);
}

static int64_t scratch(const node *, const device_caps *)
{
    return BLOCKS * (int64_t)sizeof(double);
}

static status launch(const step *s, queue *q)
{
    int64_t n = shape_count(s->in[0].shape);
    by_dtype(s->in[0].dtype, [&](auto t) {
        using T = decltype(t);
        bool packs = s->in[0].byte_offset % 16 == 0;
        int64_t wanted = (n / (packs ? WIDE<T> : 1) + THREADS - 1) / THREADS;
        int blocks = (int)(wanted < 1 ? 1 : wanted < BLOCKS ? wanted : BLOCKS);
        T *y = (T *)s->out[0].data;
        double *parts = (double *)s->scratch;
        auto squares = packs ? square_parts<WIDE<T>, T> : square_parts<1, T>;
        squares<<<(unsigned)blocks, THREADS, 0, q->stream>>>(parts, blocks == 1 ? y : nullptr, (const T *)s->in[0].data,
                                                             n);
        if (blocks > 1) launch_waiting(add_parts<T>, 1, THREADS, 0, q, y, (const double *)parts, blocks);
    });
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *)
{
    return cuda_float(n->in[0]->dtype) && n->out[0]->dtype == n->in[0]->dtype;
}

extern "C" const kernel_def sum_squares_cuda[] = {
    {.op = &op_sum_squares_def,
     .name = "sum_squares.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match,
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
