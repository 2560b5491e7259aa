// A pointwise program over a block's slice of a row, inside a persistent launch: interpreted, since a thread has an element or
// two. The instructions lie in shared memory.
#ifndef OPS_POINTWISE_POINTWISE_STAGE_CUDA_CUH
#define OPS_POINTWISE_POINTWISE_STAGE_CUDA_CUH

#include "kit/cuda/stage.cuh"
#include "ops/pointwise/pointwise.h"
#include "ops/pointwise/pointwise_stage_cuda.h"

#define pw_if(c)              ((c) ? 1.0f : 0.0f)
#define pw_select(c, yes, no) ((c) ? (yes) : (no))
#define pw_abs(x)             fabsf(x)
#define pw_exp(x)             expf(x)
#define pw_log(x)             logf(x)
#define pw_sqrt(x)            sqrtf(x)
#define pw_rsqrt(x)           rsqrtf(x)
#define pw_sin(x)             sinf(x)
#define pw_cos(x)             cosf(x)
#define pw_tanh(x)            tanhf(x)
#define pw_sigmoid(x)         (1.0f / (1.0f + expf(-(x))))
#define pw_erf(x)             erff(x)
#define pw_floor(x)           floorf(x)
#define pw_largest            3.402823466e38f

// Out of line: two places call it, and what is seldom run need not lie between what is.
__device__ __forceinline__ float pw_run(stage_code i, float a, float b, float c)
{
    switch (i.code) {
    case PW_CONST: return i.value;
#define PW(code, name, arity, expression)                                                                              \
    case PW_##code:                                                                                                    \
        return expression;
#include "ops/pointwise/pointwise.def"
#undef PW
    default: return 0;
    }
}

// Up to two inputs and three instructions stay in registers.
__device__ __forceinline__ float pw_short(const stage_code *code, int inputs, int count, float x, float z)
{
    float first = 0, second = 0, third = 0;
    auto slot = [&](int i) {
        int r = i - inputs; // of results
        return i == 0 ? x : r < 0 ? z : r == 0 ? first : r == 1 ? second : third;
    };
#pragma unroll 1
    for (int i = 0; i < count; i++) {
        stage_code c = code[i];
        float v = pw_run(c, slot(c.a), slot(c.b), slot(c.c));
        first = i == 0 ? v : first;
        second = i == 1 ? v : second;
        third = i == 2 ? v : third;
    }
    return count == 1 ? first : count == 2 ? second : third;
}

template <typename T>
__device__ __forceinline__ float pw_input(const stage &s, const stage_block &b, int i, int c, stage_slice slice)
{
    const stage_operand &o = s.operand[i];
    return element<T>(operand_at(b, o, slice.first), o.dtype, s.number[POINTWISE_SCALARS] >> i & 1 ? 0 : c);
}

template <typename T> __device__ __forceinline__ void stage_pointwise(const stage &s, stage_block &b)
{
    const stage_code *code = (const stage_code *)(b.memory + STAGE_AT_CODE) + s.number[POINTWISE_FIRST];
    stage_slice slice = slice_of(b, s.count);
    int inputs = s.inputs, count = s.number[POINTWISE_COUNT], c = slice.first + (int)threadIdx.x;
    if (c >= slice.end) return;
    if (inputs <= 2 && count >= 1 && count <= 3 && s.outputs == 1 && s.number[POINTWISE_RESULT] == inputs + count - 1) {
        stage_writer<T> y(b, s.operand[STAGE_INPUTS], slice);
#pragma unroll 1
        for (; c < slice.end; c += STAGE_THREADS) {
            float x = pw_input<T>(s, b, 0, c, slice), z = inputs > 1 ? pw_input<T>(s, b, 1, c, slice) : 0;
            y(c, pw_short(code, inputs, count, x, z));
        }
        return;
    }
#pragma unroll 1
    for (; c < slice.end; c += STAGE_THREADS) {
        float slot[STAGE_INPUTS + STAGE_CODE];
#pragma unroll 1
        for (int i = 0; i < inputs; i++) slot[i] = pw_input<T>(s, b, i, c, slice);
#pragma unroll 1
        for (int i = 0; i < count; i++)
            slot[inputs + i] = pw_run(code[i], slot[code[i].a], slot[code[i].b], slot[code[i].c]);
#pragma unroll 1
        for (int o = 0; o < s.outputs; o++)
            stage_writer<T>(b, s.operand[STAGE_INPUTS + o], slice)(c, slot[s.number[POINTWISE_RESULT + o]]);
    }
}

#undef pw_if
#undef pw_select
#undef pw_abs
#undef pw_exp
#undef pw_log
#undef pw_sqrt
#undef pw_rsqrt
#undef pw_sin
#undef pw_cos
#undef pw_tanh
#undef pw_sigmoid
#undef pw_erf
#undef pw_floor
#undef pw_largest

#endif
