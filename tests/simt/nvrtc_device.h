// Device code in texts: what CUDA C has beside C++, for pointwise kernels and those of applications. Light on purpose.
#ifndef SIMT_NVRTC_DEVICE_H
#define SIMT_NVRTC_DEVICE_H

#include "kernels.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static thread_local // one thread of the machine has a block

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct simt_place { // simt::place
    dim3 thread, block, block_extent, grid_extent;
};
extern "C" const simt::kernel_hooks *simt_hooks;
const simt::kernel_hooks *simt_hooks; // set when it is loaded

static inline const simt_place &simt_here()
{
    return *(const simt_place *)simt_hooks->here();
}
#define threadIdx (simt_here().thread)
#define blockIdx  (simt_here().block)
#define blockDim  (simt_here().block_extent)
#define gridDim   (simt_here().grid_extent)

static inline void __syncthreads()
{
    simt_hooks->wait_for_block();
}

template <class To, class From> static inline To simt_same_bits(From x)
{
    static_assert(sizeof(To) == sizeof(From));
    return __builtin_bit_cast(To, x);
}
static inline float __int_as_float(int x)
{
    return simt_same_bits<float>(x);
}
static inline float __uint_as_float(unsigned x)
{
    return simt_same_bits<float>(x);
}
static inline int __float_as_int(float x)
{
    return simt_same_bits<int>(x);
}
static inline unsigned __float_as_uint(float x)
{
    return simt_same_bits<unsigned>(x);
}

// Rounded to nearest, ties to even; a NaN stays one.
static inline unsigned short simt_bf16(float x)
{
    unsigned bits = __float_as_uint(x);
    if (x != x) return 0x7fff;
    return (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float simt_of_f16(unsigned short h)
{
    unsigned sign = (h & 0x8000u) << 16, rest = h & 0x7fffu;
    if (rest >= 0x7c00) return __uint_as_float(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    float size = rest >= 0x400 ? __uint_as_float((rest << 13) + (112u << 23)) : (float)rest * 0x1p-24f;
    return sign ? -size : size;
}

static inline unsigned short simt_f16(float x)
{
    unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return 0x7fff;
    if (size >= 0x477ff000) return (unsigned short)(sign | 0x7c00); // from 65520 on
    if (size < 0x38800000)                                          // below 2^-14: a multiple of 2^-24
        return (unsigned short)(sign | (unsigned)__builtin_rintf(__uint_as_float(size) * 0x1p24f));
    size += 0xfff + (size >> 13 & 1);
    return (unsigned short)(sign | ((size >> 13) - (112u << 10)));
}

#define SIMT_MATH(name)                                                                                                \
    static inline float name(float x)                                                                                  \
    {                                                                                                                  \
        return __builtin_##name##f(x);                                                                                 \
    }                                                                                                                  \
    static inline double name(double x)                                                                                \
    {                                                                                                                  \
        return __builtin_##name(x);                                                                                    \
    }                                                                                                                  \
    static inline float name##f(float x)                                                                               \
    {                                                                                                                  \
        return __builtin_##name##f(x);                                                                                 \
    }
SIMT_MATH(exp)
SIMT_MATH(log)
SIMT_MATH(sqrt)
SIMT_MATH(sin)
SIMT_MATH(cos)
SIMT_MATH(tanh)
SIMT_MATH(erf)
SIMT_MATH(floor)
SIMT_MATH(fabs)
static inline float rsqrt(float x)
{
    return 1 / sqrt(x);
}
static inline double rsqrt(double x)
{
    return 1 / sqrt(x);
}
static inline float rsqrtf(float x)
{
    return rsqrt(x);
}

// simt::kernel_call of a kernel and copies of its arguments.
template <class Body> struct simt_call : simt::kernel_call {
    Body body;
    explicit simt_call(Body b) : kernel_call{run_it, end_it}, body(b)
    {
    }
    static void run_it(simt::kernel_call *mine)
    {
        static_cast<simt_call *>(mine)->body();
    }
    static void end_it(simt::kernel_call *mine)
    {
        delete static_cast<simt_call *>(mine);
    }
};
template <class Body> simt::kernel_call *simt_held(Body body)
{
    return new simt_call<Body>(body);
}
template <class P> P simt_argument(void **&next)
{
    return *(P *)*next++;
}
// Braces put the copies in order.
template <class... P> simt::kernel_call *simt_bind(void (*kernel)(P...), void **next)
{
    struct taken {
        void **at;
    };
    auto body = [kernel]<class... Q>(Q... q) { return simt_held([=] { kernel(q...); }); };
    struct call {
        simt::kernel_call *made;
        call(decltype(body) &f, P... p) : made(f(p...))
        {
        }
    };
    return call{body, simt_argument<P>(next)...}.made;
}

#endif
