// Rotary positions of one row inside a persistent launch: every block makes them for itself.
#ifndef OPS_ROPE_ROPE_STAGE_CUDA_CUH
#define OPS_ROPE_ROPE_STAGE_CUDA_CUH

#include "kit/cuda/stage.cuh"
#include "ops/rope/rope_stage_cuda.h"

template <typename T, typename W> __device__ __forceinline__ void turn_row(const stage &s, stage_block &b)
{
    int dim = s.number[ROPE_DIM], turned = s.number[ROPE_TURNED], pairs = turned / 2, each = dim - pairs;
    int position = integer(b, s.operand[1]);
    bool known = position >= 0 && position < s.number[ROPE_POSITIONS];
    const T *x = (const T *)operand_at(b, s.operand[0], s.count);
    const W *angles = (const W *)s.operand[2].at + (known ? (int64_t)position * turned : 0);
    stage_writer y(b, s.operand[STAGE_INPUTS], s.count);
    for (int i = threadIdx.x; i < s.number[ROPE_HEADS] * each; i += STAGE_THREADS) {
        int head = i / each, item = i - head * each, base = head * dim;
        bool turns = item < pairs, interleaved = s.number[ROPE_INTERLEAVED];
        int one = base + (!turns ? pairs + item : interleaved ? 2 * item : item);
        int other = !turns ? one : interleaved ? one + 1 : one + pairs;
        T a = x[one], c = x[other];
        W cosine = angles[turns ? item : 0], sine = angles[turns ? pairs + item : 0];
        float u = to_float(a), v = to_float(c), cos = known ? to_float(cosine) : 0, sin = known ? to_float(sine) : 0;
        if (s.number[ROPE_INVERSE]) sin = -sin;
        y(one, turns ? u * cos - v * sin : u);
        if (turns) y(other, v * cos + u * sin);
    }
}

// Operands: x, position, table; y, of x's dtype.
__device__ __forceinline__ void stage_rope(const stage &s, stage_block &b)
{
    with_type(s.operand[0].dtype, [&](auto t) {
        using T = decltype(t);
        if (s.operand[2].dtype == INGOT_F32)
            turn_row<T, float>(s, b);
        else
            turn_row<T, T>(s, b);
    });
}

__device__ __forceinline__ void stage_rope_ahead(const stage &s, const stage_block &b, int thread)
{
    int position = integer(b, s.operand[1]), row = s.number[ROPE_TURNED] * size_of(s.operand[2].dtype);
    int line = thread * 128;
    if (position >= 0 && position < s.number[ROPE_POSITIONS] && line < row)
        fetch_ahead((const char *)s.operand[2].at + (int64_t)position * row + line);
}

#endif
