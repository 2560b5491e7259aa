// Products of one row with matrices stored by output, inside a persistent launch: the weights are in the warps' rings when
// the left side arrives. The left side lies in shared memory; a tile's sum goes there too, and the tiles of a row are added
// in their order.
#ifndef OPS_MATMUL_PRODUCTS_STAGE_CUDA_CUH
#define OPS_MATMUL_PRODUCTS_STAGE_CUDA_CUH

#include "kit/cuda/stage.cuh"
#include "ops/matmul/products_stage_cuda.h"

template <typename T> __device__ __forceinline__ float dot_pack(const char *x, const char *w)
{
    constexpr int N = WIDE<T>;
    pack<T, N> a = load_pack<N>((const T *)x), c = load_pack<N>((const T *)w);
    float even = 0, odd = 0;
#pragma unroll
    for (int i = 0; i < N; i += 2) {
        even = fmaf(to_float(a.at[i]), to_float(c.at[i]), even);
        odd = fmaf(to_float(a.at[i + 1]), to_float(c.at[i + 1]), odd);
    }
    return even + odd;
}

// This warp's tiles of matrices that lie one after the other in the list; their sums go to part[tile]. Which matrix a tile is
// of does not matter here: the ring has them in this order, and each has whole rows. The slot that was read last is left
// to be filled when the results are out; true: there is one.
template <typename T>
__device__ __forceinline__ bool multiply_tiles(stage_block &b, const char *x, int packs, int shift, int tiles,
                                               float *part)
{
    int each = piece_packs(packs, shift), tile = (b.warp - b.turn) & (STAGE_WARPS - 1);
    bool any = tile < tiles;
#pragma unroll 1
    for (; tile < tiles; tile += STAGE_WARPS) {
        int first = (tile & ((1 << shift) - 1)) * each, mine = min(each, packs - first);
        const char *w = slot_at(b, b.oldest) + b.lane * 16, *a = x + (first + b.lane) * 16;
        float sum[TILE_PACKS / 32] = {};
        ring_wait();
#pragma unroll
        for (int u = 0; u < TILE_PACKS / 32; u++)
            if (b.lane + 32 * u < mine) sum[u] = dot_pack<T>(a + u * 512, w + u * 512);
        float all = warp_join<add_floats>((sum[0] + sum[1]) + (sum[2] + sum[3]));
        if (b.lane == 0) part[tile] = all;
        if (tile + STAGE_WARPS < tiles) feed_next(b);
        b.oldest = (b.oldest + 1) % STAGE_SLOTS;
    }
    b.turn = (b.turn + tiles) & (STAGE_WARPS - 1);
    return any;
}

__device__ __forceinline__ const char *left_side(const stage &s, const stage_block &b, int packs)
{
    const stage_operand &o = s.operand[0];
    if (o.local != STAGE_GLOBAL) return b.memory + o.local;
    uint4 *x = (uint4 *)(b.memory + s.number[PRODUCTS_COPY]);
    for (int i = threadIdx.x; i < packs; i += STAGE_THREADS) x[i] = ((const uint4 *)o.at)[i];
    __syncthreads();
    return (const char *)x;
}

// The rows of all matrices one after the other, a thread each; mostly they are fewer than the threads.
template <typename T>
__device__ __forceinline__ void write_rows(const stage &s, const stage_block &b, const float *part, int first,
                                           int matrices, int shift)
{
    int at = threadIdx.x, done = 0;
#pragma unroll 1
    for (int j = 0; j < matrices; j++) {
        stage_slice rows = rows_of(b, first + j);
        int count = rows.end - rows.first;
        if (at < count) {
            stage_writer<T> y(b, s.operand[STAGE_INPUTS + j], rows);
#pragma unroll 1
            for (; at < count; at += STAGE_THREADS) {
                const float *tile = part + done + (at << shift);
                float sum = 0;
                for (int i = 0; i < 1 << shift; i++) sum += tile[i];
                y(rows.first + at, sum);
            }
        }
        at -= count;
        done += count << shift;
    }
}

template <typename T> __device__ __forceinline__ void stage_products(const stage &s, stage_block &b)
{
    int packs = s.count / WIDE<T>, shift = s.number[PRODUCTS_SHIFT], matrices = s.number[PRODUCTS_MATRICES];
    const char *x = left_side(s, b, packs);
    float *part = (float *)(b.memory + STAGE_AT_WORK);
    int first = b.matrix, rows = 0;
#pragma unroll 1
    for (int j = 0; j < matrices; j++) {
        stage_slice r = rows_of(b, b.matrix++);
        rows += r.end - r.first;
    }
    bool any = multiply_tiles<T>(b, x, packs, shift, rows << shift, part);
    __syncthreads();
    write_rows<T>(s, b, part, first, matrices, shift);
    if (any) feed_next(b);
}

#endif
