// What CUDA kernels are written with: elements as floats whatever their dtype, 16 bytes at a time, sums over warps and
// blocks in a fixed order.
//
//     template <typename T> __global__ void twice(T *y, const T *x, int64_t n)
//     {
//         for (CUDA_EACH(i, n)) y[i] = to<T>(2 * to_float(x[i]));
//     }
//     by_dtype(s->in[0].dtype, [&](auto t) { twice<decltype(t)><<<...>>>(...); });
#ifndef KIT_CUDA_VALUES_CUH
#define KIT_CUDA_VALUES_CUH

#include "kit/cuda/cuda.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef __nv_bfloat16 bf16;
typedef __half f16;

__device__ __forceinline__ float to_float(float x)
{
    return x;
}
__device__ __forceinline__ float to_float(bf16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ float to_float(f16 x)
{
    return __half2float(x);
}

template <typename T> __device__ __forceinline__ T to(float x);
template <> __device__ __forceinline__ float to<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ bf16 to<bf16>(float x)
{
    return __float2bfloat16_rn(x);
}
template <> __device__ __forceinline__ f16 to<f16>(float x)
{
    return __float2half_rn(x);
}

// Elements that travel together: 16 bytes, or fewer where rows do not allow it.
template <typename T, int N> struct alignas(N * sizeof(T) > 16 ? 16 : N * sizeof(T)) pack {
    T at[N];
};

template <typename T> constexpr int WIDE = 16 / sizeof(T);

template <int N, typename T> __device__ __forceinline__ pack<T, N> load_pack(const T *p)
{
    return *reinterpret_cast<const pack<T, N> *>(p);
}

template <int N, typename T> __device__ __forceinline__ void store_pack(T *p, const pack<T, N> &v)
{
    *reinterpret_cast<pack<T, N> *>(p) = v;
}

// Weights beside values of T: of T as well, or float32 masters.
struct weights {
    const void *at;
    bool wide; // float32
};

static inline weights weights_of(const tensor *t)
{
    return {t->data, t->dtype == INGOT_F32};
}

template <typename T, int N> __device__ __forceinline__ void load_weights(float (&out)[N], weights w, int64_t from)
{
    if (w.wide) {
        pack<float, N> v = load_pack<N>((const float *)w.at + from);
#pragma unroll
        for (int i = 0; i < N; i++) out[i] = v.at[i];
    } else {
        pack<T, N> v = load_pack<N>((const T *)w.at + from);
#pragma unroll
        for (int i = 0; i < N; i++) out[i] = to_float(v.at[i]);
    }
}

struct add_floats {
    static __device__ float none()
    {
        return 0;
    }
    static __device__ float join(float a, float b)
    {
        return a + b;
    }
};

struct max_floats {
    static __device__ float none()
    {
        return -INFINITY;
    }
    static __device__ float join(float a, float b)
    {
        return a > b || a != a ? a : b; // NaN stays
    }
};

template <typename OP> __device__ __forceinline__ float warp_join(float v)
{
#pragma unroll
    for (int offset = 16; offset; offset /= 2) v = OP::join(v, __shfl_xor_sync(0xffffffffu, v, offset));
    return v;
}

// Over the THREADS threads of a block, a multiple of 32; every thread gets the result. All of them must call.
template <typename OP, int THREADS> __device__ __forceinline__ float group_join(float v)
{
    v = warp_join<OP>(v);
    if constexpr (THREADS > 32) {
        __shared__ float part[THREADS / 32];
        __syncthreads(); // of the call before
        if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
        __syncthreads();
        v = part[0];
#pragma unroll
        for (int i = 1; i < THREADS / 32; i++) v = OP::join(v, part[i]);
    }
    return v;
}

template <int THREADS> __device__ __forceinline__ float group_sum(float v)
{
    return group_join<add_floats, THREADS>(v);
}

// A launch after the first of a step, of a kernel that waits for its inputs: it may begin while the one before it ends.
template <typename... IN, typename... GIVEN>
static void launch_waiting(void (*kernel)(IN...), dim3 blocks, dim3 threads, size_t bytes, const queue *q,
                           GIVEN... given)
{
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t how = {};
    how.gridDim = blocks, how.blockDim = threads, how.dynamicSmemBytes = bytes, how.stream = q->stream;
    how.attrs = &early, how.numAttrs = q->caps->overlap ? 1 : 0;
    cudaLaunchKernelEx(&how, kernel, (IN)given...);
}

// Calls f with a value of the dtype's type: float32, bfloat16 and float16 are what kernels take.
template <typename F> void by_dtype(ingot_dtype d, F f)
{
    if (d == INGOT_BF16)
        f(bf16());
    else if (d == INGOT_F16)
        f(f16());
    else
        f(float());
}

static inline bool cuda_float(ingot_dtype d)
{
    return d == INGOT_F32 || d == INGOT_BF16 || d == INGOT_F16;
}

// Float inputs and outputs are all of the dtype of input `main`, or float32.
static inline bool cuda_match_like(const node *n, int main)
{
    ingot_dtype d = n->in[main]->dtype;
    if (!cuda_float(d)) return false;
    for (int i = 0; i < n->inputs; i++)
        if (n->in[i] && dtype_is_float(n->in[i]->dtype) && n->in[i]->dtype != d && n->in[i]->dtype != INGOT_F32)
            return false;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i] && dtype_is_float(n->out[i]->dtype) && n->out[i]->dtype != d && n->out[i]->dtype != INGOT_F32)
            return false;
    return true;
}

static inline bool cuda_match_first(const node *n, const device_caps *)
{
    return cuda_match_like(n, 0);
}

#endif
