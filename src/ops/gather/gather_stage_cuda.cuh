// One row by its id, inside a persistent launch: each block copies its slice.
#ifndef OPS_GATHER_GATHER_STAGE_CUDA_CUH
#define OPS_GATHER_GATHER_STAGE_CUDA_CUH

#include "kit/cuda/stage.cuh"

// number[0]: rows of the table. Operands: table, id; y.
template <typename T> __device__ __forceinline__ void stage_gather(const stage &s, stage_block &b)
{
    int id = integer(b, s.operand[1]);
    bool known = id >= 0 && id < s.number[0];
    stage_slice slice = slice_of(b, s.count);
    const void *table = operand_at(b, s.operand[0]);
    stage_writer<T> y(b, s.operand[STAGE_INPUTS], slice);
#pragma unroll 1
    for (int c = slice.first + (int)threadIdx.x; c < slice.end; c += STAGE_THREADS)
        y(c, known ? element<T>(table, s.operand[0].dtype, (int64_t)id * s.count + c) : 0);
}

// number[0]: rows of the pool, which is written in place, by the last block: it is seldom one of those that attend. Operands:
// pool, id, x.
template <typename T> __device__ __forceinline__ void stage_scatter(const stage &s, stage_block &b)
{
    if (b.block != b.blocks - 1) return;
    int id = integer(b, s.operand[1]);
    if (id < 0 || id >= s.number[0]) return;
    const void *x = operand_at(b, s.operand[2]);
#pragma unroll 1
    for (int c = threadIdx.x; c < s.count; c += STAGE_THREADS)
        put<T>(s.operand[0].at, s.operand[0].dtype, (int64_t)id * s.count + c, element<T>(x, s.operand[2].dtype, c));
}

#endif
