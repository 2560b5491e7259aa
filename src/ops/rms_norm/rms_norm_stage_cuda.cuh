// RMS norm of one row inside a persistent launch: every block makes it for itself.
#ifndef OPS_RMS_NORM_RMS_NORM_STAGE_CUDA_CUH
#define OPS_RMS_NORM_RMS_NORM_STAGE_CUDA_CUH

#include "kit/cuda/stage.cuh"

template <typename T, typename W> __device__ __forceinline__ void norm_row(const stage &s, stage_block &b)
{
    int first = (int)threadIdx.x * 8;
    bool mine = first < s.count;
    pack<T, 8> x = {};
    pack<W, 8> gain = {};
    if (mine) {
        x = load_eight<T>(operand_at(b, s.operand[0]), first);
        gain = load_eight<W>(operand_at(b, s.operand[1]), first);
    }
    float squares = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) squares += to_float(x.at[i]) * to_float(x.at[i]);
    float rstd = rsqrtf(stage_sum(b, squares) / (float)s.count + s.scale);
    if (!mine) return;
    stage_writer<T> y(b, s.operand[STAGE_INPUTS], slice_of(b, s.count));
#pragma unroll
    for (int i = 0; i < 8; i++) x.at[i] = to<T>(to_float(x.at[i]) * rstd * to_float(gain.at[i]));
    y.whole_eight(first, x);
}

// Operands: x, w; y, of x's dtype. scale: eps.
template <typename T> __device__ __forceinline__ void stage_rms_norm(const stage &s, stage_block &b)
{
    if (s.operand[1].dtype == INGOT_F32)
        norm_row<T, float>(s, b);
    else
        norm_row<T, T>(s, b);
}

template <typename T>
__device__ __forceinline__ void stage_rms_norm_ahead(const stage &s, const stage_block &b, int thread)
{
    if (b.block != b.blocks - 1) return; // once for all
    int bytes = s.count * size_of(s.operand[1].dtype);
#pragma unroll 1
    for (int line = thread * 128; line < bytes; line += 32 * 128) prefetch_l2((const char *)s.operand[1].at + line);
}

#endif
