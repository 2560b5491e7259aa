// Attention of 16-bit numbers on sm_90a, in tiles (Dao 2023), with products, softmax and copies at the same time (Shah et al.
// 2024). A work is GROUPS * 64 queries of one head. One block of threads stays on each multiprocessor and takes work after work,
// by a counter: GROUPS groups of four warps that have 64 queries each, and the loader, one warp that asks for tiles (TMA).
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
// Works of many keys come first among those of a set of heads, whose keys and values fit in the L2 cache together. Which block
// takes which work changes nothing in the results.
#ifndef OPS_ATTENTION_ATTENTION_WGMMA_CUH
#define OPS_ATTENTION_ATTENTION_WGMMA_CUH

#include "kit/cuda/wgmma.cuh"
#include "ops/attention/attention_cuda.cuh"

struct attention_works {
    attention_forward f;
    unsigned *taken;               // by blocks, beyond the first of each; 0 when all are done
    int blocks, columns, together; // of queries in a head; heads of the batch; and how many heads make a set
};

struct attention_maps {
    CUtensorMap q, k, v, o;
};

// How a head dim is done: who has how many queries, tiles of how many keys, how much is on its way.
template <typename TYPE, int WIDTH_, int GROUPS_, int SLOTS_, int QUERIES_> struct forward_plan {
    using T = TYPE;
    static constexpr int WIDTH = WIDTH_, GROUPS = GROUPS_, SLOTS = SLOTS_, QUERIES = QUERIES_;
    static constexpr int BM = GROUPS * 64, BN = 128, THREADS = GROUPS * 128 + 128;
    // Wide heads: a group keeps its queries in registers, which products read faster than shared memory; and results are
    // multiplied only where a new maximum is 2^8 above the old one. Narrow heads: half a tile is done where no more is seen.
    static constexpr bool KEEPS_QUERIES = WIDTH == 128, LAZY = WIDTH == 128, HALVES = WIDTH == 64;
    static constexpr int LOADER_REGISTERS = GROUPS == 3 ? 32 : 40, GROUP_REGISTERS = GROUPS == 3 ? 160 : 232;

    struct memory {
        T q[QUERIES][BM * WIDTH], ring[SLOTS][BN * WIDTH], o[GROUPS][64 * WIDTH];
        uint64_t q_full[QUERIES], q_free[QUERIES], full[SLOTS], free[SLOTS];
        int work[QUERIES]; // of these queries
    };
};

// Which queries of which head.
struct work_place {
    int first, head, batch;
};

template <int BM> __device__ __forceinline__ work_place place_of(const attention_works &w, int work)
{
    int size = w.together * w.blocks, set = work / size, inside = work - set * size;
    int heads = min(w.together, w.columns - set * w.together), column = set * w.together + inside % heads;
    return {(w.blocks - 1 - inside / heads) * BM, column % w.f.a.heads, column / w.f.a.heads};
}

// The tiles of keys that a work's queries see, and the largest first key of any of them. By whole warps.
struct tile_span {
    int from, until, high;
};

template <int BM, int BN>
__device__ __forceinline__ tile_span tiles_seen(const attention_numbers &a, const work_place &p)
{
    int last = min(p.first + BM, a.tokens), low = 0, high = 0;
    if (a.starts) {
        low = a.tokens;
        for (int i = p.first + (int)threadIdx.x % 32; i < last; i += 32) {
            int key = first_key(a, p.batch, i);
            low = min(low, key), high = max(high, key);
        }
        low = __reduce_min_sync(0xffffffffu, low), high = __reduce_max_sync(0xffffffffu, high);
    }
    return {low / BN, ((a.causal ? last : a.tokens) + BN - 1) / BN, high};
}

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

// The loader: a whole warp, of which one thread asks.
template <typename S> struct loader {
    typename S::memory &m;
    const attention_works &w;
    const attention_maps &maps;
    ring_place<S::SLOTS> at;
    ring_place<S::QUERIES> q;

    __device__ __forceinline__ static bool asks()
    {
        return threadIdx.x % 32 == 0;
    }
    template <int ROWS>
    __device__ __forceinline__ static void ask(typename S::T *tile, const CUtensorMap &map, uint64_t *full, int head,
                                               int row, int batch)
    {
        barrier_expect(full, ROWS * S::WIDTH * (int)sizeof(typename S::T));
        copy_panels<ROWS, S::WIDTH>(tile, map, full, head, row, batch);
    }
    __device__ __forceinline__ void ask_tile(const CUtensorMap &map, const work_place &p, int tile)
    {
        if (asks()) {
            barrier_wait(&m.free[at.slot], at.parity ^ 1);
            ask<S::BN>(m.ring[at.slot], map, &m.full[at.slot], p.head / w.f.a.group, tile * S::BN, p.batch);
        }
        at.next();
    }
    // Queries, and with them the number of their work for those who wait for them; there are `all`.
    __device__ __forceinline__ int ask_queries(bool first, int all)
    {
        int work = 0;
        if (asks()) {
            work = first ? (int)blockIdx.x : (int)(gridDim.x + atomicInc(w.taken, (unsigned)all - 1));
            barrier_wait(&m.q_free[q.slot], q.parity ^ 1);
            m.work[q.slot] = work;
            if (work < all) {
                work_place p = place_of<S::BM>(w, work);
                ask<S::BM>(m.q[q.slot], maps.q, &m.q_full[q.slot], p.head, p.first, p.batch);
            } else {
                barrier_arrive(&m.q_full[q.slot]);
            }
        }
        q.next();
        return __shfl_sync(0xffffffffu, work, 0);
    }
    __device__ __forceinline__ void run()
    {
        int all = w.blocks * w.columns;
        for (int work = ask_queries(true, all), next = 0; work < all; work = next) {
            work_place p = place_of<S::BM>(w, work);
            tile_span s = tiles_seen<S::BM, S::BN>(w.f.a, p);
            ask_tile(maps.k, p, s.until - 1);
            if (S::QUERIES > 1) next = ask_queries(false, all);
            for (int tile = s.until - 2; tile >= s.from; tile--) {
                ask_tile(maps.k, p, tile);
                ask_tile(maps.v, p, tile + 1);
            }
            ask_tile(maps.v, p, s.from);
            if (S::QUERIES == 1) next = ask_queries(false, all);
        }
    }
};

#endif

#endif
