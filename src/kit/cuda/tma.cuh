// Copies of whole tiles between global and shared memory by the copy engine of sm_90 (TMA): one thread asks for a box, a barrier
// in shared memory counts the bytes that have come. What lies beyond a tensor is read as zeros and not written.
//
// A box is rows of 64 columns of 16-bit numbers, placed as tile_at<64> places them: a panel as wgmma.cuh reads it. Its place
// in shared memory begins at a multiple of 1024 bytes.
//
//     if (threadIdx.x == 0) barrier_begin(&full, 1), barriers_ready();
//     __syncthreads();
//     if (threadIdx.x == 0) barrier_expect(&full, 64 * 128), copy_box(tile, map, &full, column, head, token, batch);
//     barrier_wait(&full, 0); // 0, then 1, then 0, ..: which time this barrier is waited for
#ifndef KIT_CUDA_TMA_CUH
#define KIT_CUDA_TMA_CUH

#include "kit/cuda/mma.cuh"

#include <cuda.h>

// A tensor of four dims, the last one contiguous, by boxes of `rows` steps of dim 1 and 64 of dim 3; strides in elements. A map is
// an argument of its kernel: const __grid_constant__.
struct box_source {
    const void *at;
    int64_t dim[4], stride[3];
    bool half; // float16, else bfloat16
};

// Whether copies can read a tensor: every row at a multiple of 16 bytes.
static inline bool boxes_fit(const box_source &s)
{
    bool fit = (uintptr_t)s.at % 16 == 0 && s.dim[3] % 8 == 0;
    for (int i = 0; i < 3; i++) fit &= s.dim[i] == 1 || (s.stride[i] > 0 && s.stride[i] % 8 == 0);
    return fit;
}

// The driver's maker of maps is asked for by name: this module links no driver. False where there is none or it refuses.
static inline bool map_boxes(CUtensorMap *map, const box_source &s, int rows)
{
    using maker = decltype(&cuTensorMapEncodeTiled);
    void *make = nullptr;
    cudaDriverEntryPointQueryResult found;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &make, 12000, cudaEnableDefault, &found) ||
        found != cudaDriverEntryPointSuccess)
        return false;
    auto size = [&](int i) { return (cuuint64_t)s.dim[i]; };
    auto bytes = [&](int i) { return (cuuint64_t)(s.dim[i] == 1 ? 16 : s.stride[i] * 2); };
    cuuint64_t sizes[] = {size(3), size(2), size(1), size(0)}, strides[] = {bytes(2), bytes(1), bytes(0)};
    cuuint32_t box[] = {64, 1, (cuuint32_t)rows, 1}, every[] = {1, 1, 1, 1};
    return ((maker)make)(map, s.half ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4,
                         const_cast<void *>(s.at), sizes, strides, box, every, CU_TENSOR_MAP_INTERLEAVE_NONE,
                         CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                         CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

#if !defined __CUDA_ARCH__ || __CUDA_ARCH__ >= 900 // kernels that use these are empty elsewhere

// A barrier is passed when `arrivals` threads have arrived and the bytes that were expected have come; then it begins anew.
__device__ __forceinline__ void barrier_begin(uint64_t *barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// After the last barrier_begin, by the same thread, and before the block meets.
__device__ __forceinline__ void barriers_ready()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives, and announces bytes.
__device__ __forceinline__ void barrier_expect(uint64_t *barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}
__device__ __forceinline__ void barrier_wait(uint64_t *barrier, unsigned parity)
{
    unsigned passed = 0;
    while (!passed)
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n}"
                     : "=r"(passed)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
}

// The box that begins at (batch, row, head, column); for a tensor (B, T, heads, D).
__device__ __forceinline__ void copy_box(void *to, const CUtensorMap &map, uint64_t *barrier, int column, int head,
                                         int row, int batch)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
                 "[%1, {%3, %4, %5, %6}], [%2];" ::"r"(shared_address(to)),
                 "l"(&map), "r"(shared_address(barrier)), "r"(column), "r"(head), "r"(row), "r"(batch)
                 : "memory");
}
// ROWS rows of WIDTH columns, as panels.
template <int ROWS, int WIDTH, typename T>
__device__ __forceinline__ void copy_panels(T *tile, const CUtensorMap &map, uint64_t *barrier, int head, int row,
                                            int batch)
{
#pragma unroll
    for (int p = 0; p < WIDTH / 64; p++) copy_box(tile + p * ROWS * 64, map, barrier, p * 64, head, row, batch);
}

// The way back. The threads that wrote the box settle (settle_for_products) and meet first; then one thread stores it.
__device__ __forceinline__ void store_box(const CUtensorMap &map, const void *from, int column, int head, int row,
                                          int batch)
{
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
                 "r"(shared_address(from)), "r"(column), "r"(head), "r"(row), "r"(batch)
                 : "memory");
}
__device__ __forceinline__ void store_commit()
{
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// By the thread that stored: its boxes have been read and may be written again.
__device__ __forceinline__ void stores_read()
{
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
__device__ __forceinline__ void stores_done()
{
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// Plain bytes, a multiple of 16, both ends at multiples of 16.
__device__ __forceinline__ void copy_bytes(void *to, const void *from, int bytes, uint64_t *barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}
__device__ __forceinline__ void store_bytes(void *to, const void *from, int bytes)
{
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared_address(from)),
                 "r"(bytes)
                 : "memory");
}
// to += from, element by element, in memory.
__device__ __forceinline__ void add_bytes(float *to, const float *from, int bytes)
{
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
                 "r"(shared_address(from)), "r"(bytes)
                 : "memory");
}
// What ordinary instructions wrote, before the copy engine reads it.
__device__ __forceinline__ void settle_for_copies()
{
    asm volatile("fence.proxy.async;" ::: "memory");
}

// Counts in global memory, by which blocks wait for each other: who reads one sees what its writer had written before.
__device__ __forceinline__ int read_count(const int *at)
{
    int v;
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
    return v;
}
__device__ __forceinline__ void write_count(int *at, int v)
{
    asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(at), "r"(v) : "memory");
}

// `threads` threads of a block meet at one of the 16 barriers that the hardware numbers; 0 is __syncthreads's.
__device__ __forceinline__ void meet(int number, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
// Counts this warp there without waiting.
__device__ __forceinline__ void pass(int number, int threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

#endif
#endif
