// Rows that a warp, a few warps or a block keep in registers while they look at them more than once: each is read once and
// written once. Rows that are too long are left to smaller ops.
#ifndef KIT_CUDA_ROWS_CUH
#define KIT_CUDA_ROWS_CUH

#include "kit/cuda/values.cuh"

// A row of `columns` elements, spread over THREADS threads: thread t holds packs t, t + THREADS, ..
template <typename T, int THREADS, int PACKS, int N = WIDE<T>> struct row_part {
    pack<T, N> at[PACKS];
    int columns, first;

    __device__ __forceinline__ row_part(int count) : columns(count), first((threadIdx.x % THREADS) * N)
    {
    }
    __device__ __forceinline__ int column(int p) const
    {
        return first + p * THREADS * N;
    }
    __device__ __forceinline__ void load(const T *row)
    {
#pragma unroll
        for (int p = 0; p < PACKS; p++)
            if (column(p) < columns) at[p] = load_pack<N>(row + column(p));
    }
    // The weights of this thread's columns; `otherwise` where there are none.
    __device__ __forceinline__ void load_weights_to(float (&out)[PACKS][N], weights w, float otherwise) const
    {
#pragma unroll
        for (int p = 0; p < PACKS; p++) {
#pragma unroll
            for (int i = 0; i < N; i++) out[p][i] = otherwise;
            if (w.at && column(p) < columns) load_weights<T>(out[p], w, column(p));
        }
    }
    // f(element as float, pack, place in it) for each element of this thread.
    template <typename F> __device__ __forceinline__ void each(F f) const
    {
#pragma unroll
        for (int p = 0; p < PACKS; p++)
            if (column(p) < columns) {
#pragma unroll
                for (int i = 0; i < N; i++) f(to_float(at[p].at[i]), p, i);
            }
    }
    // y[column] = f(element, pack, place in it).
    template <typename U, typename F> __device__ __forceinline__ void store(U *row, F f) const
    {
#pragma unroll
        for (int p = 0; p < PACKS; p++)
            if (column(p) < columns) {
                pack<U, N> y;
#pragma unroll
                for (int i = 0; i < N; i++) y.at[i] = to<U>(f(to_float(at[p].at[i]), p, i));
                store_pack<N>(row + column(p), y);
            }
    }
};

// A row's threads, and the most threads of a block: where rows are many, several share one.
template <int THREADS, int PACKS, int N> struct row_plan {
    static constexpr int threads = THREADS, packs = PACKS, width = N;
    static constexpr int block = THREADS == 32 ? 128 : THREADS == 64 ? 256 : THREADS;
};

// Calls f with a row_plan that holds `columns` elements of T: 16-byte packs where rows are multiples of 16 bytes, else
// single elements. It depends on nothing else, so that a row is summed in the same order whatever is beside it.
template <typename T, typename F> void by_columns(int64_t columns, F f)
{
    constexpr int N = WIDE<T>;
    if (columns % N == 0) {
        int64_t packs = columns / N;
        if (packs <= 32)
            f(row_plan<32, 1, N>());
        else if (packs <= 96)
            f(row_plan<32, 3, N>());
        else if (packs <= 128)
            f(row_plan<64, 2, N>());
        else if (packs <= 256)
            f(row_plan<64, 4, N>());
        else if (packs <= 512)
            f(row_plan<128, 4, N>());
        else if (packs <= 2048)
            f(row_plan<512, 4, N>());
        else
            f(row_plan<1024, 4, N>());
    } else if (columns <= 128) {
        f(row_plan<32, 4, 1>());
    } else {
        f(row_plan<1024, 8, 1>());
    }
}

// Whether rows fit; what does not is lowered.
static inline bool rows_fit(int64_t columns, ingot_dtype d)
{
    int64_t wide = 16 / ingot_dtype_bytes(d);
    return columns % wide == 0 ? columns <= 4096 * wide : columns <= 8192;
}

struct rows_launch {
    unsigned blocks, threads;
};

template <typename P> static rows_launch rows_launch_of(int64_t rows)
{
    int64_t together = rows >= 1024 ? P::block / P::threads : 1;
    return {(unsigned)((rows + together - 1) / together), (unsigned)(P::threads * together)};
}

template <typename P> __device__ __forceinline__ int64_t row_of_thread()
{
    if (P::block == P::threads) return blockIdx.x;
    return blockIdx.x * (int64_t)(blockDim.x / P::threads) + threadIdx.x / P::threads;
}

// The threads of a row wait for one another.
template <typename P> __device__ __forceinline__ void wait_for_row()
{
    if constexpr (P::threads == 32)
        __syncwarp();
    else if constexpr (P::block == P::threads)
        __syncthreads();
    else
        bar_sync<P::threads>((int)(threadIdx.x / P::threads) + 1);
}

// K values at once, joined over the threads of a row, all of which must call and get the results. Calls of one kernel have
// numbers; a loop that comes back to the same call without another one between says AGAIN.
template <typename P, typename OP, int CALL = 0, bool AGAIN = false, int K>
__device__ __forceinline__ void join_row(float (&v)[K])
{
#pragma unroll
    for (int offset = 16; offset; offset /= 2)
#pragma unroll
        for (int i = 0; i < K; i++) v[i] = OP::join(v[i], __shfl_xor_sync(0xffffffffu, v[i], offset));
    if constexpr (P::threads > 32) {
        constexpr int WARPS = P::threads / 32;
        __shared__ float part[P::block / P::threads][K][WARPS];
        auto &mine = part[threadIdx.x / P::threads];
        if (AGAIN) wait_for_row<P>();
        if (threadIdx.x % 32 == 0)
#pragma unroll
            for (int i = 0; i < K; i++) mine[i][threadIdx.x / 32 % WARPS] = v[i];
        wait_for_row<P>();
#pragma unroll
        for (int i = 0; i < K; i++) {
            v[i] = mine[i][0];
#pragma unroll
            for (int w = 1; w < WARPS; w++) v[i] = OP::join(v[i], mine[i][w]);
        }
    }
}

template <typename P, int CALL = 0> __device__ __forceinline__ float sum_row(float v)
{
    float sums[1] = {v};
    join_row<P, add_floats, CALL>(sums);
    return sums[0];
}

// e^x, of 16-bit numbers by the instruction for powers of two: what it loses is below their last digit.
template <typename T> __device__ __forceinline__ float power(float x)
{
    return sizeof(T) == 2 ? __expf(x) : expf(x);
}

// The largest of a row, and the sum of e^(x - largest), from what its threads have: one wait for both. NaN is handed on by
// the sum. Where all is -inf so is the largest, and the sum no number.
template <typename T, typename P> __device__ __forceinline__ void join_powers(float &max, float &sum)
{
    float of_warp = max;
#pragma unroll
    for (int offset = 16; offset; offset /= 2) of_warp = fmaxf(of_warp, __shfl_xor_sync(0xffffffffu, of_warp, offset));
    sum = warp_join<add_floats>(of_warp == -INFINITY ? sum : sum * power<T>(max - of_warp));
    max = of_warp;
    if constexpr (P::threads > 32) {
        constexpr int WARPS = P::threads / 32;
        __shared__ float2 part[P::block / P::threads][WARPS];
        const float2 *mine = part[threadIdx.x / P::threads];
        if (threadIdx.x % 32 == 0) part[threadIdx.x / P::threads][threadIdx.x / 32 % WARPS] = make_float2(max, sum);
        wait_for_row<P>();
#pragma unroll
        for (int w = 0; w < WARPS; w++) max = fmaxf(max, mine[w].x);
        sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += mine[w].y * power<T>(mine[w].x - max);
    }
}

#endif
