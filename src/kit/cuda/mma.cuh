// Tiles of 16-bit numbers in shared memory, and the tensor cores' products of 16 x 16 by 16 x 8 (sm_80 on).
//
// A tile is rows of WIDTH elements, in chunks of 16 bytes that are swapped around within a row by an exclusive or with the
// row's number, so that eight rows' chunks of one column lie in eight different banks. ldmatrix then reads without
// conflicts in both directions.
#ifndef KIT_CUDA_MMA_CUH
#define KIT_CUDA_MMA_CUH

#include "kit/cuda/values.cuh"

template <int WIDTH> __device__ __forceinline__ int tile_at(int row, int chunk)
{
    constexpr int CHUNKS = WIDTH / 8;
    int turn = CHUNKS >= 8 ? row & 7 : row >> 1 & (CHUNKS - 1);
    return (row * CHUNKS + (chunk ^ turn)) * 8;
}

// The same for a tile of ROWS rows in panels of 64 columns, one behind the other.
template <int ROWS> __device__ __forceinline__ int panel_at(int row, int chunk)
{
    return chunk / 8 * ROWS * 64 + tile_at<64>(row, chunk % 8);
}

// The tiles of a block begin at a multiple of 1024 bytes, wherever its shared memory does.
template <typename TILES> __device__ __forceinline__ TILES &tiles_in_memory()
{
    extern __shared__ __align__(1024) unsigned char memory[];
    return *reinterpret_cast<TILES *>(memory + (-shared_address(memory) & 1023));
}

// A matrix of rows in global memory, `stride` elements apart; `wide`: every row begins at 16 bytes, in whole chunks.
template <typename T> struct rows_in {
    const T *at;
    int64_t stride;
    int rows, columns;
    bool wide;
};

// Rows [first, first + ROWS) into a tile; rows and columns beyond the matrix become zeros.
template <int ROWS, int WIDTH, int THREADS, typename T>
__device__ __forceinline__ void load_tile(T *tile, const rows_in<T> &from, int first)
{
    constexpr int CHUNKS = WIDTH / 8, ITEMS = ROWS * CHUNKS;
#pragma unroll
    for (int i = 0; i < (ITEMS + THREADS - 1) / THREADS; i++) {
        int item = i * THREADS + (int)threadIdx.x, row = item / CHUNKS, chunk = item % CHUNKS;
        if (ITEMS % THREADS && item >= ITEMS) break;
        bool inside = first + row < from.rows && chunk * 8 < from.columns;
        const T *source = from.at + (inside ? (int64_t)(first + row) * from.stride + chunk * 8 : 0);
        T *to_tile = tile + tile_at<WIDTH>(row, chunk);
        if (from.wide) {
            cp_async_16(to_tile, source, inside);
        } else {
            pack<T, 8> v;
            for (int k = 0; k < 8; k++) v.at[k] = inside && chunk * 8 + k < from.columns ? source[k] : to<T>(0.0f);
            store_pack<8>(to_tile, v);
        }
    }
}

// Rows [row, row + 16), columns [16 k, 16 k + 16) as the left side of a product.
template <int WIDTH, typename T>
__device__ __forceinline__ void left_side(uint32_t (&a)[4], const T *tile, int row, int k)
{
    int lane = threadIdx.x % 32;
    ldmatrix_x4(a, tile + tile_at<WIDTH>(row + lane % 16, k * 2 + lane / 16));
}

// Two right sides, 16 deep and 8 wide each. Of a tile whose rows are the product's columns: rows [row, row + 16), 16 columns.
template <int WIDTH, typename T>
__device__ __forceinline__ void right_sides(uint32_t (&b)[4], const T *tile, int row, int k)
{
    int lane = threadIdx.x % 32;
    ldmatrix_x4(b, tile + tile_at<WIDTH>(row + lane % 8 + lane / 16 * 8, k * 2 + (lane / 8 & 1)));
}
// Of a tile whose rows are summed over: rows [row, row + 16), columns [16 n, 16 n + 16).
template <int WIDTH, typename T>
__device__ __forceinline__ void right_sides_of_rows(uint32_t (&b)[4], const T *tile, int row, int n)
{
    int lane = threadIdx.x % 32;
    ldmatrix_x4_trans(b, tile + tile_at<WIDTH>(row + lane % 16, n * 2 + lane / 16));
}

template <typename T>
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    if constexpr (sizeof(T) == 2 && !std::is_same_v<T, f16>)
        mma_m16n8k16_bf16(d, a, b0, b1);
    else
        mma_m16n8k16_f16(d, a, b0, b1);
}

template <typename T> __device__ __forceinline__ uint32_t pair(float low, float high)
{
    pack<T, 2> p = {to<T>(low), to<T>(high)};
    return *reinterpret_cast<uint32_t *>(&p);
}

// Four words of each of four neighbouring threads, turned: thread i of them gets word i of all.
__device__ __forceinline__ void turn_words(uint32_t (&w)[4])
{
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
        bool upper = threadIdx.x & step;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i & step) continue;
            uint32_t other = __shfl_xor_sync(0xffffffffu, upper ? w[i] : w[i + step], step);
            (upper ? w[i] : w[i + step]) = other;
        }
    }
}

// Two results side by side, 16 x 16, as the left side of the next product.
template <typename T>
__device__ __forceinline__ void as_left_side(uint32_t (&a)[4], const float (&c)[4], const float (&d)[4])
{
    a[0] = pair<T>(c[0], c[1]);
    a[1] = pair<T>(c[2], c[3]);
    a[2] = pair<T>(d[0], d[1]);
    a[3] = pair<T>(d[2], d[3]);
}

template <int M, int N> __device__ __forceinline__ void clear(float (&x)[M][N][4])
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) x[m][j][i] = 0;
}

// y += left right^T, both tiles of rows: MT * 16 rows of the left from `row`, BN rows of the right.
template <typename T, int WIDTH, int MT, int BN>
__device__ __forceinline__ void multiply_rows(float (&y)[MT][BN / 8][4], const T *left, int row, const T *right)
{
#pragma unroll
    for (int d = 0; d < WIDTH / 16; d++) {
        uint32_t a[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) left_side<WIDTH>(a[m], left, row + m * 16, d);
#pragma unroll
        for (int j = 0; j < BN / 16; j++) {
            uint32_t b[4];
            right_sides<WIDTH>(b, right, j * 16, d);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                multiply_add<T>(y[m][2 * j], a[m], b[0], b[1]);
                multiply_add<T>(y[m][2 * j + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// y += p tile, p as it lies in the registers, the tile's BN rows summed over.
template <typename T, int WIDTH, int MT, int BN>
__device__ __forceinline__ void multiply_by(float (&y)[MT][WIDTH / 8][4], const float (&p)[MT][BN / 8][4],
                                            const T *tile)
{
#pragma unroll
    for (int j = 0; j < BN / 16; j++) {
        uint32_t a[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) as_left_side<T>(a[m], p[m][2 * j], p[m][2 * j + 1]);
#pragma unroll
        for (int d = 0; d < WIDTH / 16; d++) {
            uint32_t b[4];
            right_sides_of_rows<WIDTH>(b, tile, j * 16, d);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                multiply_add<T>(y[m][2 * d], a[m], b[0], b[1]);
                multiply_add<T>(y[m][2 * d + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// How a warp multiplies by itself, M * 16 rows: rows from `row` on of `left`, a tile of LEFT rows, by the BN rows of `right`; and
// a result in registers by BN rows that are summed over.
template <int M> struct by_warps {
    static constexpr int MT = M, ROWS = M * 16;

    template <int WIDTH, int BN, int LEFT, typename T>
    static __device__ __forceinline__ void rows(float (&y)[M][BN / 8][4], const T *left, int row, const T *right)
    {
        clear(y);
        multiply_rows<T, WIDTH, M, BN>(y, left, row, right);
    }
    template <int WIDTH, int BN, typename T>
    static __device__ __forceinline__ void by(float (&y)[M][WIDTH / 8][4], const float (&p)[M][BN / 8][4],
                                              const T *tile)
    {
        multiply_by<T, WIDTH, M, BN>(y, p, tile);
    }
};

// A result of 16 rows x N columns in this warp: element i of c[j] is at row (lane / 4 + i / 2 * 8), column 8 j + lane % 4 * 2 + i % 2.

// Sums and maxima over the four threads that share a row of a result.
__device__ __forceinline__ float quad_sum(float v)
{
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}
__device__ __forceinline__ float quad_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

#endif
