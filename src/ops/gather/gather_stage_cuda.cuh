// One row by its id, inside a persistent launch: each block copies its slice.
#ifndef OPS_GATHER_GATHER_STAGE_CUDA_CUH
#define OPS_GATHER_GATHER_STAGE_CUDA_CUH

#include "kit/cuda/stage.cuh"

// number[0]: rows of the table. Operands: table, id; y.
__device__ __forceinline__ void stage_gather(const stage &s, stage_block &b)
{
    int id = integer(b, s.operand[1]);
    bool known = id >= 0 && id < s.number[0];
    stage_slice slice = slice_of(b, s.count);
    stage_writer y(b, s.operand[STAGE_INPUTS], s.count);
    for (int c = slice.first + (int)threadIdx.x; c < slice.end; c += STAGE_THREADS)
        y(c, known ? element(s.operand[0].at, s.operand[0].dtype, (int64_t)id * s.count + c) : 0);
}

// number[0]: rows of the pool, which is written in place. Operands: pool, id, x.
__device__ __forceinline__ void stage_scatter(const stage &s, stage_block &b)
{
    int id = integer(b, s.operand[1]);
    if (id < 0 || id >= s.number[0]) return;
    const void *x = operand_at(b, s.operand[2], s.count);
    stage_slice slice = slice_of(b, s.count);
    for (int c = slice.first + (int)threadIdx.x; c < slice.end; c += STAGE_THREADS)
        put(s.operand[0].at, s.operand[0].dtype, (int64_t)id * s.count + c, element(x, s.operand[2].dtype, c));
}

#endif
