// Rotary positions of one row inside a persistent launch: every block makes them for itself. Queries and keys of
// one position are turned together.
#ifndef OPS_ROPE_ROPE_STAGE_CUDA_CUH
#define OPS_ROPE_ROPE_STAGE_CUDA_CUH

#include "kit/cuda/stage.cuh"
#include "ops/rope/rope_stage_cuda.h"

// One of the values that are turned: where it is read and written.
template <typename T> struct rope_value {
    const T *x;
    T *y, *global;
    stage_slice slice; // that this block writes to global memory

    __device__ __forceinline__ rope_value(const stage_block &b, const stage_operand &from, const stage_operand &to,
                                          int n)
        : x((const T *)operand_at(b, from)), y((T *)(b.memory + to.local)), global((T *)to.at), slice(slice_of(b, n))
    {
    }
    __device__ __forceinline__ void put(int i, float v) const
    {
        T t = ::to<T>(v);
        y[i] = t;
        if (i >= slice.first && i < slice.end) global[i] = t;
    }
};

template <typename T, typename W>
__device__ __forceinline__ void turn_row(const stage &s, const stage_block &b, const rope_value<T> &r, int heads,
                                         int thread)
{
    int dim = s.number[ROPE_DIM], turned = s.number[ROPE_TURNED], pairs = turned / 2, each = dim - pairs;
    int position = integer(b, s.operand[1]);
    bool known = position >= 0 && position < s.number[ROPE_POSITIONS], interleaved = s.number[ROPE_INTERLEAVED];
    const W *angles = (const W *)s.operand[2].at + (known ? (int64_t)position * turned : 0);
#pragma unroll 1
    for (int i = thread; i < heads * each; i += STAGE_THREADS / 2) {
        int head = quotient(i, each), item = i - head * each, base = head * dim;
        bool turns = item < pairs;
        int one = base + (!turns ? pairs + item : interleaved ? 2 * item : item);
        int other = !turns ? one : interleaved ? one + 1 : one + pairs;
        T a = r.x[one], c = r.x[other];
        W cosine = angles[turns ? item : 0], sine = angles[turns ? pairs + item : 0];
        float u = to_float(a), v = to_float(c), cos = known ? to_float(cosine) : 0, sin = known ? to_float(sine) : 0;
        if (s.number[ROPE_INVERSE]) sin = -sin;
        r.put(one, turns ? u * cos - v * sin : u);
        if (turns) r.put(other, v * cos + u * sin);
    }
}

// Half of the warps have the other value.
template <typename T, typename W> __device__ __forceinline__ void turn_rows(const stage &s, const stage_block &b)
{
    bool other = b.warp >= STAGE_WARPS / 2;
    int heads = s.number[other ? ROPE_MORE_HEADS : ROPE_HEADS], dim = s.number[ROPE_DIM];
    if (!heads) return;
    rope_value<T> r(b, s.operand[other ? ROPE_MORE : 0], s.operand[STAGE_INPUTS + other], heads * dim);
    turn_row<T, W>(s, b, r, heads, (int)threadIdx.x % (STAGE_THREADS / 2));
}

// Operands: x, position, table, and perhaps another x; their results, of x's dtype.
template <typename T> __device__ __forceinline__ void stage_rope(const stage &s, stage_block &b)
{
    if (s.operand[2].dtype == INGOT_F32)
        turn_rows<T, float>(s, b);
    else
        turn_rows<T, T>(s, b);
}

template <typename T> __device__ __forceinline__ void stage_rope_ahead(const stage &s, const stage_block &b, int thread)
{
    if (b.block != b.blocks - 1) return; // once for all
    int position = integer(b, s.operand[1]), row = s.number[ROPE_TURNED] * size_of(s.operand[2].dtype);
    int line = thread * 128;
    if (position >= 0 && position < s.number[ROPE_POSITIONS] && line < row)
        prefetch_l2((const char *)s.operand[2].at + (int64_t)position * row + line);
}

#endif
