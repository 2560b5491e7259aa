// The gradient of attention of 16-bit numbers on sm_90a, each score made once. A work is 128 keys of one kv head: their keys
// and values stay in shared memory while blocks of queries come past, from the diagonal down when causal, head after head of
// those that read the kv head. Of each pair of blocks five products:
//
//     S^T = K Q^T    dP^T = V dO^T    dV += P^T dO    dK += dS^T Q    dQ = dS K,    P = exp(S - lse), dS = P (dP - delta)
//
// S and dP are made transposed, a row a key: P^T and dS^T are then left sides as they lie in registers. dV and dK stay there;
// dS^T goes to shared memory, where all keys of the block meet for dQ.
//
// A block of threads is three warp groups: two that multiply, 64 keys each, and one whose first warp asks for tiles (TMA) and
// whose second warp hands on dQ. Blocks of threads stay and take works one after the other, by a counter.
//
// The order of additions. What works give to one block of queries adds up in float32, in global memory, from the last keys
// that these queries see to the first; `done` counts, and each waits for its turn. The first stores, so nothing need be
// cleared; the last one adds what is there to its own part and writes dq. Works are numbered so that the one which is waited
// for is taken before the one that waits, and a block of threads takes them in ascending order: the one of the smallest number
// never waits, so no order of blocks can get stuck. Keys n and n + 1 walk over the same queries a step apart, so waiting is
// rare.
#ifndef OPS_ATTENTION_ATTENTION_GRAD_WGMMA_CUH
#define OPS_ATTENTION_ATTENTION_GRAD_WGMMA_CUH

#include "kit/cuda/wgmma.cuh"
#include "ops/attention/attention_cuda.cuh"

constexpr int GRAD_KEYS = 128;
constexpr int GRAD_THREADS = 384;
// As many queries as leave room in registers for 64 x WIDTH twice.
template <int WIDTH> constexpr int GRAD_QUERIES = WIDTH == 64 ? 128 : 64;

struct wgmma_backward {
    attention_backward f;
    // (B, H, padded): log2 of the sums, INFINITY beyond the tokens; delta. (B, padded): first keys, where there are segments.
    float *lse, *delta;
    int *start;
    float *sum; // (B, H, blocks of queries) of QUERIES * WIDTH: dq so far, as it lies in registers
    int *done;  // (B, H, blocks of queries): how many have added theirs
    int2 *seen; // (B, blocks of queries): smallest and largest first key
    int *taken; // works
    int padded, key_blocks, query_blocks, works;
};

struct grad_maps {
    CUtensorMap q, dout, k, v;
};

template <typename T, int WIDTH> struct grad_tiles {
    static constexpr int QUERIES = GRAD_QUERIES<WIDTH>;
    T k[GRAD_KEYS * WIDTH], v[GRAD_KEYS * WIDTH], q[2][QUERIES * WIDTH], dout[2][QUERIES * WIDTH];
    T ds[2][GRAD_KEYS * QUERIES];
    float dq[QUERIES * WIDTH];
    float lse[2][QUERIES], delta[2][QUERIES];
    uint64_t work_full[2], work_free[2], k_full, v_full, keys_free, q_full[2], q_free[2], dout_full[2], dout_free[2];
    uint64_t ds_full[2];        // both groups have left theirs
    uint64_t dq_ready, dq_done; // dq is free or has what others added; it has ours, or has been read
    int work[2];
};

// The blocks of queries that a work walks over.
template <int QUERIES> struct grad_walk {
    int batch, kv_head, n, from, m, turn;
    const int2 *seen;

    __device__ __forceinline__ grad_walk(const wgmma_backward &w, int work)
    {
        const attention_numbers &a = w.f.a;
        int column = work / w.key_blocks;
        n = w.key_blocks - 1 - work % w.key_blocks;
        batch = column / a.kv_heads;
        kv_head = column % a.kv_heads;
        from = a.causal ? n * GRAD_KEYS / QUERIES : 0;
        seen = a.starts ? w.seen + (int64_t)batch * w.query_blocks : nullptr;
        turn = 0;
        m = from - 1;
        next(w);
    }
    __device__ __forceinline__ void next(const wgmma_backward &w)
    {
        do {
            if (++m == w.query_blocks) m = from, turn++;
        } while (turn < w.f.a.group && n < first_keys());
    }
    __device__ __forceinline__ bool there(const wgmma_backward &w) const
    {
        return turn < w.f.a.group;
    }
    __device__ __forceinline__ int head(const wgmma_backward &w) const
    {
        return kv_head * w.f.a.group + turn;
    }
    // The first block of keys that these queries see, the last one in the order of additions.
    __device__ __forceinline__ int first_keys() const
    {
        return seen ? seen[m].x / GRAD_KEYS : 0;
    }
    __device__ __forceinline__ bool ends() const
    {
        return n == first_keys();
    }
    // How many blocks of keys add theirs before this one.
    __device__ __forceinline__ int turn_of_keys(const wgmma_backward &w) const
    {
        int last = (m * QUERIES + QUERIES - 1) / GRAD_KEYS;
        return (w.f.a.causal && last < w.key_blocks ? last : w.key_blocks - 1) - n;
    }
    __device__ __forceinline__ int64_t index(const wgmma_backward &w) const
    {
        return ((int64_t)batch * w.f.a.heads + head(w)) * w.query_blocks + m;
    }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// ---- who asks for tiles: one thread ----

template <typename T, int WIDTH>
__device__ __forceinline__ void grad_loads(grad_tiles<T, WIDTH> &t, const wgmma_backward &w, const grad_maps &maps)
{
    constexpr int QUERIES = GRAD_QUERIES<WIDTH>, TILE = QUERIES * WIDTH * 2, NUMBERS = QUERIES * 4;
    unsigned count = 0;
    for (unsigned round = 0;; round++) {
        barrier_wait(&t.work_free[round & 1], (round >> 1 & 1) ^ 1);
        int work = atomicAdd(w.taken, 1);
        t.work[round & 1] = work = work < w.works ? work : -1;
        mbarrier_arrive(&t.work_full[round & 1]);
        if (work < 0) break;
        grad_walk<QUERIES> at(w, work);
        barrier_wait(&t.keys_free, (round & 1) ^ 1);
        mbarrier_arrive_expect_tx(&t.k_full, GRAD_KEYS * WIDTH * 2);
        copy_panels<GRAD_KEYS, WIDTH>(t.k, maps.k, &t.k_full, at.kv_head, at.n * GRAD_KEYS, at.batch);
        for (bool first = true; at.there(w); at.next(w), count++, first = false) {
            int place = count & 1, free = (count >> 1 & 1) ^ 1, row = at.m * QUERIES;
            int64_t numbers = ((int64_t)at.batch * w.f.a.heads + at.head(w)) * w.padded + row;
            barrier_wait(&t.q_free[place], free);
            mbarrier_arrive_expect_tx(&t.q_full[place], TILE + NUMBERS);
            copy_panels<QUERIES, WIDTH>(t.q[place], maps.q, &t.q_full[place], at.head(w), row, at.batch);
            bulk_load(t.lse[place], w.lse + numbers, NUMBERS, &t.q_full[place]);
            if (first) {
                mbarrier_arrive_expect_tx(&t.v_full, GRAD_KEYS * WIDTH * 2);
                copy_panels<GRAD_KEYS, WIDTH>(t.v, maps.v, &t.v_full, at.kv_head, at.n * GRAD_KEYS, at.batch);
            }
            barrier_wait(&t.dout_free[place], free);
            mbarrier_arrive_expect_tx(&t.dout_full[place], TILE + NUMBERS);
            copy_panels<QUERIES, WIDTH>(t.dout[place], maps.dout, &t.dout_full[place], at.head(w), row, at.batch);
            bulk_load(t.delta[place], w.delta + numbers, NUMBERS, &t.dout_full[place]);
        }
    }
}

// ---- who hands on dq: one thread ----

__device__ __forceinline__ void wait_for_turn(const int *done, int turn)
{
    while (load_acquire(done) < turn)
        ;
    fence_proxy_async();
}

template <typename T, int WIDTH>
__device__ __forceinline__ void grad_sums(grad_tiles<T, WIDTH> &t, const wgmma_backward &w)
{
    constexpr int QUERIES = GRAD_QUERIES<WIDTH>, BYTES = QUERIES * WIDTH * 4;
    unsigned count = 0;
    for (unsigned round = 0;; round++) {
        barrier_wait(&t.work_full[round & 1], round >> 1 & 1);
        int work = t.work[round & 1];
        mbarrier_arrive(&t.work_free[round & 1]);
        if (work < 0) break;
        bool ready = false; // the place has been given for this block already
        for (grad_walk<QUERIES> at(w, work); at.there(w); count++) {
            int turn = at.turn_of_keys(w), *done = w.done + at.index(w);
            float *sum = w.sum + at.index(w) * QUERIES * WIDTH;
            bool last = at.ends();
            if (!ready && !(last && turn)) mbarrier_arrive(&t.dq_ready);
            if (turn) wait_for_turn(done, turn);
            if (last && turn) {
                mbarrier_arrive_expect_tx(&t.dq_ready, BYTES);
                bulk_load(t.dq, sum, BYTES, &t.dq_ready);
            }
            barrier_wait(&t.dq_done, count & 1);
            at.next(w);
            ready = false;
            if (last) continue;
            if (turn)
                bulk_add_f32(sum, t.dq, BYTES);
            else
                bulk_store(sum, t.dq, BYTES);
            bulk_commit();
            bulk_wait_read();
            ready = at.there(w) && !(at.ends() && at.turn_of_keys(w));
            if (ready) mbarrier_arrive(&t.dq_ready);
            bulk_wait();
            store_release(done, turn + 1);
        }
    }
}

#endif

#endif
