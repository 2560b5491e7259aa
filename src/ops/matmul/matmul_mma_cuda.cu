// Rung mma of the CUDA ladder: tiles of 16-bit numbers in shared memory, multiplied by the tensor cores (sm_80 on).
//
// Idea: a warp has 16 rows of the block's 64 x 64; mma.sync multiplies 16 x 16 by 16 x 8 at a time. Tiles are loaded element
// by element, so any strides will do, and nothing is on its way while the cores work: that is what the library adds.
// Expertise 6, effort 50 lines, 10 hours.
#include "kit/cuda/mma.cuh"
#include "ops/matmul/matmul_ladder_cuda.cuh"

enum { SIDE = 64, DEPTH = 64, THREADS = 128 };

// Row r, column c of a tile of 64 columns.
template <typename T> __device__ __forceinline__ T &element(T *tile, int r, int c)
{
    return tile[tile_at<DEPTH>(r, c / 8) + c % 8];
}

template <typename T, typename U> __global__ void __launch_bounds__(THREADS) one_tile(ladder_product<T, U> p)
{
    __shared__ __align__(128) T a[SIDE * DEPTH], b[SIDE * DEPTH]; // b by columns: its rows are those of the product
    int row = blockIdx.y * SIDE, column = blockIdx.x * SIDE, mine = (int)threadIdx.x / 32 * 16, lane = threadIdx.x % 32;
    float y[1][SIDE / 8][4];
    clear(y);
    for (int at = 0; at < p.k; at += DEPTH) {
        for (int item = threadIdx.x; item < SIDE * DEPTH; item += THREADS) {
            int slow = item / 64, fast = item % 64; // neighbouring threads read neighbouring elements
            bool by_rows = p.a_col == 1, by_columns = p.b_row == 1;
            int ar = by_rows ? slow : fast, ac = by_rows ? fast : slow;
            int br = by_columns ? fast : slow, bc = by_columns ? slow : fast;
            element(a, ar, ac) = p.left(row + ar, at + ac);
            element(b, bc, br) = p.right(at + br, column + bc);
        }
        __syncthreads();
        multiply_rows<T, DEPTH, 1, SIDE>(y, a, mine, b);
        __syncthreads();
    }
#pragma unroll
    for (int j = 0; j < SIDE / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            p.put(row + mine + lane / 4 + i / 2 * 8, column + j * 8 + lane % 4 * 2 + i % 2, y[0][j][i]);
}

template <typename T, typename U> static void launch_type(const step *s, queue *q)
{
    each_product<T, U>(s, [&](const auto &p) { one_tile<<<squares(p, SIDE), THREADS, 0, q->stream>>>(p); });
}

static status launch(const step *s, queue *q)
{
    bool wide = s->out[0].dtype == INGOT_F32;
    if (s->in[0].dtype == INGOT_BF16)
        wide ? launch_type<bf16, float>(s, q) : launch_type<bf16, bf16>(s, q);
    else
        wide ? launch_type<f16, float>(s, q) : launch_type<f16, f16>(s, q);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
{
    return caps->major >= 8 && n->in[0]->dtype != INGOT_F32 && ladder_match(n, caps);
}

extern "C" const kernel_def matmul_mma_cuda[] = {
    {.op = &op_matmul_def,
     .name = "matmul.mma",
     .level = LEVEL_SIMD,
     .match = match,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
