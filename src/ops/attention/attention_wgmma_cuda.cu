// attention.wgmma: what the groups do that multiply, and the launch. attention_wgmma.cuh has the schedule.
#include "ops/attention/attention_wgmma.cuh"

// A thread's two rows of 64, h = 0 and 1: which keys they see, and what is known of those that went by. `sum` is of this thread's
// columns; what is summed so far is to be multiplied by `shrink` where a new maximum came.
struct two_rows {
    int start[2], keys[2];
    float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, shrink[2];

    __device__ __forceinline__ two_rows(const attention_numbers &a, int batch, int first)
    {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int query = first + h * 8;
            start[h] = first_key(a, batch, query);
            keys[h] = (a.causal && query < a.tokens ? query + 1 : a.tokens) - start[h];
        }
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
            shrink[h] = power_of_two(max[h] * c - base);
            max[h] = top[h];
#pragma unroll
            for (int j = 0; j < N; j++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    part[j % 2 * 2 + i] += s[j][2 * h + i] = power_of_two(s[j][2 * h + i] * c - base);
            sum[h] = sum[h] * shrink[h] + ((part[0] + part[1]) + (part[2] + part[3]));
        }
        return grows;
    }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A group of four warps. Scores, probabilities as the left side of the next products, results.
template <typename S> struct query_group {
    using T = typename S::T;
    typename S::memory &m;
    const attention_works &w;
    const attention_maps &maps;
    int group; // the same for all threads of a warp, and known to be
    ring_place<S::SLOTS> at;
    ring_place<S::QUERIES> q;
    float s[S::BN / 8][4], o[S::WIDTH / 8][4];
    uint32_t p[S::BN / 16][4], queries[S::KEEPS_QUERIES ? S::WIDTH / 16 : 1][4];

    __device__ __forceinline__ static int row_of_thread()
    {
        return (int)threadIdx.x % 128 / 32 * 16 + (int)threadIdx.x % 32 / 4;
    }
    __device__ __forceinline__ static void release(uint64_t *barrier)
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(barrier);
    }
    __device__ __forceinline__ void wait_tile()
    {
        barrier_wait(&m.full[at.slot], at.parity);
    }
    __device__ __forceinline__ void skip_tile()
    {
        wait_tile();
        release(&m.free[at.slot]);
        at.next();
    }
    __device__ __forceinline__ void wait_turn()
    {
        meet(1 + S::GROUPS + group, 256);
    }
    __device__ __forceinline__ void pass_turn()
    {
        pass(1 + S::GROUPS + (group + 1) % S::GROUPS, 256);
    }
    __device__ __forceinline__ void take_queries()
    {
        barrier_wait(&m.q_full[q.slot], q.parity);
        if (!S::KEEPS_QUERIES) return;
        int lane = threadIdx.x % 32, row = group * 64 + (int)threadIdx.x % 128 / 32 * 16 + lane % 16;
#pragma unroll
        for (int k = 0; k < S::WIDTH / 16; k++)
            load_matrices(queries[k], m.q[q.slot] + panel_at<S::BM>(row, k * 2 + lane / 16));
        release(&m.q_free[q.slot]);
    }
    // The scores of the first N keys of the tile that is next in the ring; on their way.
    template <int N> __device__ __forceinline__ void begin_scores(float (&y)[N / 8][4])
    {
        uint64_t left = describe_tile(m.q[q.slot] + group * 64 * 64, 16);
        uint64_t right = same_in_warp(describe_tile(m.ring[at.slot], 16));
        if (S::KEEPS_QUERIES) pin(queries);
        begin_products();
#pragma unroll
        for (int k = 0; k < S::WIDTH / 16; k++) {
            uint64_t rows = tile_further(left, (k / 4 * S::BM * 64 + k % 4 * 16) * (int)sizeof(T));
            uint64_t keys = tile_further(right, (k / 4 * S::BN * 64 + k % 4 * 16) * (int)sizeof(T));
            if constexpr (S::KEEPS_QUERIES)
                k ? issue_by_rows<T, true>(y, queries[k], keys) : issue_by_rows<T, false>(y, queries[k], keys);
            else
                k ? issue_tiles<T, true>(y, rows, keys) : issue_tiles<T, false>(y, rows, keys);
        }
        commit_products();
    }
    // o += p values, which are next in the ring; on its way.
    __device__ __forceinline__ void begin_values()
    {
        uint64_t values = same_in_warp(describe_tile(m.ring[at.slot], S::BN * 64 * (int)sizeof(T)));
        pin(p);
        pin(o);
        begin_products();
#pragma unroll
        for (int j = 0; j < S::BN / 16; j++) issue_by<T>(o, p[j], tile_further(values, j * 16 * 64 * (int)sizeof(T)));
        commit_products();
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
        wait_products<0>();
        pin(y);
        if (!whole) rows.hide(y, first_key);
        rows.template soften<S::LAZY>(y, c);
#pragma unroll
        for (int j = N / 8; j < S::BN / 8; j++) s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
    }
    __device__ __forceinline__ void attend(const work_place &place)
    {
        const attention_numbers &a = w.f.a;
        float c = a.scale * LOG2_E;
        tile_span span = tiles_seen<S::BM, S::BN>(a, place);
        int first = place.first + group * 64, tile = span.until - 1, skipped = 0;
        two_rows rows(a, place.batch, first + row_of_thread());
        auto whole = [&](int key) {
            return key >= span.high && key + S::BN <= a.tokens && (!a.causal || key + S::BN - 1 <= first);
        };
        if (a.causal && S::BM > S::BN) {
            int until = first >= a.tokens ? span.from + 1 : (min(first + 64, a.tokens) + S::BN - 1) / S::BN;
            skipped = span.until - until, tile -= skipped;
        }
        skip_tiles(skipped);
        take_queries();
        wait_tile();
        wait_turn();
        int key = tile * S::BN;
        bool half = S::HALVES && key + S::BN / 2 >= (a.causal ? min(first + 64, a.tokens) : a.tokens);
        if (half)
            begin_tile<S::HALVES ? S::BN / 2 : S::BN>(rows, false, key, c);
        else
            begin_tile<S::BN>(rows, whole(key), key, c);
        release(&m.free[at.slot]);
        at.next();
        if (skipped) skip_tile();
        take_probabilities();
#pragma unroll
        for (int j = 0; j < S::WIDTH / 8; j++) o[j][0] = o[j][1] = o[j][2] = o[j][3] = 0;
        wait_tile();
        while (--tile >= span.from) {
            int keys = at.slot, values;
            wait_turn();
            begin_scores<S::BN>(s);
            at.next();
            wait_tile();
            begin_values();
            pass_turn();
            wait_products<1>();
            pin(s);
            release(&m.free[keys]);
            if (!whole(tile * S::BN)) rows.hide(s, tile * S::BN);
            bool grows = rows.template soften<S::LAZY>(s, c);
            pin(s);
            values = at.slot;
            at.next();
            wait_tile(); // here, where the compiler moves no softmax behind what follows
            wait_products<0>();
            pin(o);
            pin(p);
            release(&m.free[values]);
            if (grows) shrink_results(rows);
            take_probabilities();
        }
        if (!S::KEEPS_QUERIES) release(&m.q_free[q.slot]);
        q.next();
        begin_values();
        wait_products<0>();
        pin(o);
        release(&m.free[at.slot]);
        at.next();
        store(place, rows);
    }
    // By the copy engine, from this group's own place.
    __device__ __forceinline__ void store(const work_place &place, const two_rows &rows)
    {
        const attention_numbers &a = w.f.a;
        bool first = threadIdx.x % 128 == 0;
        T *tile = m.o[group];
        if (first) stores_read();
        meet(1 + group, 128);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = row_of_thread() + h * 8, lane = threadIdx.x % 4, query = place.first + group * 64 + row;
            float whole = quad_sum(rows.sum[h]), scale = 1 / whole;
#pragma unroll
            for (int j = 0; j < S::WIDTH / 8; j++)
                *reinterpret_cast<uint32_t *>(tile + panel_at<64>(row, j) + lane * 2) =
                    pair<T>(o[j][2 * h] * scale, o[j][2 * h + 1] * scale);
            if (w.f.lse && lane == 0 && query < a.tokens)
                w.f.lse[((int64_t)place.batch * a.heads + place.head) * a.tokens + query] =
                    rows.max[h] * a.scale + logf(whole);
        }
        settle_for_products();
        meet(1 + group, 128);
        if (!first) return;
#pragma unroll
        for (int c = 0; c < S::WIDTH; c += 64)
            store_box(maps.o, tile + c * 64, c, place.head, place.first + group * 64, place.batch);
        store_commit();
    }
    __device__ __forceinline__ void run()
    {
        if (group == S::GROUPS - 1) pass_turn();
        for (int all = w.blocks * w.columns;;) {
            barrier_wait(&m.q_full[q.slot], q.parity);
            int work = (int)__reduce_max_sync(0xffffffffu, (unsigned)m.work[q.slot]);
            if (work >= all) break;
            attend(place_of<S::BM>(w, work));
        }
        if (threadIdx.x % 128 == 0) stores_done();
    }
};

template <int REGISTERS> __device__ __forceinline__ void grow_to()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS> __device__ __forceinline__ void shrink_to()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

#endif

template <typename S>
__global__ void __launch_bounds__(S::THREADS, 1)
    attend_by_groups(const __grid_constant__ attention_works w, const __grid_constant__ attention_maps maps)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    auto &m = tiles_in_memory<typename S::memory>();
    if (threadIdx.x == 0) {
        for (int i = 0; i < S::QUERIES; i++) barrier_begin(&m.q_full[i], 1), barrier_begin(&m.q_free[i], S::GROUPS * 4);
        for (int i = 0; i < S::SLOTS; i++) barrier_begin(&m.full[i], 1), barrier_begin(&m.free[i], S::GROUPS * 4);
        barriers_ready();
    }
    wait_for_inputs();
    __syncthreads();
    int group = (int)__reduce_max_sync(0xffffffffu, threadIdx.x / 128);
    if (group == S::GROUPS) {
        shrink_to<S::LOADER_REGISTERS>();
        if (threadIdx.x / 32 == S::GROUPS * 4) loader<S>{m, w, maps}.run();
    } else {
        grow_to<S::GROUP_REGISTERS>();
        query_group<S>{m, w, maps, group}.run();
    }
#else
    __trap();
#endif
}

// ---- the launch ----

// Heads whose keys and values take a quarter of the L2 cache, at most.
static int heads_together(const attention_numbers &a, int columns, const device_caps *caps)
{
    int64_t each = (int64_t)a.tokens * a.dim * 4 / a.group, heads = caps->l2_bytes / 4 / (each ? each : 1);
    return heads < 1 ? 1 : heads > columns ? columns : (int)heads;
}

template <typename S> static bool launch_plan(attention_works w, int batches, queue *q)
{
    constexpr int BYTES = (int)sizeof(typename S::memory) + 1024;
    static_assert(BYTES <= 227 * 1024);
    const attention_numbers &a = w.f.a;
    heads_of o = {w.f.o, (int64_t)a.tokens * a.heads * a.dim, (int64_t)a.heads * a.dim, a.dim, true};
    constexpr bool HALF = std::is_same_v<typename S::T, f16>;
    attention_maps maps;
    if (!map_heads(&maps.q, w.f.q, a, batches, a.heads, HALF, S::BM) ||
        !map_heads(&maps.k, w.f.k, a, batches, a.kv_heads, HALF, S::BN) ||
        !map_heads(&maps.v, w.f.v, a, batches, a.kv_heads, HALF, S::BN) ||
        !map_heads(&maps.o, o, a, batches, a.heads, HALF, 64))
        return false;
    w.blocks = (a.tokens + S::BM - 1) / S::BM;
    w.columns = batches * a.heads;
    w.together = heads_together(a, w.columns, q->caps);
    int works = w.blocks * w.columns, blocks = q->caps->multiprocessors;
    cudaFuncSetAttribute(attend_by_groups<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    attend_by_groups<S><<<(unsigned)(works < blocks ? works : blocks), S::THREADS, BYTES, q->stream>>>(w, maps);
    return true;
}

template <typename T> static bool launch_type(const attention_works &w, int batches, queue *q)
{
    return w.f.a.dim <= 64 ? launch_plan<forward_plan<T, 64, 3, 9, 2>>(w, batches, q)
                           : launch_plan<forward_plan<T, 128, 2, 4, 1>>(w, batches, q);
}

// Tensors that the copy engine cannot read are left to the warps.
static status launch(const step *s, queue *q)
{
    attention_works w = {attention_forward_of(s), (unsigned *)s->prepared};
    int batches = (int)s->in[0].shape.dim[0];
    bool ran = s->in[0].dtype == INGOT_BF16 ? launch_type<bf16>(w, batches, q) : launch_type<f16>(w, batches, q);
    return ran ? INGOT_OK : attention_by_warps(s, q);
}

static status prepare(context *ctx, const step *, const device_caps *, void **out)
{
    TRY(cuda_check(ctx, cudaMalloc(out, sizeof(unsigned)), "making a counter"));
    return cuda_check(ctx, cudaMemset(*out, 0, sizeof(unsigned)), "making a counter");
}

static void unprepare(void *counter)
{
    cudaFree(counter);
}

static bool match(const node *n, const device_caps *caps)
{
    shape q = n->in[0]->shape;
    int64_t works = (q.dim[1] + 63) / 64 * q.dim[0] * q.dim[2];
    return wgmma_runs(caps) && attention_matches(n, caps) && q.dim[3] > 32 && q.dim[3] % 8 == 0 && works < 1 << 30;
}

extern "C" const kernel_def attention_wgmma_cuda[] = {
    {.op = &op_attention_def,
     .name = "attention.wgmma",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match,
     .wants = ATTENTION_WANTS,
     .prepare = prepare,
     .unprepare = unprepare,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
