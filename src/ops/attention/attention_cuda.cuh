// What the attention kernels of CUDA share: which queries see which keys, and a tensor (B, T, heads, D) by heads.
#ifndef OPS_ATTENTION_ATTENTION_CUDA_CUH
#define OPS_ATTENTION_ATTENTION_CUDA_CUH

#include "kit/cuda/mma.cuh"
#include "ops/attention/attention.h"

struct heads_of {
    const void *at;
    int64_t batch, token, head; // strides in elements
    bool wide;                  // every row begins at 16 bytes, in whole chunks of 8 elements
};

static inline heads_of heads_of_tensor(const tensor *t)
{
    const int64_t *stride = t->stride;
    bool wide = t->shape.dim[3] % 8 == 0 && t->byte_offset % 16 == 0;
    for (int i = 0; i < 3; i++) wide &= stride[i] % 8 == 0 || t->shape.dim[i] == 1;
    return {t->data, stride[0], stride[1], stride[2], wide};
}

struct attention_numbers {
    int tokens, heads, kv_heads, group, dim;
    float scale;
    bool causal;
    const int32_t *starts; // (B, T) or NULL
};

static inline attention_numbers attention_numbers_of(const step *s, int q, int starts)
{
    attention_shape a = attention_shape_of(s, q, starts);
    return {(int)a.tokens, (int)a.heads, (int)a.kv_heads, (int)a.group, (int)a.dim, a.scale, a.causal, a.starts};
}

template <typename T>
__device__ __forceinline__ rows_in<T> rows_of_head(const heads_of &v, const attention_numbers &a, int batch, int head)
{
    return {(const T *)v.at + batch * v.batch + head * v.head, v.token, a.tokens, a.dim, v.wide};
}

// The first key that a query sees.
__device__ __forceinline__ int first_key(const attention_numbers &a, int batch, int query)
{
    if (!a.starts || query >= a.tokens) return 0;
    int start = a.starts[(int64_t)batch * a.tokens + query];
    return start < 0 ? 0 : start < query ? start : query;
}

// Of the queries [first, last): the smallest and the largest first key.
struct key_range {
    int low, high;
};

template <int THREADS>
__device__ __forceinline__ key_range first_keys(const attention_numbers &a, int batch, int first, int last)
{
    if (!a.starts) return {0, 0};
    __shared__ int low, high;
    if (threadIdx.x == 0) low = a.tokens, high = 0;
    __syncthreads();
    for (int i = first + (int)threadIdx.x; i < last && i < a.tokens; i += THREADS) {
        int key = first_key(a, batch, i);
        atomicMin(&low, key);
        atomicMax(&high, key);
    }
    __syncthreads();
    return {low, high};
}

// 2^x by the hardware's own instruction: 2 units in the last place, and what would be denormal is 0.
__device__ __forceinline__ float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

constexpr float LOG2_E = 1.4426950408889634f;

#endif
