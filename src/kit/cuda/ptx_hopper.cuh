// The one room of inline PTX, part two: instructions of sm_90 (barriers in shared memory, the copy engine) and of sm_90a
// (products of warp groups). See ptx.cuh.
#ifndef KIT_CUDA_PTX_HOPPER_CUH
#define KIT_CUDA_PTX_HOPPER_CUH

#include "kit/cuda/ptx.cuh"

#include <cuda.h>
#include <cuda_fp16.h>
#include <type_traits>

#if !defined __CUDA_ARCH__ || __CUDA_ARCH__ >= 900

// ---- barriers in shared memory ----

__device__ __forceinline__ void mbarrier_init(uint64_t *barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// Initialised barriers are seen by the copy engine.
__device__ __forceinline__ void fence_mbarrier_init()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void mbarrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive_expect_tx(uint64_t *barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}
// Whether the phase of this parity has ended; false also when the hardware is tired of waiting.
__device__ __forceinline__ bool mbarrier_try_wait(uint64_t *barrier, unsigned parity)
{
    unsigned passed;
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(passed)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
    return passed;
}

// ---- the copy engine: coordinates from the dim that is contiguous on ----

__device__ __forceinline__ void tma_load_4d(void *to, const CUtensorMap *map, uint64_t *barrier, int x, int y, int z,
                                            int w)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
                 "[%1, {%3, %4, %5, %6}], [%2];" ::"r"(shared_address(to)),
                 "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z), "r"(w)
                 : "memory");
}
__device__ __forceinline__ void tma_store_4d(const CUtensorMap *map, const void *from, int x, int y, int z, int w)
{
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
                 "r"(shared_address(from)), "r"(x), "r"(y), "r"(z), "r"(w)
                 : "memory");
}
// Plain bytes, a multiple of 16, both ends at multiples of 16.
__device__ __forceinline__ void bulk_load(void *to, const void *from, int bytes, uint64_t *barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}
__device__ __forceinline__ void bulk_store(void *to, const void *from, int bytes)
{
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared_address(from)),
                 "r"(bytes)
                 : "memory");
}
__device__ __forceinline__ void bulk_add_f32(float *to, const float *from, int bytes)
{
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
                 "r"(shared_address(from)), "r"(bytes)
                 : "memory");
}
// Of this thread's stores and sums.
__device__ __forceinline__ void bulk_commit()
{
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// What they read has been read; what they write has been written.
__device__ __forceinline__ void bulk_wait_read()
{
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
__device__ __forceinline__ void bulk_wait()
{
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// What ordinary instructions wrote, before the copy engine or products read it: to any memory, to shared memory.
__device__ __forceinline__ void fence_proxy_async()
{
    asm volatile("fence.proxy.async;" ::: "memory");
}
__device__ __forceinline__ void fence_proxy_async_shared()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Stores what ldmatrix_x4 loads.
__device__ __forceinline__ void stmatrix_x4(void *row, const uint32_t (&r)[4])
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(shared_address(row)), "r"(r[0]),
                 "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
}

#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// ---- warp groups ----

// Registers of each thread of this warp, which all of its warp group ask for.
template <int REGISTERS> __device__ __forceinline__ void setmaxnreg_inc()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS> __device__ __forceinline__ void setmaxnreg_dec()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

__device__ __forceinline__ void wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int LEFT> __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

#define WGMMA_QUAD(as, q) as(q[0]), as(q[1]), as(q[2]), as(q[3])
#define WGMMA_EIGHT(as, k)                                                                                             \
    WGMMA_QUAD(as, y[k]), WGMMA_QUAD(as, y[k + 1]), WGMMA_QUAD(as, y[k + 2]), WGMMA_QUAD(as, y[k + 3]),                \
        WGMMA_QUAD(as, y[k + 4]), WGMMA_QUAD(as, y[k + 5]), WGMMA_QUAD(as, y[k + 6]), WGMMA_QUAD(as, y[k + 7])
#define WGMMA_32                                                                                                       \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"   \
    "%30,%31"
#define WGMMA_64                                                                                                       \
    WGMMA_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,"   \
             "%57,%58,%59,%60,%61,%62,%63"
#define WGMMA_48 WGMMA_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define WGMMA_FOUR(as, k)                                                                                              \
    WGMMA_QUAD(as, y[k]), WGMMA_QUAD(as, y[k + 1]), WGMMA_QUAD(as, y[k + 2]), WGMMA_QUAD(as, y[k + 3])

// The instruction by what differs: the sums read or only written ("+f" with "1", "=f" with "0"), the factors' dtype, the width.
#define WGMMA_WIDTHS(instruction, as, adds, type)                                                                      \
    if constexpr (N == 8)                                                                                              \
        instruction("64", WGMMA_32, type, adds, "%32", "%33", "%34", "%35", "%36", "%37", WGMMA_EIGHT(as, 0));         \
    else if constexpr (N == 12)                                                                                        \
        instruction("96", WGMMA_48, type, adds, "%48", "%49", "%50", "%51", "%52", "%53", WGMMA_EIGHT(as, 0),          \
                    WGMMA_FOUR(as, 8));                                                                                \
    else                                                                                                               \
        instruction("128", WGMMA_64, type, adds, "%64", "%65", "%66", "%67", "%68", "%69", WGMMA_EIGHT(as, 0),         \
                    WGMMA_EIGHT(as, 8))
#define WGMMA(instruction)                                                                                             \
    static_assert(N == 8 || N == 12 || N == 16);                                                                       \
    if constexpr (std::is_same_v<T, __half> && ADDS) {                                                                 \
        WGMMA_WIDTHS(instruction, "+f", "1", "f16");                                                                   \
    } else if constexpr (std::is_same_v<T, __half>) {                                                                  \
        WGMMA_WIDTHS(instruction, "=f", "0", "f16");                                                                   \
    } else if constexpr (ADDS) {                                                                                       \
        WGMMA_WIDTHS(instruction, "+f", "1", "bf16");                                                                  \
    } else {                                                                                                           \
        WGMMA_WIDTHS(instruction, "=f", "0", "bf16");                                                                  \
    }

// y (64 x 8 N) = left right, 16 deep, or y += where it ADDS: both as descriptors of shared memory, by rows of y's rows and
// columns, or, COLUMNS, by rows that are summed over. y's registers are not read where it does not add.
#define WGMMA_SHARED(columns, names, type, adds, i0, i1, i2, i3, i4, i5, ...)                                          \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type " {" names "}, " i0 ", " i1      \
                 ", " adds ", 1, 1, " i2 ", " i2 ";"                                                                   \
                 : __VA_ARGS__                                                                                         \
                 : "l"(left), "l"(right), "n"((int)COLUMNS))
template <typename T, bool ADDS, bool COLUMNS = false, int N>
__device__ __forceinline__ void wgmma_shared(float (&y)[N][4], uint64_t left, uint64_t right)
{
    WGMMA(WGMMA_SHARED)
}

// The same of a left side in registers; COLUMNS is of the right side alone.
#define WGMMA_REGISTERS(columns, names, type, adds, i0, i1, i2, i3, i4, i5, ...)                                       \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type " {" names "}, {" i0 "," i1      \
                 "," i2 "," i3 "}, " i4 ", " adds ", 1, 1, " i5 ";"                                                    \
                 : __VA_ARGS__                                                                                         \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(right), "n"((int)COLUMNS))
template <typename T, bool ADDS, bool COLUMNS, int N>
__device__ __forceinline__ void wgmma_registers(float (&y)[N][4], const uint32_t (&a)[4], uint64_t right)
{
    WGMMA(WGMMA_REGISTERS)
}

#endif

#endif
