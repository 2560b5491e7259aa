// Rows that one warp or one block keeps in registers while it looks at them more than once: each is read once and written
// once. Rows that are too long, or whose length is no multiple of 16 bytes, are read again from the cache instead.
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
    // f(element as float, column) for each element of this thread.
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

template <int THREADS, int PACKS, int N> struct row_plan {
    static constexpr int threads = THREADS, packs = PACKS, width = N;
    static constexpr int block = THREADS == 32 ? 128 : THREADS; // the most threads of a block
};

// Calls f with a row_plan that holds `columns` elements of T: 16-byte packs where rows are multiples of 16 bytes, else
// single elements.
template <typename T, typename F> void by_columns(int64_t columns, F f)
{
    constexpr int N = WIDE<T>;
    if (columns % N == 0) {
        int64_t packs = columns / N;
        if (packs <= 32)
            f(row_plan<32, 1, N>());
        else if (packs <= 128)
            f(row_plan<32, 4, N>());
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

// Rows that one warp has to itself share a block where there are many; rows of a block have it alone.
struct rows_launch {
    unsigned blocks, threads;
};

static inline rows_launch rows_launch_of(int64_t rows, int threads)
{
    int64_t together = threads == 32 && rows >= 1024 ? 4 : 1;
    return {(unsigned)((rows + together - 1) / together), (unsigned)(threads * together)};
}

template <int THREADS> __device__ __forceinline__ int64_t row_of_thread()
{
    return THREADS == 32 ? blockIdx.x * (int64_t)(blockDim.x / 32) + threadIdx.x / 32 : (int64_t)blockIdx.x;
}

#endif
