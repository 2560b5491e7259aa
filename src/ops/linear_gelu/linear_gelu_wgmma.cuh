// Products that begin or end with gelu on sm_90a: of many rows by a matrix of which every block keeps COLUMNS columns in shared memory.
//
//     y = gelu(h), h = x w^T + bias, x (M, K), w (N, K)      or      dh = gelu'(h) (dy w^T), and the sums of dh's rows
//
// A block of threads takes its part of the rows, 128 at a time. It is two warp groups that multiply, in turns, and one thread that
// asks for tiles of x or dy (TMA), 64 columns at a time, into a ring. While one group multiplies, the other one takes gelu and
// writes: what it needs of h it has asked for before it began to multiply. Columns stay the same, so bias and sums stay in registers.
#ifndef OPS_LINEAR_GELU_LINEAR_GELU_WGMMA_CUH
#define OPS_LINEAR_GELU_LINEAR_GELU_WGMMA_CUH

#include "kit/cuda/tma.cuh"
#include "kit/cuda/wgmma.cuh"

namespace gelu_rows
{
constexpr int COLUMNS = 96, TILE = 128, STEPS = 12, SLOTS = 5; // STEPS of 64, at most, is K
constexpr int GROUPS = 2, THREADS = 128 + GROUPS * 128;

template <typename T> struct memory {
    T w[STEPS][COLUMNS * 64], ring[SLOTS][TILE * 64];
    uint64_t w_full, full[SLOTS], free[SLOTS];
};

struct numbers {
    const void *h;  // of the gradient
    weights bias;   // of the forward pass
    void *y, *to_h; // y or dh; h of the forward pass, or NULL
    float *parts;   // (parts, columns) of the sums, or NULL
    int64_t rows;
    int columns, steps;
    int each; // tiles of rows a block
};

struct maps_of {
    CUtensorMap x, w;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

struct place {
    int slot;
    unsigned parity;

    __device__ __forceinline__ void further(int by)
    {
        for (slot += by; slot >= SLOTS; slot -= SLOTS) parity ^= 1;
    }
};

// The tiles of this block.
struct share {
    int64_t first, last;

    __device__ __forceinline__ share(const numbers &r)
    {
        int64_t tiles = (r.rows + TILE - 1) / TILE;
        first = (int64_t)blockIdx.y * r.each;
        last = min(first + r.each, tiles);
    }
};

template <typename T> __device__ __forceinline__ void ask(memory<T> &m, const numbers &r, const maps_of &maps)
{
    share mine(r);
    mbarrier_arrive_expect_tx(&m.w_full, r.steps * (int)sizeof m.w[0]);
    for (int k = 0; k < r.steps; k++) tma_load_4d(m.w[k], &maps.w, &m.w_full, k * 64, 0, (int)blockIdx.x * COLUMNS, 0);
    place at = {0, 0};
    for (int64_t tile = mine.first; tile < mine.last; tile++)
        for (int k = 0; k < r.steps; k++, at.further(1)) {
            barrier_wait(&m.free[at.slot], at.parity ^ 1);
            mbarrier_arrive_expect_tx(&m.full[at.slot], (int)sizeof m.ring[0]);
            tma_load_4d(m.ring[at.slot], &maps.x, &m.full[at.slot], k * 64, 0, (int)(tile * TILE), 0);
        }
}

// 64 of a tile's 128 rows each; a thread has rows `lane / 4` and eight further of its warp's 16.
using sums_of_tile = float[2][COLUMNS / 8][4];

template <bool FIRST, typename T>
__device__ __forceinline__ void begin_step(sums_of_tile &y, const T *left, const T *right)
{
    uint64_t a = same_in_warp(describe_tile(left, 16)), b = same_in_warp(describe_tile(right, 16));
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint64_t rows = tile_further(a, k * 32 + i * 64 * 128), columns = tile_further(b, k * 32);
            if (FIRST && k == 0)
                wgmma_shared<T, false>(y[i], rows, columns);
            else
                wgmma_shared<T, true>(y[i], rows, columns);
        }
    wgmma_commit();
}

__device__ __forceinline__ void release(uint64_t *barrier)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(barrier);
}

// Groups multiply in turns: the ring's barriers tell one time around from the next one only.
__device__ __forceinline__ void wait_turn(int group)
{
    bar_sync(2 + group, GROUPS * 128);
}
__device__ __forceinline__ void pass_turn(int group)
{
    bar_arrive(2 + (group ^ 1), GROUPS * 128);
}

// y = a tile's product. `passes`: the other group is next.
template <typename T>
__device__ __forceinline__ void multiply(sums_of_tile &y, memory<T> &m, const numbers &r, place &at, int group,
                                         bool passes)
{
    barrier_wait(&m.full[at.slot], at.parity);
    begin_step<true>(y, m.ring[at.slot], m.w[0]);
    int before = at.slot;
    at.further(1);
    for (int k = 1; k < r.steps; k++) {
        barrier_wait(&m.full[at.slot], at.parity);
        begin_step<false>(y, m.ring[at.slot], m.w[k]);
        wgmma_wait<1>();
        release(&m.free[before]);
        before = at.slot;
        at.further(1);
    }
    if (passes) pass_turn(group);
    wgmma_wait<0>();
    release(&m.free[before]);
    pin(y[0]);
    pin(y[1]);
}

// gelu(a) = a s, by the tanh form: s = sigmoid(a (c + d a^2)).
__device__ __forceinline__ float gelu_share(float a, float square)
{
    constexpr float LOG2 = 1.4426950408889634f, c = 1.5957691216057308f * LOG2, d = 0.07135481627260025f * LOG2;
    return __fdividef(1, 1 + exp2_approx(-a * (c + d * square)));
}
__device__ __forceinline__ float gelu_of(float a)
{
    return a * gelu_share(a, a * a);
}
__device__ __forceinline__ float gelu_slope(float a)
{
    float square = a * a, s = gelu_share(a, square);
    return s + a * s * (1 - s) * (1.5957691216057308f + 0.21406444881780074f * square);
}

// Where a thread's 16 bytes of a row are: four neighbouring threads have 64 bytes.
struct own_rows {
    int64_t row;
    int column;

    __device__ __forceinline__ own_rows(int64_t tile)
    {
        row = tile * TILE + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
        column = (int)blockIdx.x * COLUMNS + (int)threadIdx.x % 4 * 8;
    }
    // i: which 64 rows; h: eight further; c: which 32 columns.
    __device__ __forceinline__ bool there(const numbers &r, int i, int h, int c) const
    {
        return row + i * 64 + h * 8 < r.rows && column + c * 32 < r.columns;
    }
    __device__ __forceinline__ int64_t at(const numbers &r, int i, int h, int c) const
    {
        return (row + i * 64 + h * 8) * r.columns + column + c * 32;
    }
    template <typename T>
    __device__ __forceinline__ void store(void *to, uint32_t (&w)[4], const numbers &r, int i, int h, int c) const
    {
        turn_words(w);
        if (there(r, i, h, c))
            *reinterpret_cast<uint4 *>((T *)to + at(r, i, h, c)) = make_uint4(w[0], w[1], w[2], w[3]);
    }
};

using words_of_tile = uint4[2][2][COLUMNS / 32];

// For each 16 bytes of a thread's rows, f(which 64 rows, eight further, which 32 columns).
template <typename F> __device__ __forceinline__ void each_piece(F f)
{
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int c = 0; c < COLUMNS / 32; c++) f(i, h, c);
}

template <typename T>
__device__ __forceinline__ void ask_rows(words_of_tile &words, const numbers &r, const own_rows &mine)
{
    each_piece([&](int i, int h, int c) {
        words[i][h][c] = mine.there(r, i, h, c) ? *reinterpret_cast<const uint4 *>((const T *)r.h + mine.at(r, i, h, c))
                                                : make_uint4(0, 0, 0, 0);
    });
}

using numbers_of_columns = float[COLUMNS / 8][2]; // bias, or sums

template <typename T>
__device__ __forceinline__ void end_gradient(sums_of_tile &y, const words_of_tile &words, numbers_of_columns &sums,
                                             const numbers &r, const own_rows &mine)
{
    each_piece([&](int i, int h, int c) {
        uint4 v = words[i][h][c];
        uint32_t w[4] = {v.x, v.y, v.z, v.w};
        turn_words(w);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            pack<T, 2> two = *reinterpret_cast<pack<T, 2> *>(&w[j]);
            const float *of = &y[i][c * 4 + j][2 * h];
            float low = of[0] * gelu_slope(to_float(two.at[0])), high = of[1] * gelu_slope(to_float(two.at[1]));
            sums[c * 4 + j][0] += low;
            sums[c * 4 + j][1] += high;
            w[j] = pair<T>(low, high);
        }
        mine.store<T>(r.y, w, r, i, h, c);
    });
}

template <typename T>
__device__ __forceinline__ void end_forward(sums_of_tile &y, const numbers_of_columns &bias, const numbers &r,
                                            const own_rows &mine)
{
    each_piece([&](int i, int h, int c) {
        uint32_t w[4], kept[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float *of = &y[i][c * 4 + j][2 * h];
            float low = of[0] + bias[c * 4 + j][0], high = of[1] + bias[c * 4 + j][1];
            kept[j] = pair<T>(low, high);
            w[j] = pair<T>(gelu_of(low), gelu_of(high));
        }
        mine.store<T>(r.y, w, r, i, h, c);
        if (r.to_h) mine.store<T>(r.to_h, kept, r, i, h, c);
    });
}

template <typename T> __device__ __forceinline__ void load_bias(numbers_of_columns &bias, const numbers &r)
{
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++) {
        int column = (int)blockIdx.x * COLUMNS + j * 8 + (int)threadIdx.x % 4 * 2;
        if (column < r.columns) load_weights<T>(bias[j], r.bias, column);
    }
}

// The sums of all warps, in their order.
__device__ __forceinline__ void join_sums(numbers_of_columns &sums, float *shared, const numbers &r)
{
    int thread = (int)threadIdx.x - 128, warp = thread / 32, lane = thread % 32;
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float v = sums[j][i];
#pragma unroll
            for (int offset = 4; offset < 32; offset *= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
            if (lane < 4) shared[warp * COLUMNS + j * 8 + lane * 2 + i] = v;
        }
    bar_sync<GROUPS * 128>(1);
    int column = (int)blockIdx.x * COLUMNS + thread;
    if (thread >= COLUMNS || column >= r.columns) return;
    float all = shared[thread];
    for (int i = 1; i < GROUPS * 4; i++) all += shared[i * COLUMNS + thread];
    r.parts[(int64_t)blockIdx.y * r.columns + column] = all;
}

template <bool GRADIENT, typename T> __device__ __forceinline__ void work(memory<T> &m, const numbers &r)
{
    int group = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128 - 1, 0);
    numbers_of_columns of_columns = {}; // sums, or bias
    if (!GRADIENT && r.bias.at) load_bias<T>(of_columns, r);
    share share(r);
    place at = {0, 0};
    at.further(group * r.steps);
    barrier_wait(&m.w_full, 0);
    for (int64_t tile = share.first + group; tile < share.last; tile += GROUPS) {
        sums_of_tile y;
        words_of_tile words;
        own_rows mine(tile);
        if (GRADIENT) ask_rows<T>(words, r, mine);
        if (tile > share.first) wait_turn(group);
        multiply(y, m, r, at, group, tile + 1 < share.last);
        at.further(r.steps); // the other group's
        if (GRADIENT)
            end_gradient<T>(y, words, of_columns, r, mine);
        else
            end_forward<T>(y, of_columns, r, mine);
    }
    if (!r.parts) return;
    bar_sync<GROUPS * 128>(1); // nobody reads the ring any more
    join_sums(of_columns, reinterpret_cast<float *>(m.ring), r);
}

#endif

template <bool GRADIENT, typename T>
__global__ void __launch_bounds__(THREADS, 1)
    multiply_rows(const __grid_constant__ numbers r, const __grid_constant__ maps_of maps)
{
    wait_for_inputs();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    memory<T> &m = tiles_in_memory<memory<T>>();
    if (threadIdx.x == 0) {
        mbarrier_init(&m.w_full, 1);
        for (int i = 0; i < SLOTS; i++) mbarrier_init(&m.full[i], 1), mbarrier_init(&m.free[i], 4);
        fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        setmaxnreg_dec<40>();
        if (threadIdx.x == 0) ask(m, r, maps);
    } else {
        setmaxnreg_inc<232>();
        work<GRADIENT>(m, r);
    }
#else
    __trap();
#endif
}

// to (columns, rows) = from (rows, columns): 32 x 32 a block, of 32 x 8 threads.
template <typename T> __global__ void turn_matrix(T *to, const T *from, int rows, int columns)
{
    __shared__ T tile[32][33];
    int row = blockIdx.y * 32, column = blockIdx.x * 32;
    for (int i = threadIdx.y; i < 32; i += 8)
        if (row + i < rows && column + (int)threadIdx.x < columns)
            tile[i][threadIdx.x] = from[(int64_t)(row + i) * columns + column + threadIdx.x];
    __syncthreads();
    for (int i = threadIdx.y; i < 32; i += 8)
        if (column + i < columns && row + (int)threadIdx.x < rows)
            to[(int64_t)(column + i) * rows + row + threadIdx.x] = tile[threadIdx.x][i];
}

} // namespace gelu_rows

#endif
