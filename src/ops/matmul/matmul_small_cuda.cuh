// Small products of float32 on CUDA: what takes the time is to begin. A block asks for all that it will read at once and
// multiplies as it comes; long sums are shared by the blocks of a cluster and added in the order of their parts.
//
// Tensor cores take 11 bits of a factor: a number is split in two such, and three of the four products of the parts are added,
// which is as near as float32 sums are (Ootomo & Yokota 2022). With TF32 allowed, the first one alone.
#ifndef OPS_MATMUL_MATMUL_SMALL_CUDA_CUH
#define OPS_MATMUL_MATMUL_SMALL_CUDA_CUH

#include "kit/cuda/mma.cuh"

#include <cooperative_groups.h>

enum {
    SMALL_ROWS = 64,
    SMALL_COLUMNS = 32,
    SMALL_DEPTH = 32,
    SMALL_STAGES = 4,
    SMALL_THREADS = 128,
    SMALL_PARTS = 8 // a cluster
};

// y (m, n) = op(a) (m, k) op(b) (k, n) (+ c) (+ bias); a (m, k) or, TA, (k, m); b (k, n) or, TB, (n, k).
struct small_product {
    const float *a, *b;
    const float *c, *bias; // or NULL
    float *y;
    int m, n, k;
    int64_t a_row, b_row; // between rows as they lie
};

// Two neighbours of a row of the result.
__device__ __forceinline__ void small_put(const small_product &p, int row, int column, float x, float y)
{
    if (row >= p.m || column >= p.n) return; // n is even
    int64_t at = (int64_t)row * p.n + column;
    if (p.bias) x += p.bias[column], y += p.bias[column + 1];
    if (p.c) {
        float2 c = *reinterpret_cast<const float2 *>(p.c + at);
        x += c.x, y += c.y;
    }
    *reinterpret_cast<float2 *>(p.y + at) = make_float2(x, y);
}

// Until stage i has come, for all threads.
__device__ __forceinline__ void wait_for_stage(int i)
{
    static_assert(SMALL_STAGES == 4, "waits");
    if (i == 0) cp_async_wait<3>();
    if (i == 1) cp_async_wait<2>();
    if (i == 2) cp_async_wait<1>();
    if (i == 3) cp_async_wait<0>();
    __syncthreads();
}

// The tile's sums to the result. SHARED: each block leaves its own where the others of the cluster find them, and adds up some
// rows of all, in the order of the blocks. `room` is the tiles' memory.
template <bool SHARED>
__device__ __forceinline__ void small_finish(const small_product &p, const float (&y)[SMALL_COLUMNS / 8][4],
                                             float *room, int row, int column, int mine)
{
    int lane = threadIdx.x % 32;
    if constexpr (!SHARED) {
#pragma unroll
        for (int j = 0; j < SMALL_COLUMNS / 8; j++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                small_put(p, row + mine + lane / 4 + h * 8, column + j * 8 + lane % 4 * 2, y[j][2 * h],
                          y[j][2 * h + 1]);
    } else {
#if __CUDA_ARCH__ >= 900
        constexpr int LINE = SMALL_COLUMNS + 8;
        auto cluster = cooperative_groups::this_cluster();
        __syncthreads(); // the tiles have been read
#pragma unroll
        for (int j = 0; j < SMALL_COLUMNS / 8; j++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                *reinterpret_cast<float2 *>(room + (mine + lane / 4 + h * 8) * LINE + j * 8 + lane % 4 * 2) =
                    make_float2(y[j][2 * h], y[j][2 * h + 1]);
        cluster.sync();
        int parts = (int)gridDim.z, share = SMALL_ROWS / parts, part = (int)blockIdx.z;
        for (int i = threadIdx.x; i < share * SMALL_COLUMNS / 2; i += SMALL_THREADS) {
            int r = part * share + i / (SMALL_COLUMNS / 2), c = i % (SMALL_COLUMNS / 2) * 2;
            float2 sum = make_float2(0, 0);
            for (int other = 0; other < parts; other++) {
                float2 v = *reinterpret_cast<float2 *>(cluster.map_shared_rank(room, other) + r * LINE + c);
                sum.x += v.x, sum.y += v.y;
            }
            small_put(p, row + r, column + c, sum.x, sum.y);
        }
        cluster.sync(); // nobody leaves while others read
#endif
    }
}

// Rows of a tile lie so that the 32 lanes of a fragment find their elements in 32 banks: rows of k, and rows of m or n.
constexpr int SMALL_LINE_K = SMALL_DEPTH + 4, SMALL_LINE_A = SMALL_ROWS + 8, SMALL_LINE_B = SMALL_COLUMNS + 8;

template <int ROWS, int COLUMNS, int LINE>
__device__ __forceinline__ void small_load(float *tile, const float *from, int64_t stride, int rows, int columns)
{
    constexpr int CHUNKS = COLUMNS / 4, ITEMS = ROWS * CHUNKS;
#pragma unroll
    for (int i = 0; i < ITEMS / SMALL_THREADS; i++) {
        int item = i * SMALL_THREADS + (int)threadIdx.x, row = item / CHUNKS, column = item % CHUNKS * 4;
        bool inside = row < rows && column < columns;
        cp_async_16(tile + row * LINE + column, from + (inside ? row * stride + column : 0), inside);
    }
}

struct split {
    uint32_t high, low;
};

template <bool EXACT> __device__ __forceinline__ split split_of(float x)
{
    split s = {};
    s.high = round_tf32(x);
    if (EXACT) s.low = round_tf32(x - __uint_as_float(s.high));
    return s;
}

template <bool TA, bool TB, bool EXACT>
__device__ __forceinline__ void small_multiply(float (&y)[SMALL_COLUMNS / 8][4], const float *left, const float *right,
                                               int row)
{
    int group = threadIdx.x % 32 / 4, one = threadIdx.x % 4;
#pragma unroll
    for (int d = 0; d < SMALL_DEPTH; d += 8) {
        uint32_t high[4], low[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int m = row + group + i % 2 * 8, k = d + one + i / 2 * 4;
            split s = split_of<EXACT>(TA ? left[k * SMALL_LINE_A + m] : left[m * SMALL_LINE_K + k]);
            high[i] = s.high, low[i] = s.low;
        }
#pragma unroll
        for (int j = 0; j < SMALL_COLUMNS / 8; j++) {
            uint32_t b_high[2], b_low[2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int n = j * 8 + group, k = d + one + i * 4;
                split s = split_of<EXACT>(TB ? right[n * SMALL_LINE_K + k] : right[k * SMALL_LINE_B + n]);
                b_high[i] = s.high, b_low[i] = s.low;
            }
            if (EXACT) {
                mma_m16n8k8_tf32(y[j], low, b_high);
                mma_m16n8k8_tf32(y[j], high, b_low);
            }
            mma_m16n8k8_tf32(y[j], high, b_high);
        }
    }
}

template <bool TA, bool TB, bool EXACT, bool SHARED>
__global__ void __launch_bounds__(SMALL_THREADS) small_tile(small_product p)
{
    constexpr int A = TA ? SMALL_DEPTH * SMALL_LINE_A : SMALL_ROWS * SMALL_LINE_K;
    constexpr int B = TB ? SMALL_COLUMNS * SMALL_LINE_K : SMALL_DEPTH * SMALL_LINE_B;
    extern __shared__ __align__(128) float small_tiles[];
    int row = blockIdx.y * SMALL_ROWS, column = blockIdx.x * SMALL_COLUMNS;
    int depth = (p.k + SMALL_DEPTH * (int)gridDim.z - 1) / (SMALL_DEPTH * (int)gridDim.z) * SMALL_DEPTH;
    int first = blockIdx.z * depth, last = min(first + depth, p.k);
    wait_for_inputs();
#pragma unroll
    for (int i = 0; i < SMALL_STAGES; i++) {
        int at = first + i * SMALL_DEPTH;
        float *left = small_tiles + i * (A + B), *right = left + A;
        if (at < last) {
            if constexpr (TA)
                small_load<SMALL_DEPTH, SMALL_ROWS, SMALL_LINE_A>(left, p.a + at * p.a_row + row, p.a_row, last - at,
                                                                  p.m - row);
            else
                small_load<SMALL_ROWS, SMALL_DEPTH, SMALL_LINE_K>(left, p.a + row * p.a_row + at, p.a_row, p.m - row,
                                                                  last - at);
            if constexpr (TB)
                small_load<SMALL_COLUMNS, SMALL_DEPTH, SMALL_LINE_K>(right, p.b + column * p.b_row + at, p.b_row,
                                                                     p.n - column, last - at);
            else
                small_load<SMALL_DEPTH, SMALL_COLUMNS, SMALL_LINE_B>(right, p.b + at * p.b_row + column, p.b_row,
                                                                     last - at, p.n - column);
        }
        cp_async_commit();
    }
    float y[SMALL_COLUMNS / 8][4] = {};
    int mine = (int)threadIdx.x / 32 * 16;
#pragma unroll
    for (int i = 0; i < SMALL_STAGES; i++) {
        wait_for_stage(i);
        const float *left = small_tiles + i * (A + B);
        if (first + i * SMALL_DEPTH < last) small_multiply<TA, TB, EXACT>(y, left, left + A, mine);
    }
    small_finish<SHARED>(p, y, small_tiles, row, column, mine);
}

// The blocks that share a sum: each has at most SMALL_STAGES tiles of it.
static inline int small_parts(int64_t k)
{
    int parts = 1;
    while (parts * SMALL_STAGES * SMALL_DEPTH < k) parts *= 2;
    return parts;
}

template <typename K>
static cudaError_t small_start(K kernel, const small_product &p, int parts, int bytes, cudaStream_t stream)
{
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = cluster.val.clusterDim.y = 1;
    cluster.val.clusterDim.z = (unsigned)parts;
    cudaLaunchConfig_t how = {};
    how.gridDim = dim3((unsigned)(p.n + SMALL_COLUMNS - 1) / SMALL_COLUMNS,
                       (unsigned)(p.m + SMALL_ROWS - 1) / SMALL_ROWS, (unsigned)parts);
    how.blockDim = SMALL_THREADS, how.dynamicSmemBytes = (size_t)bytes, how.stream = stream;
    how.attrs = &cluster, how.numAttrs = parts > 1;
    return cudaLaunchKernelEx(&how, kernel, p);
}

template <bool TA, bool TB, bool EXACT> static cudaError_t small_launch(const small_product &p, cudaStream_t stream)
{
    constexpr int A = TA ? SMALL_DEPTH * SMALL_LINE_A : SMALL_ROWS * SMALL_LINE_K;
    constexpr int B = TB ? SMALL_COLUMNS * SMALL_LINE_K : SMALL_DEPTH * SMALL_LINE_B;
    constexpr int BYTES = SMALL_STAGES * (A + B) * (int)sizeof(float);
    int parts = small_parts(p.k);
    auto kernel = parts > 1 ? small_tile<TA, TB, EXACT, true> : small_tile<TA, TB, EXACT, false>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    return small_start(kernel, p, parts, BYTES, stream);
}

#endif
