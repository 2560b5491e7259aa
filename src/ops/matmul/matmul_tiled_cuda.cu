// Rung tiled of the CUDA ladder: a block makes 64 x 64 of the result from tiles in shared memory, a thread 4 x 4 of them.
//
// Idea: what is read from memory once is used 64 times, and what is read from shared memory 4 times, from registers. All
// arithmetic is in float32, outside the tensor cores.
// Expertise 4, effort 40 lines, 4 hours.
#include "ops/matmul/matmul_ladder_cuda.cuh"

enum { SIDE = 64, DEPTH = 16, EACH = 4, THREADS = 256 };

template <typename T, typename U> __global__ void __launch_bounds__(THREADS) one_tile(ladder_product<T, U> p)
{
    __shared__ float a[DEPTH][SIDE + 1], b[DEPTH][SIDE + 1]; // one more: columns of a tile lie in different banks
    int row = blockIdx.y * SIDE, column = blockIdx.x * SIDE, ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    float sum[EACH][EACH] = {};
    for (int at = 0; at < p.k; at += DEPTH) {
        for (int item = threadIdx.x; item < SIDE * DEPTH; item += THREADS) {
            a[item % DEPTH][item / DEPTH] = to_float(p.left(row + item / DEPTH, at + item % DEPTH));
            b[item / SIDE][item % SIDE] = to_float(p.right(at + item / SIDE, column + item % SIDE));
        }
        __syncthreads();
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            float u[EACH], v[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) u[i] = a[d][ty + 16 * i], v[i] = b[d][tx + 16 * i];
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sum[i][j] = fmaf(u[i], v[j], sum[i][j]);
        }
        __syncthreads();
    }
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++) p.put(row + ty + 16 * i, column + tx + 16 * j, sum[i][j]);
}

static status launch(const step *s, queue *q)
{
    each_product_of(s, [&](const auto &p) { one_tile<<<squares(p, SIDE), THREADS, 0, q->stream>>>(p); });
    return INGOT_OK;
}

extern "C" const kernel_def matmul_tiled_cuda[] = {
    {.op = &op_matmul_def,
     .name = "matmul.tiled",
     .level = LEVEL_TILED,
     .match = ladder_match,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
