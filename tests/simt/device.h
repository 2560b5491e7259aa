// What nvcc knows and a C++ compiler does not: included before everything in device code that is compiled for the CPU.
// Only what this project's kernels use; more is a line each.
#ifndef SIMT_DEVICE_H
#define SIMT_DEVICE_H

#include "simt.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <cublasLt.h>
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <type_traits>
#include <utility>

// From here on: CUDA's own headers would take it for nvcc. Code of all architectures; which of it runs is SIMT_ARCH's.
#define __CUDACC__
#define __CUDA_ARCH__ 900
#define __CUDA_ARCH_FEAT_SM90_ALL
#undef __shared__
#define __shared__ static thread_local
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __forceinline__
#define __forceinline__ inline
#define __expf          expf // the C library has names like this for itself
#define __logf          logf
#define __sinf          sinf
#define __cosf          cosf

namespace simt
{

// Of the runtime: the work is done now, or is a node of the graph that the stream is captured to.
void enqueue(cudaStream_t stream, std::function<void()> work, bool kernel);
void next_begins_early(cudaStream_t stream); // where it is captured
bool may_launch(const launch &l);            // or an error for cudaGetLastError

inline extent to_extent(dim3 d)
{
    return {d.x, d.y, d.z};
}

// kernel<<<grid, block, bytes, stream>>>(arguments) is, after translate.sh, start("kernel", grid, ..)([=](auto... a) { .. })(arguments).
struct starter {
    launch how;
    cudaStream_t stream;

    template <typename KERNEL> auto operator()(KERNEL kernel) const
    {
        return [how = how, stream = stream, kernel](auto... arguments) {
            if (!may_launch(how)) return;
            enqueue(
                stream, [=] { run(how, [&] { kernel(arguments...); }); }, true);
        };
    }
};

inline starter start(const char *name, dim3 grid, dim3 block, size_t bytes = 0, cudaStream_t stream = nullptr)
{
    return {{to_extent(grid), to_extent(block), bytes, name}, stream};
}

// A call of a kernel whose arguments are given by their addresses, as cudaLaunchKernel has them.
template <typename... P, size_t... I>
std::function<void()> bind_each(void (*kernel)(P...), void **arguments, std::index_sequence<I...>)
{
    return [=, ... given = *static_cast<std::remove_cv_t<P> *>(arguments[I])] { kernel(given...); };
}
template <typename... P> std::function<void()> bind(void (*kernel)(P...), void **arguments)
{
    return bind_each(kernel, arguments, std::index_sequence_for<P...>());
}

// What each lane gives and gets in a collective of its warp.
template <typename T> struct exchange {
    T value, got;
    int from;
};

template <typename T> T from_lane(unsigned mask, T value, int lane)
{
    exchange<T> mine = {value, value, lane};
    together(mask, &mine, [](void *const *lanes) {
        for (int i = 0; i < 32; i++) {
            auto *e = static_cast<exchange<T> *>(lanes[i]);
            if (e && lanes[e->from]) e->got = static_cast<exchange<T> *>(lanes[e->from])->value;
        }
    });
    return mine.got;
}

// Of all lanes one value, joined in their order.
template <typename T, typename JOIN> T of_warp(unsigned mask, T value, JOIN)
{
    exchange<T> mine = {value, value, 0};
    together(mask, &mine, [](void *const *lanes) {
        T all{};
        bool first = true;
        for (int i = 0; i < 32; i++)
            if (lanes[i]) {
                T v = static_cast<exchange<T> *>(lanes[i])->value;
                all = first ? v : JOIN()(all, v);
                first = false;
            }
        for (int i = 0; i < 32; i++)
            if (lanes[i]) static_cast<exchange<T> *>(lanes[i])->got = all;
    });
    return mine.got;
}

struct smaller {
    template <typename T> T operator()(T a, T b) const
    {
        return std::min(a, b);
    }
};
struct larger {
    template <typename T> T operator()(T a, T b) const
    {
        return std::max(a, b);
    }
};

} // namespace simt

inline void __syncthreads()
{
    simt::wait_for_block();
}
inline int __syncthreads_or(int value)
{
    __shared__ int any;
    __syncthreads(); // of the call before
    any = 0;
    __syncthreads();
    if (value) any = 1;
    __syncthreads();
    return any;
}
inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    simt::wait_for_warp(mask);
}
[[noreturn]] inline void __trap()
{
    __builtin_trap();
}
inline void __threadfence()
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
inline void __threadfence_system()
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
template <typename T> T __shfl_sync(unsigned mask, T v, int lane, int width = 32)
{
    int first = simt::here().lane() / width * width;
    return simt::from_lane(mask, v, first + lane % width);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T v, int bits, int = 32)
{
    return simt::from_lane(mask, v, simt::here().lane() ^ bits);
}
template <typename T> T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32)
{
    int lane = simt::here().lane(), from = lane + (int)by;
    return simt::from_lane(mask, v, from / width == lane / width ? from : lane);
}
template <typename T> T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32)
{
    int lane = simt::here().lane(), from = lane - (int)by;
    return simt::from_lane(mask, v, lane % width >= (int)by ? from : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    return simt::of_warp(mask, predicate ? 1u << simt::here().lane() : 0u, std::bit_or<unsigned>());
}
inline int __any_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, !predicate) == 0;
}
template <typename T> T __reduce_min_sync(unsigned mask, T v)
{
    return simt::of_warp(mask, v, simt::smaller());
}
template <typename T> T __reduce_max_sync(unsigned mask, T v)
{
    return simt::of_warp(mask, v, simt::larger());
}

template <typename T> T __ldg(const T *p)
{
    return *p;
}
template <typename T> T __ldcg(const T *p)
{
    return *p;
}
inline unsigned __float_as_uint(float x)
{
    unsigned u;
    memcpy(&u, &x, sizeof u);
    return u;
}
inline float __uint_as_float(unsigned u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
inline int __float_as_int(float x)
{
    return (int)__float_as_uint(x);
}
inline float __int_as_float(int u)
{
    return __uint_as_float((unsigned)u);
}
inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((uint64_t)a * b >> 32);
}
inline int __ffs(int v)
{
    return __builtin_ffs(v);
}
inline int __popc(unsigned v)
{
    return __builtin_popcount(v);
}
inline int __clz(int v)
{
    return v ? __builtin_clz((unsigned)v) : 32;
}
template <typename A, typename B> std::common_type_t<A, B> min(A a, B b)
{
    return (std::common_type_t<A, B>)a < (std::common_type_t<A, B>)b ? a : b;
}
template <typename A, typename B> std::common_type_t<A, B> max(A a, B b)
{
    return (std::common_type_t<A, B>)a > (std::common_type_t<A, B>)b ? a : b;
}
inline float __fdividef(float a, float b)
{
    return a / b;
}
inline float rsqrtf(float x)
{
    return 1 / sqrtf(x);
}
inline size_t __cvta_generic_to_shared(const void *p) // its low bits are those of the place in shared memory
{
    return (size_t)p;
}

template <typename T> T atomicAdd(T *at, T v)
{
    return __atomic_fetch_add(at, v, __ATOMIC_RELAXED);
}
template <typename T, typename V> T atomicAdd(T *at, V v)
{
    return __atomic_fetch_add(at, (T)v, __ATOMIC_RELAXED);
}
template <typename T, typename V, typename JOIN> T simt_atomic(T *at, V v, JOIN join)
{
    T old = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(at, &old, join(old, (T)v), true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    return old;
}
template <typename T, typename V> T atomicMin(T *at, V v)
{
    return simt_atomic(at, v, simt::smaller());
}
template <typename T, typename V> T atomicMax(T *at, V v)
{
    return simt_atomic(at, v, simt::larger());
}
template <typename T, typename V> T atomicExch(T *at, V v)
{
    return __atomic_exchange_n(at, (T)v, __ATOMIC_RELAXED);
}
inline unsigned atomicInc(unsigned *at, unsigned last) // back to 0 behind it
{
    return simt_atomic(at, last, [](unsigned old, unsigned end) { return old >= end ? 0 : old + 1; });
}

// The runtime's own template hands on addresses.
#define cudaLaunchKernelEx simt_launch_kernel
template <typename... P, typename... A>
cudaError_t simt_launch_kernel(const cudaLaunchConfig_t *how, void (*kernel)(P...), A &&...arguments)
{
    auto k = simt::start("a kernel", how->gridDim, how->blockDim, how->dynamicSmemBytes, how->stream);
    for (unsigned i = 0; i < how->numAttrs; i++)
        if (how->attrs[i].id == cudaLaunchAttributeClusterDimension) k.how.cluster = how->attrs[i].val.clusterDim.z;
    for (unsigned i = 0; i < how->numAttrs; i++)
        if (how->attrs[i].id == cudaLaunchAttributeProgrammaticStreamSerialization)
            simt::next_begins_early(how->stream);
    k(kernel)(static_cast<P>(arguments)...);
    return cudaSuccess;
}
template <typename... P> cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute what, int value)
{
    return cudaFuncSetAttribute((const void *)kernel, what, value);
}
template <typename... P>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void (*kernel)(P...), int threads, size_t bytes)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, (const void *)kernel, threads, bytes);
}

#endif
