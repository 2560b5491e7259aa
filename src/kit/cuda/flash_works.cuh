// Attention of 16-bit numbers on sm_90a, in tiles (Dao 2023), with products, softmax and copies at the same time (Shah et al.
// 2024). A work is GROUPS * 64 queries of one head and the keys that they see. One block of threads stays on each multiprocessor
// and takes work after work: GROUPS groups of four warps that have 64 queries each, and the loader, one warp that asks for tiles
// (TMA).
//
// The loader brings queries, and tiles of BN keys and of BN values in the order in which they are used,
//
//     K0 K1 V0 K2 V1 .. Kn Vn-1 Vn
//
// into a ring of SLOTS tiles, which all groups read. It runs ahead, into the next work too. Tiles are taken from the last one
// that is seen to the first, so that what is masked comes first.
//
// A group asks the tensor cores for the scores of a tile and, behind them, for the sums of the values of the tile before. While
// the latter are on their way it makes probabilities of the scores. Groups ask in turns, so that one's softmax runs beside the
// others' products and not beside their softmax.
//
// An op says where works come from and how a tile is copied (load_works), which keys rows see and where results go
// (flash_groups.cuh).
#ifndef KIT_CUDA_FLASH_WORKS_CUH
#define KIT_CUDA_FLASH_WORKS_CUH

#include "kit/cuda/tma.cuh"
#include "kit/cuda/wgmma.cuh"

// Tiles [from, until) of keys, at least one; until 0: there is no more work.
struct flash_work {
    int first, head, batch; // which queries; `batch` may be a sequence
    int from, until;
    int begin, end; // queries whose results are asked for: all but where PARTS
    int keys;       // for the op
};

constexpr int FLASH_KEYS = 128; // of a tile

// How a head dim is done: how many groups, how much is on its way.
template <typename TYPE, int WIDTH_, int GROUPS_, int SLOTS_, int QUERIES_> struct flash_plan {
    using T = TYPE;
    static constexpr int WIDTH = WIDTH_, GROUPS = GROUPS_, SLOTS = SLOTS_, QUERIES = QUERIES_;
    static constexpr int BM = GROUPS * 64, BN = FLASH_KEYS, THREADS = GROUPS * 128 + 128;
    // Wide heads: a group keeps its queries in registers, which products read faster than shared memory; and results are
    // multiplied only where a new maximum is 2^8 above the old one. Narrow heads: half a tile is done where no more is seen.
    static constexpr bool KEEPS_QUERIES = WIDTH == 128, LAZY = WIDTH == 128, HALVES = WIDTH == 64;
    static constexpr int LOADER_REGISTERS = GROUPS == 3 ? 32 : 40, GROUP_REGISTERS = GROUPS == 3 ? 160 : 232;

    struct memory {
        T q[QUERIES][BM * WIDTH], ring[SLOTS][BN * WIDTH], o[GROUPS][64 * WIDTH];
        uint64_t q_full[QUERIES], q_free[QUERIES], full[SLOTS], free[SLOTS], tail;
        flash_work work[QUERIES]; // of these queries
    };
};

// A place in a ring, and how often the ring has been around: barriers are waited for by parity.
template <int SLOTS> struct ring_place {
    int slot = 0;
    unsigned parity = 0;

    __device__ __forceinline__ void next()
    {
        if (++slot == SLOTS) slot = 0, parity ^= 1;
    }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

template <typename S> __device__ __forceinline__ void begin_memory(typename S::memory &m)
{
    for (int i = 0; i < S::QUERIES; i++) mbarrier_init(&m.q_full[i], 1), mbarrier_init(&m.q_free[i], S::GROUPS * 4);
    for (int i = 0; i < S::SLOTS; i++) mbarrier_init(&m.full[i], 1), mbarrier_init(&m.free[i], S::GROUPS * 4);
    mbarrier_init(&m.tail, 1);
    fence_mbarrier_init();
}

// A box that barrier `full` announces, by one thread.
template <typename S, int ROWS>
__device__ __forceinline__ void ask_rows(typename S::T *tile, const CUtensorMap &map, uint64_t *full, int head, int row,
                                         int batch)
{
    mbarrier_arrive_expect_tx(full, ROWS * S::WIDTH * (int)sizeof(typename S::T));
    copy_panels<ROWS, S::WIDTH>(tile, map, full, head, row, batch);
}

// The loader, a whole warp. L: next() gives works, ask_queries and ask_tile copy, with the slot free.
template <typename S, typename L> __device__ __forceinline__ void load_works(typename S::memory &m, L &l)
{
    ring_place<S::SLOTS> at;
    ring_place<S::QUERIES> q;
    auto ask = [&](bool values, const flash_work &k, int tile) {
        barrier_wait(&m.free[at.slot], at.parity ^ 1);
        l.ask_tile(m, at.slot, values, k, tile);
        at.next();
    };
    auto next = [&] {
        flash_work k = l.next();
        barrier_wait(&m.q_free[q.slot], q.parity ^ 1);
        if (threadIdx.x % 32 == 0) {
            m.work[q.slot] = k;
            if (k.until)
                l.ask_queries(m.q[q.slot], &m.q_full[q.slot], k);
            else
                mbarrier_arrive(&m.q_full[q.slot]);
        }
        q.next();
        return k;
    };
    for (flash_work k = next(), later = k; k.until; k = later) {
        ask(false, k, k.until - 1);
        if (S::QUERIES > 1) later = next();
        for (int tile = k.until - 2; tile >= k.from; tile--) {
            ask(false, k, tile);
            ask(true, k, tile + 1);
        }
        ask(true, k, k.from);
        if (S::QUERIES == 1) later = next();
    }
}

#endif

// By which blocks take works, each once and more than there are in the end: so it is 0 again after every launch.
static inline status counter_new(context *ctx, const step *, const device_caps *, void **out)
{
    TRY(cuda_check(ctx, cudaMalloc(out, sizeof(unsigned)), "making a counter of works"));
    return cuda_check(ctx, cudaMemset(*out, 0, sizeof(unsigned)), "making a counter of works");
}
static inline void counter_free(void *counter)
{
    cudaFree(counter);
}

#endif
