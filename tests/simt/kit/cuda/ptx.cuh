// In place of src/kit/cuda/ptx.cuh where kernels are compiled for the CPU: functions of the same names that do what the PTX ISA
// says of the instructions. What may come late comes as late as it may (see asynchronous.h).
#ifndef KIT_CUDA_PTX_CUH
#define KIT_CUDA_PTX_CUH

#include "asynchronous.h"
#include "device.h"
#include "tensor_cores.h"

#include <cmath>
#include <cstring>
#include <cuda_runtime.h>

// ---- shared memory ----

// From the beginning of the block's dynamic shared memory: of that alone.
inline unsigned shared_address(const void *p)
{
    return simt::shared_offset(p);
}

inline void cp_async_16_at(unsigned to, const void *from)
{
    simt::copy_late(simt::shared_place(to), from, true);
}
inline void cp_async_16(void *to, const void *from, bool valid)
{
    simt::copy_late(to, from, valid);
}
inline void cp_async_commit()
{
    simt::copies_commit();
}
template <int LEFT> void cp_async_wait()
{
    simt::copies_wait(LEFT);
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void *row)
{
    simt::load_matrices(r, row, false);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row)
{
    simt::load_matrices(r, row, true);
}

// ---- tensor cores ----

inline void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    simt::multiply_add(d, a, b0, b1, simt::BF16);
}
inline void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    simt::multiply_add(d, a, b0, b1, simt::F16);
}
inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    simt::multiply_add(d, a, b[0], b[1], simt::TF32);
}

// ---- arithmetic ----

inline uint32_t round_tf32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x) return 0x7fffffff;
    return (bits & 0x7fffffff) == 0x7f800000 ? bits : (bits + 0x1000) & ~0x1fffu;
}

inline float exp2_approx(float x)
{
    float y = exp2f(x);
    return y < 1.17549435e-38f ? 0 : y; // NaN is not
}

// ---- global memory that other blocks read or write ----

inline void prefetch_l2(const void *)
{
}

inline void store_relaxed(void *at, unsigned word)
{
    __atomic_store_n(static_cast<unsigned *>(at), word, __ATOMIC_RELAXED);
}
inline void store_relaxed(void *at, unsigned long long word)
{
    __atomic_store_n(static_cast<unsigned long long *>(at), word, __ATOMIC_RELAXED);
}
inline uint4 load_relaxed_16(const void *at)
{
    auto *word = static_cast<const unsigned *>(at);
    uint4 w;
    simt::look_again(at);
    w.x = __atomic_load_n(word, __ATOMIC_RELAXED);
    w.y = __atomic_load_n(word + 1, __ATOMIC_RELAXED);
    w.z = __atomic_load_n(word + 2, __ATOMIC_RELAXED);
    w.w = __atomic_load_n(word + 3, __ATOMIC_RELAXED);
    return w;
}

inline int load_acquire(const int *at)
{
    simt::look_again(at);
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
inline unsigned load_acquire(const unsigned *at)
{
    simt::look_again(at);
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
inline void store_release(int *at, int v)
{
    __atomic_store_n(at, v, __ATOMIC_RELEASE);
}
inline void red_release_add(unsigned *at, unsigned v)
{
    __atomic_fetch_add(at, v, __ATOMIC_RELEASE);
}

// ---- threads of a block ----

inline void bar_sync(int number, int threads)
{
    simt::meet(number, threads, true);
}
template <int THREADS> void bar_sync(int number)
{
    simt::meet(number, THREADS, true);
}
inline void bar_arrive(int number, int threads)
{
    simt::meet(number, threads, false);
}

// ---- kernels that follow each other: a graph begins one early, up to its wait ----

inline void launch_next()
{
}
inline void wait_for_writers()
{
    simt::wait_for_grids_ahead();
}

// ---- what the compiler is told ----

inline void pin_register(float &)
{
}
inline void pin_register(uint32_t &)
{
}
template <typename T> inline void pin_register(T *&)
{
}

#endif
