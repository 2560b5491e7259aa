// In place of src/kit/cuda/ptx_hopper.cuh where kernels are compiled for the CPU: see ptx.cuh.
//
// What is not looked at: fences between ways of access, whether the warps of a group are together, how many registers there are.
#ifndef KIT_CUDA_PTX_HOPPER_CUH
#define KIT_CUDA_PTX_HOPPER_CUH

#include "kit/cuda/ptx.cuh"

#include <cuda.h>
#include <cuda_fp16.h>
#include <type_traits>

// ---- barriers in shared memory ----

inline void mbarrier_init(uint64_t *barrier, int arrivals)
{
    simt::barrier_begin(barrier, arrivals);
}
inline void fence_mbarrier_init()
{
}
inline void mbarrier_arrive(uint64_t *barrier)
{
    simt::barrier_arrive(barrier, 0);
}
inline void mbarrier_arrive_expect_tx(uint64_t *barrier, int bytes)
{
    simt::barrier_arrive(barrier, bytes);
}
inline bool mbarrier_try_wait(uint64_t *barrier, unsigned parity)
{
    return simt::barrier_passed(barrier, parity);
}

// ---- the copy engine ----

inline void tma_load_4d(void *to, const CUtensorMap *map, uint64_t *barrier, int x, int y, int z, int w)
{
    simt::load_box(to, map, barrier, {x, y, z, w});
}
inline void tma_store_4d(const CUtensorMap *map, const void *from, int x, int y, int z, int w)
{
    simt::store_box(map, from, {x, y, z, w});
}
inline void bulk_load(void *to, const void *from, int bytes, uint64_t *barrier)
{
    simt::load_bytes(to, from, bytes, barrier);
}
inline void bulk_store(void *to, const void *from, int bytes)
{
    simt::store_bytes(to, from, bytes);
}
inline void bulk_add_f32(float *to, const float *from, int bytes)
{
    simt::add_bytes(to, from, bytes);
}
inline void bulk_commit()
{
    simt::stores_commit();
}
inline void bulk_wait_read()
{
    simt::stores_wait();
}
inline void bulk_wait()
{
    simt::stores_wait();
}
inline void fence_proxy_async()
{
}
inline void fence_proxy_async_shared()
{
}

inline void stmatrix_x4(void *row, const uint32_t (&r)[4])
{
    simt::store_matrices(row, r);
}

// ---- warp groups ----

template <int REGISTERS> void setmaxnreg_inc()
{
}
template <int REGISTERS> void setmaxnreg_dec()
{
}
inline void wgmma_fence()
{
}
inline void wgmma_commit()
{
    simt::products_commit();
}
template <int LEFT> void wgmma_wait()
{
    simt::products_wait(LEFT);
}

template <typename T> constexpr simt::number wgmma_number = std::is_same_v<T, __half> ? simt::F16 : simt::BF16;

template <typename T, bool ADDS, bool COLUMNS = false, int N>
void wgmma_shared(float (&y)[N][4], uint64_t left, uint64_t right)
{
    simt::multiply_late({&y[0][0], N * 8, nullptr, left, right, ADDS, COLUMNS, COLUMNS, wgmma_number<T>});
}
template <typename T, bool ADDS, bool COLUMNS, int N>
void wgmma_registers(float (&y)[N][4], const uint32_t (&a)[4], uint64_t right)
{
    simt::multiply_late({&y[0][0], N * 8, a, 0, right, ADDS, false, COLUMNS, wgmma_number<T>});
}

#endif
