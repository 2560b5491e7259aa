// What the gradients of norms share: a weight's gradient is a sum over all rows. Every block adds the rows that fall to it
// in registers and writes one partial sum; a second kernel adds the partial sums in their order. So the bits do not depend
// on which block is done first.
#ifndef KIT_CUDA_NORM_CUH
#define KIT_CUDA_NORM_CUH

#include "kit/cuda/rows.cuh"

// Blocks of the first kernel: as many as run at a time.
static inline int64_t partial_blocks(int64_t rows, int threads, const device_caps *caps)
{
    int64_t most = (int64_t)caps->multiprocessors * (threads <= 128 ? 4 : threads <= 512 ? 2 : 1);
    int64_t wanted = threads == 32 ? (rows + 3) / 4 : rows;
    return wanted < most ? wanted : most;
}

// The most that partial_blocks gives, whatever the plan.
static inline int64_t most_partials(const device_caps *caps)
{
    return (int64_t)caps->multiprocessors * 4;
}

// The sums of this thread's columns, over the warps of the block, into one partial sum.
template <typename P>
__device__ __forceinline__ void write_partial(float *partial, float (&sum)[P::packs][P::width], int columns)
{
    float *to = partial + (int64_t)blockIdx.x * columns;
    int first = (int)(threadIdx.x % P::threads) * P::width;
    if constexpr (P::threads == 32) {
        constexpr int MOST = 32 * P::packs * P::width;
        __shared__ float joined[MOST];
        for (unsigned warp = 0; warp < blockDim.x / 32; warp++) {
            __syncthreads();
            if (threadIdx.x / 32 != warp) continue;
#pragma unroll
            for (int p = 0; p < P::packs; p++)
#pragma unroll
                for (int i = 0; i < P::width; i++) {
                    int column = first + p * P::threads * P::width + i;
                    joined[column] = warp ? joined[column] + sum[p][i] : sum[p][i];
                }
        }
        __syncthreads();
        for (int column = threadIdx.x; column < columns; column += blockDim.x) to[column] = joined[column];
    } else {
#pragma unroll
        for (int p = 0; p < P::packs; p++)
#pragma unroll
            for (int i = 0; i < P::width; i++) {
                int column = first + p * P::threads * P::width + i;
                if (column < columns) to[column] = sum[p][i];
            }
    }
}

// partial (count, columns) -> y (columns), for two gradients at once: blockIdx.y says which. 32 columns a block, 8 threads
// share a column's partial sums.
template <typename W>
__global__ void add_partials(W *first, W *second, const float *partial, int64_t count, int64_t columns)
{
    __shared__ float part[8][32];
    W *y = blockIdx.y ? second : first;
    if (!y) return;
    int64_t column = blockIdx.x * 32 + threadIdx.x;
    const float *from = partial + blockIdx.y * count * columns + column;
    float v = 0;
    if (column < columns)
        for (int64_t k = threadIdx.y; k < count; k += 8) v += from[k * columns];
    part[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    if (threadIdx.y || column >= columns) return;
    for (int k = 1; k < 8; k++) v += part[k][threadIdx.x];
    y[column] = to<W>(v);
}

// The partial sums of `first`, then those of `second`; NULL where one is not wanted.
static inline void launch_add_partials(ingot_dtype d, void *first, void *second, const float *partial, int64_t count,
                                       int64_t columns, queue *q)
{
    dim3 grid((unsigned)((columns + 31) / 32), second ? 2 : 1);
    by_dtype(d, [&](auto w) {
        using W = decltype(w);
        add_partials<<<grid, dim3(32, 8), 0, q->stream>>>((W *)first, (W *)second, partial, count, columns);
    });
}

#endif
