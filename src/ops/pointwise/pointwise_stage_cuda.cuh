// A pointwise program over a block's slice of a row, inside a persistent launch: interpreted, since a thread has an element or
// two. The instructions lie in shared memory.
#ifndef OPS_POINTWISE_POINTWISE_STAGE_CUDA_CUH
#define OPS_POINTWISE_POINTWISE_STAGE_CUDA_CUH

#include "kit/cuda/stage.cuh"
#include "ops/pointwise/pointwise.h"

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

// number[0]: the first instruction, number[1]: how many, number[2 + o]: the slot of output o,
// number[6]: bit i: input i is one element for all.
__device__ __forceinline__ void stage_pointwise(const stage &s, stage_block &b)
{
    const stage_code *code = (const stage_code *)(b.memory + STAGE_AT_CODE) + s.number[0];
    stage_slice slice = slice_of(b, s.count);
    for (int c = slice.first + (int)threadIdx.x; c < slice.end; c += STAGE_THREADS) {
        float slot[STAGE_INPUTS + STAGE_CODE];
        for (int i = 0; i < s.inputs; i++) {
            const stage_operand &o = s.operand[i];
            slot[i] = element(operand_at(b, o, s.count), o.dtype, s.number[6] >> i & 1 ? 0 : c);
        }
        for (int i = 0; i < s.number[1]; i++)
            slot[s.inputs + i] = pw_run(code[i], slot[code[i].a], slot[code[i].b], slot[code[i].c]);
        for (int o = 0; o < s.outputs; o++)
            stage_writer(b, s.operand[STAGE_INPUTS + o], s.count)(c, slot[s.number[2 + o]]);
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
