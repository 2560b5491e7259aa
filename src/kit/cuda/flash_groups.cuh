// What the groups do that multiply: flash_works.cuh has the schedule.
#ifndef KIT_CUDA_FLASH_GROUPS_CUH
#define KIT_CUDA_FLASH_GROUPS_CUH

#include "kit/cuda/flash.cuh"
#include "kit/cuda/flash_works.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A thread's two rows of 64, h = 0 and 1: which keys they see, and what is known of those that went by. `sum` is of this
// thread's columns; what is summed so far is to be multiplied by `shrink` where a new maximum came.
struct two_rows {
    int start[2], keys[2];
    float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, shrink[2];

    __device__ __forceinline__ static int first_of_thread()
    {
        return (int)threadIdx.x % 128 / 32 * 16 + (int)threadIdx.x % 32 / 4;
    }
    // Of a tile that begins at key `first`.
    template <int N> __device__ __forceinline__ void hide(float (&s)[N][4], int first) const
    {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int at = first + (int)threadIdx.x % 4 * 2 - start[h];
#pragma unroll
            for (int j = 0; j < N; j++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    if ((unsigned)(at + j * 8 + i) >= (unsigned)keys[h]) s[j][2 * h + i] = -INFINITY;
        }
    }
    template <int N> __device__ __forceinline__ float largest(const float (&s)[N][4], int h) const
    {
        float top[4] = {max[h], max[h], max[h], max[h]};
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int i = 0; i < 2; i++) top[j % 2 * 2 + i] = fmaxf(top[j % 2 * 2 + i], s[j][2 * h + i]);
        return quad_max(fmaxf(fmaxf(top[0], top[1]), fmaxf(top[2], top[3])));
    }
    // Scores become probabilities, not yet divided by their sum. c: what scores are multiplied by, times LOG2_E. False where LAZY
    // and maxima stay what they were, so that `shrink` is 1 in the whole warp.
    template <bool LAZY, int N> __device__ __forceinline__ bool soften(float (&s)[N][4], float c)
    {
        float top[2] = {largest(s, 0), largest(s, 1)};
        bool grows = !LAZY || __any_sync(0xffffffffu, (top[0] - max[0]) * c > 8 || (top[1] - max[1]) * c > 8);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            if (!grows) top[h] = max[h];
            float base = top[h] == -INFINITY ? 0 : top[h] * c, part[4] = {};
            shrink[h] = exp2_approx(max[h] * c - base);
            max[h] = top[h];
#pragma unroll
            for (int j = 0; j < N; j++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    part[j % 2 * 2 + i] += s[j][2 * h + i] = exp2_approx(s[j][2 * h + i] * c - base);
            sum[h] = sum[h] * shrink[h] + ((part[0] + part[1]) + (part[2] + part[3]));
        }
        return grows;
    }
};

// A group of four warps. Scores, probabilities as the left side of the next products, results. A says which keys rows see (rows,
// most) and where results go (store_part; where PARTS of a group's rows may be asked for, result, count and columns), and is told
// the maximum and the sum of each row (keep).
template <typename S, typename A> struct query_group {
    using T = typename S::T;
    typename S::memory &m;
    const A &a;
    int group; // the same for all threads of a warp, and known to be
    ring_place<S::SLOTS> at;
    ring_place<S::QUERIES> q;
    float s[S::BN / 8][4], o[S::WIDTH / 8][4];
    uint32_t p[S::BN / 16][4], queries[S::KEEPS_QUERIES ? S::WIDTH / 16 : 1][4];

    __device__ __forceinline__ static void release(uint64_t *barrier)
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0) mbarrier_arrive(barrier);
    }
    // `never`: false, but the compiler cannot know, and so moves nothing that it hangs on behind the wait.
    __device__ __forceinline__ void wait_tile(bool never = false)
    {
        barrier_wait(&m.full[at.slot], at.parity ^ (unsigned)never);
    }
    __device__ __forceinline__ void skip_tile()
    {
        wait_tile();
        release(&m.free[at.slot]);
        at.next();
    }
    __device__ __forceinline__ void wait_turn()
    {
        bar_sync(1 + S::GROUPS + group, 256);
    }
    __device__ __forceinline__ void pass_turn()
    {
        bar_arrive(1 + S::GROUPS + (group + 1) % S::GROUPS, 256);
    }
    __device__ __forceinline__ void take_queries()
    {
        barrier_wait(&m.q_full[q.slot], q.parity);
        if (!S::KEEPS_QUERIES) return;
        int lane = threadIdx.x % 32, row = group * 64 + (int)threadIdx.x % 128 / 32 * 16 + lane % 16;
#pragma unroll
        for (int k = 0; k < S::WIDTH / 16; k++)
            ldmatrix_x4(queries[k], m.q[q.slot] + panel_at<S::BM>(row, k * 2 + lane / 16));
        release(&m.q_free[q.slot]);
    }
    // The scores of the first N keys of the tile that is next in the ring; on their way.
    template <int N> __device__ __forceinline__ void begin_scores(float (&y)[N / 8][4])
    {
        uint64_t left = describe_tile(m.q[q.slot] + group * 64 * 64, 16);
        uint64_t right = same_in_warp(describe_tile(m.ring[at.slot], 16));
        if (S::KEEPS_QUERIES) pin(queries);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < S::WIDTH / 16; k++) {
            uint64_t rows = tile_further(left, (k / 4 * S::BM * 64 + k % 4 * 16) * (int)sizeof(T));
            uint64_t keys = tile_further(right, (k / 4 * S::BN * 64 + k % 4 * 16) * (int)sizeof(T));
            if constexpr (S::KEEPS_QUERIES)
                k ? wgmma_registers<T, true, false>(y, queries[k], keys)
                  : wgmma_registers<T, false, false>(y, queries[k], keys);
            else
                k ? wgmma_shared<T, true>(y, rows, keys) : wgmma_shared<T, false>(y, rows, keys);
        }
        wgmma_commit();
    }
    // o += p values, which are next in the ring; on its way.
    __device__ __forceinline__ void begin_values()
    {
        uint64_t values = same_in_warp(describe_tile(m.ring[at.slot], S::BN * 64 * (int)sizeof(T)));
        pin(p);
        pin(o);
        wgmma_fence();
#pragma unroll
        for (int j = 0; j < S::BN / 16; j++)
            wgmma_registers<T, true, true>(o, p[j], tile_further(values, j * 16 * 64 * (int)sizeof(T)));
        wgmma_commit();
    }
    __device__ __forceinline__ void take_probabilities()
    {
#pragma unroll
        for (int j = 0; j < S::BN / 16; j++) as_left_side<T>(p[j], s[2 * j], s[2 * j + 1]);
    }
    __device__ __forceinline__ void shrink_results(const two_rows &rows)
    {
#pragma unroll
        for (int j = 0; j < S::WIDTH / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) o[j][i] *= rows.shrink[i / 2];
    }
    // Tiles that only later groups see, in the order K0 K1 V0 K2 V1 ..: all keys, and all values but those of the last one, which
    // come behind the keys of this group's first tile.
    __device__ __forceinline__ void skip_tiles(int count)
    {
        for (int i = 0; i < count; i++) {
            wait_turn();
            pass_turn();
            skip_tile();
            if (i) skip_tile();
        }
    }
    // The probabilities of the N first keys of a tile, those behind them 0. With queries at hand, and products of no other tile
    // on their way.
    template <int N> __device__ __forceinline__ void begin_tile(two_rows &rows, bool whole, int first_key, float c)
    {
        auto &y = reinterpret_cast<float(&)[N / 8][4]>(s);
        begin_scores<N>(y);
        pass_turn();
        wgmma_wait<0>();
        pin(y);
        if (!whole) rows.hide(y, first_key);
        rows.template soften<S::LAZY>(y, c);
#pragma unroll
        for (int j = N / 8; j < S::BN / 8; j++) s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
    }
    // The tile that begins at key `first_key`: its scores, and the sums of the values of the one before.
    __device__ __forceinline__ void next_tile(two_rows &rows, bool whole, int first_key, float c)
    {
        int keys = at.slot;
        wait_turn();
        begin_scores<S::BN>(s);
        at.next();
        wait_tile();
        begin_values();
        pass_turn();
        wgmma_wait<1>();
        pin(s);
        release(&m.free[keys]);
        if (!whole) rows.hide(s, first_key);
        bool grows = rows.template soften<S::LAZY>(s, c);
        int values = at.slot;
        at.next();
        wait_tile(__any_sync(0xffffffffu, rows.sum[0] + rows.sum[1] < 0));
        wgmma_wait<0>();
        pin(o);
        pin(p);
        release(&m.free[values]);
        if (grows) shrink_results(rows);
        take_probabilities();
    }
    __device__ __forceinline__ void attend(const flash_work &k, two_rows &rows)
    {
        float c = a.scale() * LOG2_E;
        int most = a.most(k, k.first + group * 64), until = (most + S::BN - 1) / S::BN, tile = until - 1;
        int all_from =
            __reduce_max_sync(0xffffffffu, max(rows.start[0], rows.start[1])); // what no row of the warp hides
        int all_until = __reduce_min_sync(0xffffffffu, min(rows.start[0] + rows.keys[0], rows.start[1] + rows.keys[1]));
        auto whole = [&](int key) { return key >= all_from && key + S::BN <= all_until; };
        skip_tiles(k.until - until);
        take_queries();
        wait_tile();
        wait_turn();
        int key = tile * S::BN;
        if (S::HALVES && key + S::BN / 2 >= most)
            begin_tile<S::HALVES ? S::BN / 2 : S::BN>(rows, false, key, c);
        else
            begin_tile<S::BN>(rows, whole(key), key, c);
        release(&m.free[at.slot]);
        at.next();
        if (k.until > until) skip_tile();
        take_probabilities();
#pragma unroll
        for (int j = 0; j < S::WIDTH / 8; j++) o[j][0] = o[j][1] = o[j][2] = o[j][3] = 0;
        wait_tile();
        while (--tile >= k.from) next_tile(rows, whole(tile * S::BN), tile * S::BN, c);
        if (!S::KEEPS_QUERIES) release(&m.q_free[q.slot]);
        q.next();
        begin_values();
        wgmma_wait<0>();
        pin(o);
        release(&m.free[at.slot]);
        at.next();
    }
    // From this group's own place, by the copy engine; or, where not all results are asked for, row by row.
    __device__ __forceinline__ void store(const flash_work &k, const two_rows &rows)
    {
        int first = k.first + group * 64;
        bool asks = threadIdx.x % 128 == 0, box = !A::PARTS || (k.begin <= first && k.end >= first + 64);
        T *tile = m.o[group];
        if (asks) bulk_wait_read();
        bar_sync(1 + group, 128);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = two_rows::first_of_thread() + h * 8;
            float sum = quad_sum(rows.sum[h]), scale = sum > 0 ? 1 / sum : 0;
            if (threadIdx.x % 4 == 0) a.keep(k, first + row, rows.max[h], sum);
            if constexpr (A::PARTS)
                if (!box && first + row >= k.begin && first + row < min(k.end, a.count()))
                    store_row<T, S::WIDTH>((T *)a.result(k, first + row), o, h, a.columns(), scale);
#pragma unroll
            for (int j = 0; j < S::WIDTH / 8; j++)
                *reinterpret_cast<uint32_t *>(tile + panel_at<64>(row, j) + (int)threadIdx.x % 4 * 2) =
                    pair<T>(o[j][2 * h] * scale, o[j][2 * h + 1] * scale);
        }
        settle_for_products();
        bar_sync(1 + group, 128);
        if (!asks || !box) return;
#pragma unroll
        for (int c = 0; c < S::WIDTH; c += 64) a.store_part(tile + c * 64, c, k, first);
        bulk_commit();
    }
    // The work that has come, as all threads of a warp are known to see it.
    __device__ __forceinline__ flash_work read_work() const
    {
        auto same = [](int v) { return __reduce_max_sync(0xffffffffu, v); };
        const flash_work &k = m.work[q.slot];
        return {same(k.first), same(k.head), same(k.batch), same(k.from), same(k.until), same(k.begin), same(k.end)};
    }
    __device__ __forceinline__ void run()
    {
        if (group == S::GROUPS - 1) pass_turn();
        for (;;) {
            barrier_wait(&m.q_full[q.slot], q.parity);
            flash_work k = read_work();
            if (!k.until) break;
            two_rows rows = a.rows(k, k.first + group * 64 + two_rows::first_of_thread());
            attend(k, rows);
            store(k, rows);
        }
        if (threadIdx.x % 128 == 0) bulk_wait();
    }
};

// A block of threads, from the beginning of its kernel to the end.
template <typename S, typename L, typename A>
__device__ __forceinline__ void flash_works(typename S::memory &m, L &&l, const A &a)
{
    if (threadIdx.x == 0) begin_memory<S>(m);
    wait_for_inputs();
    __syncthreads();
    int group = __reduce_max_sync(0xffffffffu, (int)threadIdx.x / 128);
    if (group == S::GROUPS) {
        setmaxnreg_dec<S::LOADER_REGISTERS>();
        if (threadIdx.x / 32 == S::GROUPS * 4) load_works<S>(m, l);
    } else {
        setmaxnreg_inc<S::GROUP_REGISTERS>();
        query_group<S, A>{m, a, group}.run();
    }
}

#endif

#endif
