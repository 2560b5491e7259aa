// Small products of float32 on CUDA, as matmul_small_cuda.cuh has those of 16 bits. Tensor cores take 11 bits of a factor: a
// number is split in two such, and three of the four products of the parts are added, which is as near as float32 sums are
// (Ootomo & Yokota 2022). With TF32 allowed, the first one alone.
#ifndef OPS_MATMUL_MATMUL_SMALL_F32_CUDA_CUH
#define OPS_MATMUL_MATMUL_SMALL_F32_CUDA_CUH

#include "ops/matmul/matmul_small_cuda.cuh"

// Rows of a tile lie so that the 32 lanes of a fragment find their elements in 32 banks: rows of k, and rows of m or n.
enum { SMALL_LINE_K = SMALL_DEPTH_F32 + 4, SMALL_LINE_A = SMALL_ROWS + 8, SMALL_LINE_B = SMALL_COLUMNS + 8 };

template <int ROWS, int COLUMNS, int LINE>
__device__ __forceinline__ void small_load(float *tile, const float *from, int64_t stride, int rows, int columns)
{
    constexpr int CHUNKS = COLUMNS / 4, ITEMS = ROWS * CHUNKS;
#pragma unroll
    for (int i = 0; i < ITEMS / SMALL_THREADS; i++) {
        int item = i * SMALL_THREADS + (int)threadIdx.x, row = item / CHUNKS, column = item % CHUNKS * 4;
        bool inside = row < rows && column < columns;
        copy_async(tile + row * LINE + column, from + (inside ? row * stride + column : 0), inside);
    }
}

struct split {
    uint32_t high, low;
};

template <bool EXACT> __device__ __forceinline__ split split_of(float x)
{
    split s = {};
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(s.high) : "f"(x));
    if (EXACT) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(s.low) : "f"(x - __uint_as_float(s.high)));
    return s;
}

__device__ __forceinline__ void multiply_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <bool TA, bool TB, bool EXACT>
__device__ __forceinline__ void small_multiply_f32(float (&y)[SMALL_COLUMNS / 8][4], const float *left,
                                                   const float *right, int row)
{
    int group = threadIdx.x % 32 / 4, one = threadIdx.x % 4;
#pragma unroll
    for (int d = 0; d < SMALL_DEPTH_F32; d += 8) {
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
                multiply_tf32(y[j], low, b_high);
                multiply_tf32(y[j], high, b_low);
            }
            multiply_tf32(y[j], high, b_high);
        }
    }
}

template <bool TA, bool TB, bool EXACT, bool SHARED>
__global__ void __launch_bounds__(SMALL_THREADS) small_tile_f32(small_product<float, float> p)
{
    constexpr int A = TA ? SMALL_DEPTH_F32 * SMALL_LINE_A : SMALL_ROWS * SMALL_LINE_K;
    constexpr int B = TB ? SMALL_COLUMNS * SMALL_LINE_K : SMALL_DEPTH_F32 * SMALL_LINE_B;
    extern __shared__ __align__(128) float small_tiles[];
    int row = blockIdx.y * SMALL_ROWS, column = blockIdx.x * SMALL_COLUMNS;
    int depth = (p.k + SMALL_DEPTH_F32 * (int)gridDim.z - 1) / (SMALL_DEPTH_F32 * (int)gridDim.z) * SMALL_DEPTH_F32;
    int first = blockIdx.z * depth, last = min(first + depth, p.k);
    wait_for_inputs();
#pragma unroll
    for (int i = 0; i < SMALL_STAGES; i++) {
        int at = first + i * SMALL_DEPTH_F32;
        float *left = small_tiles + i * (A + B), *right = left + A;
        if (at < last) {
            if constexpr (TA)
                small_load<SMALL_DEPTH_F32, SMALL_ROWS, SMALL_LINE_A>(left, p.a + at * p.a_row + row, p.a_row,
                                                                      last - at, p.m - row);
            else
                small_load<SMALL_ROWS, SMALL_DEPTH_F32, SMALL_LINE_K>(left, p.a + row * p.a_row + at, p.a_row,
                                                                      p.m - row, last - at);
            if constexpr (TB)
                small_load<SMALL_COLUMNS, SMALL_DEPTH_F32, SMALL_LINE_K>(right, p.b + column * p.b_row + at, p.b_row,
                                                                         p.n - column, last - at);
            else
                small_load<SMALL_DEPTH_F32, SMALL_COLUMNS, SMALL_LINE_B>(right, p.b + at * p.b_row + column, p.b_row,
                                                                         last - at, p.n - column);
        }
        copy_commit();
    }
    float y[SMALL_COLUMNS / 8][4] = {};
    int mine = (int)threadIdx.x / 32 * 16;
#pragma unroll
    for (int i = 0; i < SMALL_STAGES; i++) {
        wait_for_stage(i);
        const float *left = small_tiles + i * (A + B);
        if (first + i * SMALL_DEPTH_F32 < last) small_multiply_f32<TA, TB, EXACT>(y, left, left + A, mine);
    }
    small_finish<SHARED>(p, y, small_tiles, row, column, mine);
}

template <bool TA, bool TB, bool EXACT>
static cudaError_t small_launch_f32(const small_product<float, float> &p, cudaStream_t stream)
{
    constexpr int A = TA ? SMALL_DEPTH_F32 * SMALL_LINE_A : SMALL_ROWS * SMALL_LINE_K;
    constexpr int B = TB ? SMALL_COLUMNS * SMALL_LINE_K : SMALL_DEPTH_F32 * SMALL_LINE_B;
    constexpr int BYTES = SMALL_STAGES * (A + B) * (int)sizeof(float);
    int parts = small_parts(p.k, SMALL_DEPTH_F32);
    auto kernel = parts > 1 ? small_tile_f32<TA, TB, EXACT, true> : small_tile_f32<TA, TB, EXACT, false>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    return small_start(kernel, p, parts, BYTES, stream);
}

#endif
