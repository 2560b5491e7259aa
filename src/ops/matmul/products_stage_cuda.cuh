// Products of one row with matrices stored by output, inside a persistent launch: the weights are in the warps' rings when
// the left side arrives. The left side lies in shared memory; a tile's sum goes there too, and the tiles of a row are added
// in their order.
#ifndef OPS_MATMUL_PRODUCTS_STAGE_CUDA_CUH
#define OPS_MATMUL_PRODUCTS_STAGE_CUDA_CUH

#include "kit/cuda/stage.cuh"

// operand 0 is x, operands STAGE_INPUTS + j the results of the matrices; number[j] their rows.
enum { PRODUCTS_MATRICES = STAGE_SIDE_BY_SIDE, PRODUCTS_COPY, PRODUCTS_SHIFT };

template <typename T> __device__ __forceinline__ float dot_pack(const char *x, const char *w, float sum)
{
    constexpr int N = WIDE<T>;
    pack<T, N> a = load_pack<N>((const T *)x), c = load_pack<N>((const T *)w);
#pragma unroll
    for (int i = 0; i < N; i++) sum = fmaf(to_float(a.at[i]), to_float(c.at[i]), sum);
    return sum;
}

// This warp's tiles of one matrix; their sums go to part[tile]. Returns how many tiles there are.
template <typename T>
__device__ __forceinline__ int multiply_tiles(stage_block &b, const char *x, int packs, int shift, int rows,
                                              float *part)
{
    stage_slice s = slice_of(b, rows);
    int tiles = (s.end - s.first) << shift, each = piece_packs(packs, shift);
    const char *ring = b.memory + STAGE_AT_WEIGHTS + b.warp * (STAGE_SLOTS * STAGE_SLOT) + b.lane * 16;
    for (int tile = (b.warp - b.turn) & (STAGE_WARPS - 1); tile < tiles; tile += STAGE_WARPS) {
        int first = (tile & ((1 << shift) - 1)) * each, end = min(first + each, packs), pack = first + b.lane;
        const char *w = ring + b.oldest * STAGE_SLOT;
        float sum[TILE_PACKS / 32] = {};
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGE_SLOTS - 1) : "memory");
#pragma unroll
        for (int u = 0; u < TILE_PACKS / 32; u++)
            if (pack + 32 * u < end) sum[u] = dot_pack<T>(x + (int64_t)(pack + 32 * u) * 16, w + u * 512, 0);
        feed_next(b);
        b.oldest = (b.oldest + 1) % STAGE_SLOTS;
        float all = warp_join<add_floats>((sum[0] + sum[1]) + (sum[2] + sum[3]));
        if (b.lane == 0) part[tile] = all;
    }
    b.turn = (b.turn + tiles) & (STAGE_WARPS - 1);
    return tiles;
}

__device__ __forceinline__ const char *left_side(const stage &s, const stage_block &b, int packs)
{
    const stage_operand &o = s.operand[0];
    if (o.local != STAGE_GLOBAL) return (const char *)operand_at(b, o, s.count);
    uint4 *x = (uint4 *)(b.memory + s.number[PRODUCTS_COPY]);
    for (int i = threadIdx.x; i < packs; i += STAGE_THREADS) x[i] = ((const uint4 *)o.at)[i];
    __syncthreads();
    return (const char *)x;
}

__device__ __forceinline__ void stage_products(const stage &s, stage_block &b)
{
    int dtype = s.operand[0].dtype, packs = s.count * size_of(dtype) / 16, shift = s.number[PRODUCTS_SHIFT];
    int matrices = s.number[PRODUCTS_MATRICES];
    const char *x = left_side(s, b, packs);
    float *part = (float *)(b.memory + STAGE_AT_WORK);
    with_type(dtype, [&](auto t) {
        for (int j = 0, done = 0; j < matrices; j++)
            done += multiply_tiles<decltype(t)>(b, x, packs, shift, s.number[j], part + done);
    });
    __syncthreads();
    for (int j = 0, done = 0; j < matrices; j++) {
        stage_slice rows = slice_of(b, s.number[j]);
        int r = rows.first + (int)threadIdx.x;
        if (r < rows.end) {
            stage_writer y(b, s.operand[STAGE_INPUTS + j], s.number[j]);
            for (; r < rows.end; r += STAGE_THREADS) {
                const float *at = part + done + ((r - rows.first) << shift);
                float sum = 0;
                for (int i = 0; i < 1 << shift; i++) sum += at[i];
                y(r, sum);
            }
        }
        done += (rows.end - rows.first) << shift;
    }
}

#endif
