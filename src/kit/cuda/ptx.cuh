// The one room of inline PTX, part one: instructions of sm_80, each a function named for what it does (PTX ISA, chapter
// "Instruction Set"). Those of sm_90 are in ptx_hopper.cuh. What is built of them (tiles, pipelines) stands elsewhere.
//
// No other .cu or .cuh file writes asm(..): so its kernels can also be compiled against functions of the same names that do
// the same on a CPU, which is how they are tested where there is no GPU. A header of this name found earlier takes its place.
//
//     cp_async_16(tile + threadIdx.x * 8, from + threadIdx.x * 8, true);
//     cp_async_commit();
//     cp_async_wait<0>();
#ifndef KIT_CUDA_PTX_CUH
#define KIT_CUDA_PTX_CUH

#include <stdint.h>

// ---- shared memory ----

// Where in its block's shared memory a thing lies.
__device__ __forceinline__ unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

// 16 bytes from global to shared memory, without the threads' registers and L1. The place is read and written by
// nobody until it is waited for.
__device__ __forceinline__ void cp_async_16_at(unsigned to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
// Zeros when not `valid`.
__device__ __forceinline__ void cp_async_16(void *to, const void *from, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void cp_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until at most LEFT of this thread's groups are on their way.
template <int LEFT> __device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// Four 8 x 8 matrices of 16-bit numbers; lane l gives the row l % 8 of matrix l / 8, and gets of each matrix columns
// l % 4 * 2 and the next one of row l / 4; transposed: rows l % 4 * 2 and the next one of column l / 4.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)));
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)));
}

// ---- tensor cores: d += a b, a by rows, b by columns ----

__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// Of float32 numbers of which 10 bits of the mantissa are looked at.
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// ---- arithmetic ----

// To 10 bits of mantissa, the nearest, ties away from zero.
__device__ __forceinline__ uint32_t round_tf32(float x)
{
    uint32_t y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return y;
}

// 2^x: 2 units in the last place, and what would be denormal is 0.
__device__ __forceinline__ float exp2_approx(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// ---- global memory that other blocks read or write ----

__device__ __forceinline__ void prefetch_l2(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

// In one piece, and in no order with other accesses.
__device__ __forceinline__ void store_relaxed(void *at, unsigned word)
{
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(at), "r"(word) : "memory");
}
__device__ __forceinline__ void store_relaxed(void *at, unsigned long long word)
{
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(at), "l"(word) : "memory");
}
// 16 bytes; only each 4 of them in one piece.
__device__ __forceinline__ uint4 load_relaxed_16(const void *at)
{
    uint4 w;
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(w.x), "=r"(w.y), "=r"(w.z), "=r"(w.w)
                 : "l"(at)
                 : "memory");
    return w;
}

// Who acquires a number sees what had been written before it was released.
__device__ __forceinline__ int load_acquire(const int *at)
{
    int v;
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
    return v;
}
__device__ __forceinline__ unsigned load_acquire(const unsigned *at)
{
    unsigned v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
    return v;
}
__device__ __forceinline__ void store_release(int *at, int v)
{
    asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(at), "r"(v) : "memory");
}
__device__ __forceinline__ void red_release_add(unsigned *at, unsigned v)
{
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(at), "r"(v) : "memory");
}

// ---- threads of a block ----

// `threads` threads meet at one of the 16 barriers that the hardware numbers; 0 is __syncthreads's.
__device__ __forceinline__ void bar_sync(int number, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
// A count that the compiler knows takes no register.
template <int THREADS> __device__ __forceinline__ void bar_sync(int number)
{
    asm volatile("bar.sync %0, %1;" ::"r"(number), "n"(THREADS) : "memory");
}
// Counts this warp there without waiting.
__device__ __forceinline__ void bar_arrive(int number, int threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// ---- kernels that follow each other: nothing before sm_90, where one begins when the last has ended ----

__device__ __forceinline__ void launch_next()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_for_writers()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// ---- what the compiler is told; no instruction ----

// The number is made before this place and read behind it: nothing that the compiler knows of it reaches across.
__device__ __forceinline__ void pin_register(float &x)
{
    asm volatile("" : "+f"(x)::"memory");
}
__device__ __forceinline__ void pin_register(uint32_t &x)
{
    asm volatile("" : "+r"(x)::"memory");
}
template <typename T> __device__ __forceinline__ void pin_register(T *&x)
{
    asm volatile("" : "+l"(x)::"memory");
}

#endif
