// Small products of 16-bit numbers on CUDA: what takes the time is to begin. A block asks for all that it will read at once
// and multiplies as it comes; long sums are shared by the blocks of a cluster and added in the order of their parts.
#ifndef OPS_MATMUL_MATMUL_SMALL_CUDA_CUH
#define OPS_MATMUL_MATMUL_SMALL_CUDA_CUH

#include "kit/cuda/mma.cuh"

#include <cooperative_groups.h>

enum {
    SMALL_ROWS = 64,
    SMALL_COLUMNS = 32,
    SMALL_DEPTH = 64,     // of 16-bit numbers
    SMALL_DEPTH_F32 = 32, // the same bytes
    SMALL_STAGES = 4,
    SMALL_THREADS = 128,
    SMALL_PARTS = 8 // a cluster
};

// y (m, n) = op(a) (m, k) op(b) (k, n) (+ c) (+ bias); a (m, k) or, TA, (k, m); b (k, n) or, TB, (n, k).
template <typename T, typename U> struct small_product {
    const T *a, *b;
    const U *c;        // or NULL
    const float *bias; // or NULL
    U *y;
    int m, n, k;
    int64_t a_row, b_row; // between rows as they lie
};

// Sixteen rows of op(a) from a tile of rows of k.
template <int WIDTH, typename T>
__device__ __forceinline__ void left_side_of_columns(uint32_t (&a)[4], const T *tile, int k, int row)
{
    int lane = threadIdx.x % 32;
    load_matrices_transposed(a, tile + tile_at<WIDTH>(k + lane / 16 * 8 + lane % 8, row / 8 + (lane / 8 & 1)));
}

template <typename T, bool TA, bool TB>
__device__ __forceinline__ void small_multiply(float (&y)[SMALL_COLUMNS / 8][4], const T *left, const T *right, int row)
{
#pragma unroll
    for (int d = 0; d < SMALL_DEPTH / 16; d++) {
        uint32_t a[4];
        if constexpr (TA)
            left_side_of_columns<SMALL_ROWS>(a, left, d * 16, row);
        else
            left_side<SMALL_DEPTH>(a, left, row, d);
#pragma unroll
        for (int j = 0; j < SMALL_COLUMNS / 16; j++) {
            uint32_t b[4];
            if constexpr (TB)
                right_sides<SMALL_DEPTH>(b, right, j * 16, d);
            else
                right_sides_of_rows<SMALL_COLUMNS>(b, right, d * 16, j);
            multiply_add<T>(y[2 * j], a, b[0], b[1]);
            multiply_add<T>(y[2 * j + 1], a, b[2], b[3]);
        }
    }
}

// Two neighbours of a row of the result.
template <typename T, typename U>
__device__ __forceinline__ void small_put(const small_product<T, U> &p, int row, int column, float x, float y)
{
    if (row >= p.m || column >= p.n) return; // n is even
    int64_t at = (int64_t)row * p.n + column;
    if (p.bias) x += p.bias[column], y += p.bias[column + 1];
    if (p.c) {
        pack<U, 2> c = load_pack<2>(p.c + at);
        x += to_float(c.at[0]), y += to_float(c.at[1]);
    }
    store_pack<2>(p.y + at, pack<U, 2>{to<U>(x), to<U>(y)});
}

// Until stage i has come, for all threads.
__device__ __forceinline__ void wait_for_stage(int i)
{
    static_assert(SMALL_STAGES == 4, "waits");
    if (i == 0) copy_wait<3>();
    if (i == 1) copy_wait<2>();
    if (i == 2) copy_wait<1>();
    if (i == 3) copy_wait<0>();
    __syncthreads();
}

// The tile's sums to the result. SHARED: each block leaves its own where the others of the cluster find them, and adds up some
// rows of all, in the order of the blocks. `room` is the tiles' memory.
template <bool SHARED, typename T, typename U>
__device__ __forceinline__ void small_finish(const small_product<T, U> &p, const float (&y)[SMALL_COLUMNS / 8][4],
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

template <typename T, typename U, bool TA, bool TB, bool SHARED>
__global__ void __launch_bounds__(SMALL_THREADS) small_tile(small_product<T, U> p)
{
    constexpr int A = SMALL_ROWS * SMALL_DEPTH, B = SMALL_COLUMNS * SMALL_DEPTH;
    __shared__ __align__(128) T tiles[SMALL_STAGES][A + B];
    int row = blockIdx.y * SMALL_ROWS, column = blockIdx.x * SMALL_COLUMNS;
    int depth = (p.k + SMALL_DEPTH * (int)gridDim.z - 1) / (SMALL_DEPTH * (int)gridDim.z) * SMALL_DEPTH;
    int first = blockIdx.z * depth, last = min(first + depth, p.k);
    wait_for_inputs();
#pragma unroll
    for (int i = 0; i < SMALL_STAGES; i++) {
        int at = first + i * SMALL_DEPTH;
        if (at < last) {
            if constexpr (TA)
                load_tile<SMALL_DEPTH, SMALL_ROWS, SMALL_THREADS>(
                    tiles[i], rows_in<T>{p.a + row, p.a_row, last, p.m - row, true}, at);
            else
                load_tile<SMALL_ROWS, SMALL_DEPTH, SMALL_THREADS>(
                    tiles[i], rows_in<T>{p.a + at, p.a_row, p.m, last - at, true}, row);
            if constexpr (TB)
                load_tile<SMALL_COLUMNS, SMALL_DEPTH, SMALL_THREADS>(
                    tiles[i] + A, rows_in<T>{p.b + at, p.b_row, p.n, last - at, true}, column);
            else
                load_tile<SMALL_DEPTH, SMALL_COLUMNS, SMALL_THREADS>(
                    tiles[i] + A, rows_in<T>{p.b + column, p.b_row, last, p.n - column, true}, at);
        }
        copy_commit();
    }
    float y[SMALL_COLUMNS / 8][4] = {};
    int mine = (int)threadIdx.x / 32 * 16;
#pragma unroll
    for (int i = 0; i < SMALL_STAGES; i++) {
        wait_for_stage(i);
        if (first + i * SMALL_DEPTH < last) small_multiply<T, TA, TB>(y, tiles[i], tiles[i] + A, mine);
    }
    small_finish<SHARED>(p, y, reinterpret_cast<float *>(tiles), row, column, mine);
}

// The blocks that share a sum: each has at most SMALL_STAGES tiles of it.
static inline int small_parts(int64_t k, int depth)
{
    int parts = 1;
    while (parts * SMALL_STAGES * depth < k) parts *= 2;
    return parts;
}

template <typename K, typename P>
static cudaError_t small_start(K kernel, const P &p, int parts, int bytes, cudaStream_t stream)
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

template <typename T, typename U, bool TA, bool TB>
static cudaError_t small_launch(const small_product<T, U> &p, cudaStream_t stream)
{
    int parts = small_parts(p.k, SMALL_DEPTH);
    return parts > 1 ? small_start(small_tile<T, U, TA, TB, true>, p, parts, 0, stream)
                     : small_start(small_tile<T, U, TA, TB, false>, p, parts, 0, stream);
}

#endif
