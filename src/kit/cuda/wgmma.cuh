// The tensor cores' products as sm_90a has them: four warps together multiply 64 rows, and read tiles from shared memory by
// themselves. Accumulators and left sides lie in registers as those of mma.cuh do, for MT = 1: warp w of the four has
// rows 16 w to 16 w + 15.
//
// A tile is one panel for each 64 columns; a panel is rows of 128 bytes as tile_at<64> places them, and begins at a multiple
// of 1024 bytes. That is what the hardware calls a swizzle of 128 bytes.
#ifndef KIT_CUDA_WGMMA_CUH
#define KIT_CUDA_WGMMA_CUH

#include "kit/cuda/mma.cuh"
#include "kit/cuda/ptx_hopper.cuh"

// Kernels with these products are compiled for every architecture, and run where this module has code for sm_90a.
static inline bool wgmma_runs(const device_caps *caps)
{
#ifdef INGOT_CUDA_HAS_90A
    return caps->major == 9 && caps->minor == 0;
#else
    (void)caps;
    return false;
#endif
}

// What the hardware is told of a tile: where it begins, `across` bytes from panel to panel where the product is as wide as
// several, 1024 bytes from eight rows to the next eight, swizzled.
__device__ __forceinline__ uint64_t describe_tile(const void *at, int across)
{
    return (uint64_t)(shared_address(at) >> 4 & 0x3fff) | (uint64_t)(across >> 4 & 0x3fff) << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

// A tile that begins `bytes` later.
__device__ __forceinline__ uint64_t tile_further(uint64_t tile, int bytes)
{
    return tile >> 32 << 32 | ((uint32_t)tile + (uint32_t)(bytes >> 4));
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A tile that is the same for all threads of a warp, which the compiler cannot see where it depends on what was read: so the
// products' descriptions need not be moved from each thread's registers to the warp's, one by one, between products.
__device__ __forceinline__ uint64_t same_in_warp(uint64_t tile)
{
    return tile >> 32 << 32 | __reduce_max_sync(0xffffffffu, (uint32_t)tile);
}

// Writes of this thread to shared memory, before the barrier behind which products read them.
__device__ __forceinline__ void settle_for_products()
{
    fence_proxy_async_shared();
}

// Registers that products on their way read or write are touched by nothing before they are done.
template <int N> __device__ __forceinline__ void pin(float (&y)[N][4])
{
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) pin_register(y[j][i]);
}
template <int N> __device__ __forceinline__ void pin(uint32_t (&a)[N][4])
{
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) pin_register(a[j][i]);
}
#else

__device__ __forceinline__ void settle_for_products()
{
}

#endif

#endif
