// Copies of whole tiles between global and shared memory by the copy engine of sm_90 (TMA): one thread asks for a box, a barrier
// in shared memory counts the bytes that have come. What lies beyond a tensor is read as zeros and not written.
//
// A box is rows of 64 columns of 16-bit numbers, placed as tile_at<64> places them: a panel as wgmma.cuh reads it. Its place
// in shared memory begins at a multiple of 1024 bytes.
//
//     if (threadIdx.x == 0) mbarrier_init(&full, 1), fence_mbarrier_init();
//     __syncthreads();
//     if (threadIdx.x == 0) mbarrier_arrive_expect_tx(&full, 64 * 128),
//                            tma_load_4d(tile, &map, &full, column, head, token, batch);
//     barrier_wait(&full, 0); // 0, then 1, then 0, ..: which time this barrier is waited for
#ifndef KIT_CUDA_TMA_CUH
#define KIT_CUDA_TMA_CUH

#include "kit/cuda/mma.cuh"
#include "kit/cuda/ptx_hopper.cuh"

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

// A barrier is passed when as many threads have arrived as it was initialised for and the bytes that were expected have come;
// then it begins anew.
__device__ __forceinline__ void barrier_wait(uint64_t *barrier, unsigned parity)
{
    while (!mbarrier_try_wait(barrier, parity))
        ;
}

// ROWS rows of WIDTH columns, as panels.
template <int ROWS, int WIDTH, typename T>
__device__ __forceinline__ void copy_panels(T *tile, const CUtensorMap &map, uint64_t *barrier, int head, int row,
                                            int batch)
{
#pragma unroll
    for (int p = 0; p < WIDTH / 64; p++) tma_load_4d(tile + p * ROWS * 64, &map, barrier, p * 64, head, row, batch);
}

#endif
#endif
