// The tensor cores' products as sm_90a has them: four warps together multiply 64 rows, and read tiles from shared memory by
// themselves. Accumulators and left sides lie in registers as those of mma.cuh do, for MT = 1: warp w of the four has
// rows 16 w to 16 w + 15.
//
// A tile is one panel for each 64 columns; a panel is rows of 128 bytes as tile_at<64> places them, and begins at a multiple
// of 1024 bytes. That is what the hardware calls a swizzle of 128 bytes.
#ifndef KIT_CUDA_WGMMA_CUH
#define KIT_CUDA_WGMMA_CUH

#include "kit/cuda/mma.cuh"

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
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Registers that products on their way read or write are touched by nothing before they are done.
template <int N> __device__ __forceinline__ void pin(float (&y)[N][4])
{
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) asm volatile("" : "+f"(y[j][i])::"memory");
}
template <int N> __device__ __forceinline__ void pin(uint32_t (&a)[N][4])
{
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) asm volatile("" : "+r"(a[j][i])::"memory");
}
__device__ __forceinline__ void begin_products()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void commit_products()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most LEFT of what was committed are on their way.
template <int LEFT> __device__ __forceinline__ void wait_products()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

#define QUAD_AS(as, q) as(q[0]), as(q[1]), as(q[2]), as(q[3])
#define EIGHT_AS(as, y, k)                                                                                             \
    QUAD_AS(as, y[k]), QUAD_AS(as, y[k + 1]), QUAD_AS(as, y[k + 2]), QUAD_AS(as, y[k + 3]), QUAD_AS(as, y[k + 4]),     \
        QUAD_AS(as, y[k + 5]), QUAD_AS(as, y[k + 6]), QUAD_AS(as, y[k + 7])
#define EIGHT(y, k) EIGHT_AS("+f", y, k)
#define NAMES_32                                                                                                       \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"   \
    "%30,%31"
#define NAMES_64                                                                                                       \
    NAMES_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,"   \
             "%57,%58,%59,%60,%61,%62,%63"

// y = left right, 16 deep, both in shared memory; y += where it ADDS. Both are rows of y's rows and columns, or, COLUMNS, rows
// that are summed over. y's registers are not read where it does not add: they need hold nothing before.
#define TILES(type, columns, names, d0, d1, adds, turned, ...)                                                         \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type " {" names "}, " d0 ", " d1      \
                 ", " adds ", 1, 1, " turned ", " turned ";"                                                           \
                 : __VA_ARGS__                                                                                         \
                 : "l"(left), "l"(right))
#define TILES_64(type, as, adds, turned) TILES(type, "64", NAMES_32, "%32", "%33", adds, turned, EIGHT_AS(as, y, 0))
#define TILES_128(type, as, adds, turned)                                                                              \
    TILES(type, "128", NAMES_64, "%64", "%65", adds, turned, EIGHT_AS(as, y, 0), EIGHT_AS(as, y, 8))
#define TILES_OF(tiles, as, adds, turned)                                                                              \
    if constexpr (std::is_same_v<T, f16>)                                                                              \
        tiles("f16", as, adds, turned);                                                                                \
    else                                                                                                               \
        tiles("bf16", as, adds, turned)
template <typename T, bool ADDS, bool COLUMNS = false, int N>
__device__ __forceinline__ void issue_tiles(float (&y)[N][4], uint64_t left, uint64_t right)
{
    static_assert(N == 8 || (N == 16 && !COLUMNS));
    if constexpr (N == 16 && ADDS) {
        TILES_OF(TILES_128, "+f", "1", "0");
    } else if constexpr (N == 16) {
        TILES_OF(TILES_128, "=f", "0", "0");
    } else if constexpr (COLUMNS && ADDS) {
        TILES_OF(TILES_64, "+f", "1", "1");
    } else if constexpr (COLUMNS) {
        TILES_OF(TILES_64, "=f", "0", "1");
    } else if constexpr (ADDS) {
        TILES_OF(TILES_64, "+f", "1", "0");
    } else {
        TILES_OF(TILES_64, "=f", "0", "0");
    }
}

// y += a tile: a in registers, 16 of the tile's rows are summed over.
#define REGISTERS_BY_TILE(type, shape, names, a0, a1, a2, a3, d, ...)                                                  \
    asm volatile("wgmma.mma_async.sync.aligned." shape ".f32." type "." type " {" names "}, {" a0 "," a1 "," a2 "," a3 \
                 "}, " d ", 1, 1, 1, 1;"                                                                               \
                 : __VA_ARGS__                                                                                         \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(tile))
template <typename T> __device__ __forceinline__ void issue_by(float (&y)[8][4], const uint32_t (&a)[4], uint64_t tile)
{
    if constexpr (std::is_same_v<T, f16>)
        REGISTERS_BY_TILE("f16", "m64n64k16", NAMES_32, "%32", "%33", "%34", "%35", "%36", EIGHT(y, 0));
    else
        REGISTERS_BY_TILE("bf16", "m64n64k16", NAMES_32, "%32", "%33", "%34", "%35", "%36", EIGHT(y, 0));
}
template <typename T> __device__ __forceinline__ void issue_by(float (&y)[16][4], const uint32_t (&a)[4], uint64_t tile)
{
    if constexpr (std::is_same_v<T, f16>)
        REGISTERS_BY_TILE("f16", "m64n128k16", NAMES_64, "%64", "%65", "%66", "%67", "%68", EIGHT(y, 0), EIGHT(y, 8));
    else
        REGISTERS_BY_TILE("bf16", "m64n128k16", NAMES_64, "%64", "%65", "%66", "%67", "%68", EIGHT(y, 0), EIGHT(y, 8));
}

// y = a tile^T, 16 columns of both, or y += where it ADDS: a in registers, the tile's rows are y's columns.
#define REGISTERS_BY_ROWS(type, shape, names, a0, a1, a2, a3, d, adds, ...)                                            \
    asm volatile("wgmma.mma_async.sync.aligned." shape ".f32." type "." type " {" names "}, {" a0 "," a1 "," a2 "," a3 \
                 "}, " d ", " adds ", 1, 1, 0;"                                                                        \
                 : __VA_ARGS__                                                                                         \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(tile))
#define REGISTERS_BY_128(type, as, adds)                                                                               \
    REGISTERS_BY_ROWS(type, "m64n128k16", NAMES_64, "%64", "%65", "%66", "%67", "%68", adds, EIGHT_AS(as, y, 0),       \
                      EIGHT_AS(as, y, 8))
template <typename T, bool ADDS>
__device__ __forceinline__ void issue_by_rows(float (&y)[16][4], const uint32_t (&a)[4], uint64_t tile)
{
    constexpr bool HALF = std::is_same_v<T, f16>;
    if constexpr (HALF && ADDS)
        REGISTERS_BY_128("f16", "+f", "1");
    else if constexpr (HALF)
        REGISTERS_BY_128("f16", "=f", "0");
    else if constexpr (ADDS)
        REGISTERS_BY_128("bf16", "+f", "1");
    else
        REGISTERS_BY_128("bf16", "=f", "0");
}

#else

__device__ __forceinline__ void settle_for_products()
{
}

#endif

#endif
