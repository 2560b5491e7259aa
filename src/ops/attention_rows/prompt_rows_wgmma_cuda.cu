// attention_rows.wgmma: attention of many token rows of few sequences over a paged cache, as a prompt is read, on sm_90a.
// kit/cuda/flash_works.cuh has the schedule; here is where works come from and what their rows see.
//
// A work is what a block of rows of one head has of one sequence: mostly all of it. Tiles of keys are copied by boxes that lie
// within a page, or whole where a sequence has one page.
#include "kit/cuda/flash_groups.cuh"
#include "ops/attention_rows/attention_rows_cuda.cuh"

struct prompt_works {
    paged p;
    unsigned *taken; // by blocks of threads, beyond the first of each; 0 when all are done
    int blocks, box; // blocks of rows; keys of a box
};

struct prompt_maps {
    CUtensorMap q, k, v, o;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

template <typename S> struct paged_loader {
    using T = typename S::T;
    const prompt_works &w;
    const prompt_maps &maps;
    int first = 0, head = 0, done = 0, last = 0; // the block of rows, which of them are done, where it ends
    unsigned tails = 0;
    bool begun = false;

    __device__ __forceinline__ static int lane()
    {
        return threadIdx.x % 32;
    }
    __device__ __forceinline__ bool next_block()
    {
        unsigned all = (unsigned)(w.blocks * w.p.heads), number = blockIdx.x;
        if (begun && lane() == 0) number = gridDim.x + atomicInc(w.taken, all - 1);
        if (begun) number = __shfl_sync(0xffffffffu, number, 0);
        begun = true;
        first = (w.blocks - 1 - (int)number / w.p.heads) * S::BM,
        head = (int)number % w.p.heads; // long rows first, mostly
        done = first, last = min(first + S::BM, w.p.rows);
        return number < all;
    }
    __device__ __forceinline__ flash_work next()
    {
        if (done == last && !next_block()) return {};
        int begin = done, sequence = w.p.sequence[begin], keys = 0, run;
        do {
            int row = done + lane();
            unsigned others = __ballot_sync(0xffffffffu, row >= last || w.p.sequence[row] != sequence);
            run = others ? __ffs((int)others) - 1 : 32;
            if (lane() < run) keys = max(keys, keys_of_row(w.p, row));
            done += run;
        } while (run == 32);
        keys = __reduce_max_sync(0xffffffffu, keys);
        int tiles = keys > 0 ? (keys + S::BN - 1) / S::BN : 1, end = done == last ? first + S::BM : done;
        return {first, head, sequence, 0, tiles, begin, end, keys};
    }
    __device__ __forceinline__ void ask_queries(T *tile, uint64_t *full, const flash_work &k) const
    {
        ask_rows<S, S::BM>(tile, maps.q, full, k.head, k.first, 0);
    }
    // A box a thread. Boxes of no key lie behind the pool, which reads as zeros.
    __device__ __forceinline__ void ask_boxes(T *to, const CUtensorMap &map, uint64_t *barrier, const flash_work &k,
                                              int tile) const
    {
        if (lane() == 0) mbarrier_arrive_expect_tx(barrier, S::BN * S::WIDTH * (int)sizeof(T));
        __syncwarp();
        int inside = lane() * w.box, key = tile * S::BN + inside;
        if (inside >= S::BN) return;
        int64_t slot = key < k.keys ? slot_of(w.p, k.batch, key) : -1;
        int row = slot < 0 ? (int)w.p.pool : (int)slot, kv_head = k.head / w.p.group;
#pragma unroll
        for (int c = 0; c < S::WIDTH; c += 64)
            tma_load_4d(to + c * S::BN + inside * 64, &map, barrier, c, kv_head, row, 0);
    }
    __device__ __forceinline__ void ask_tile(typename S::memory &m, int slot, bool values, const flash_work &k,
                                             int tile)
    {
        int there = max(0, min(k.keys - tile * S::BN, S::BN)), until = (there + w.box - 1) / w.box * w.box;
        bool ragged = values && there < until; // what lies there is anything, and 0 times it not always 0
        ask_boxes(m.ring[slot], values ? maps.v : maps.k, ragged ? &m.tail : &m.full[slot], k, tile);
        __syncwarp();
        if (!ragged) return;
        barrier_wait(&m.tail, tails++ & 1);
        for (int i = there * 8 + lane(); i < until * 8; i += 32)
#pragma unroll
            for (int c = 0; c < S::WIDTH; c += 64)
                *reinterpret_cast<uint4 *>(m.ring[slot] + c * S::BN + i * 8) = make_uint4(0, 0, 0, 0);
        settle_for_products();
        __syncwarp();
        if (lane() == 0) mbarrier_arrive(&m.full[slot]);
    }
};

struct paged_rows {
    static constexpr bool PARTS = true;
    const prompt_works &w;
    const prompt_maps &maps;

    __device__ __forceinline__ float scale() const
    {
        return w.p.scale;
    }
    __device__ __forceinline__ int keys(const flash_work &k, int row) const
    {
        return row >= k.begin && row < k.end && row < w.p.rows ? keys_of_row(w.p, row) : 0;
    }
    __device__ __forceinline__ int most(const flash_work &k, int first) const
    {
        int row = first + (int)threadIdx.x % 32;
        return max(1, __reduce_max_sync(0xffffffffu, max(keys(k, row), keys(k, row + 32))));
    }
    __device__ __forceinline__ two_rows rows(const flash_work &k, int first) const
    {
        two_rows r;
#pragma unroll
        for (int h = 0; h < 2; h++) r.start[h] = 0, r.keys[h] = keys(k, first + h * 8);
        return r;
    }
    __device__ __forceinline__ void keep(const flash_work &, int, float, float) const
    {
    }
    __device__ __forceinline__ void store_part(const void *tile, int column, const flash_work &k, int first) const
    {
        tma_store_4d(&maps.o, tile, column, k.head, first, 0);
    }
    __device__ __forceinline__ void *result(const flash_work &k, int row) const
    {
        return (char *)w.p.o + ((int64_t)row * w.p.heads + k.head) * w.p.dim * 2;
    }
    __device__ __forceinline__ int count() const
    {
        return w.p.rows;
    }
    __device__ __forceinline__ int columns() const
    {
        return w.p.dim;
    }
};

#endif

template <typename S>
__global__ void __launch_bounds__(S::THREADS, 1)
    attend_prompt_by_groups(const __grid_constant__ prompt_works w, const __grid_constant__ prompt_maps maps)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    flash_works<S>(tiles_in_memory<typename S::memory>(), paged_loader<S>{w, maps}, paged_rows{w, maps});
#else
    __trap();
#endif
}

// ---- the launch ----

// Keys that surely lie behind each other, beginning at a multiple of it: 8 to 128, else 0.
static int box_of(int64_t page_size, int64_t pages)
{
    int box = 128;
    while (pages > 1 && box && page_size % box) box = box > 8 ? box / 2 : 0;
    return box;
}

template <typename S> static bool launch_plan(prompt_works w, queue *q)
{
    constexpr int BYTES = (int)sizeof(typename S::memory) + 1024;
    static_assert(BYTES <= 227 * 1024);
    constexpr bool HALF = std::is_same_v<typename S::T, f16>;
    const paged &p = w.p;
    auto map = [&](CUtensorMap *m, const void *at, int64_t rows, int heads, int64_t row, int64_t head, int box) {
        box_source s = {at, {1, rows, heads, p.dim}, {row * rows, row, head}, HALF};
        return boxes_fit(s) && map_boxes(m, s, box);
    };
    auto whole = [&](CUtensorMap *m, const void *at, int64_t rows, int heads, int box) {
        return map(m, at, rows, heads, (int64_t)heads * p.dim, p.dim, box);
    };
    prompt_maps maps;
    if (!map(&maps.q, p.q, p.rows, p.heads, p.q_row, p.q_head, S::BM) || !whole(&maps.o, p.o, p.rows, p.heads, 64) ||
        !whole(&maps.k, p.k, p.pool, p.kv_heads, w.box) || !whole(&maps.v, p.v, p.pool, p.kv_heads, w.box))
        return false;
    w.blocks = (p.rows + S::BM - 1) / S::BM;
    int works = w.blocks * p.heads, blocks = q->caps->multiprocessors;
    cudaFuncSetAttribute(attend_prompt_by_groups<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    attend_prompt_by_groups<S><<<(unsigned)(works < blocks ? works : blocks), S::THREADS, BYTES, q->stream>>>(w, maps);
    return true;
}

template <typename T> static bool launch_type(const prompt_works &w, queue *q)
{
    return w.p.dim <= 64 ? launch_plan<flash_plan<T, 64, 3, 9, 2>>(w, q)
                         : launch_plan<flash_plan<T, 128, 2, 4, 1>>(w, q);
}

static status launch(const step *s, queue *q)
{
    prompt_works w = {paged_of(s), (unsigned *)s->prepared};
    w.box = box_of(w.p.page_size, w.p.pages);
    bool ran = s->in[ROWS_Q].dtype == INGOT_BF16 ? launch_type<bf16>(w, q) : launch_type<f16>(w, q);
    return ran ? INGOT_OK : prompt_rows_by_warps(s, q);
}

static bool match(const node *n, const device_caps *caps)
{
    shape q = n->in[ROWS_Q]->shape, pool = n->in[ROWS_K_POOL]->shape;
    return wgmma_runs(caps) && prompt_rows_match(n, caps) && q.dim[2] > 32 && pool.dim[0] < 1 << 30 &&
           q.dim[0] * q.dim[1] < 1 << 30 &&
           box_of(ATTRS_OF(attention_rows_attrs, n)->page_size, n->in[ROWS_BLOCK_TABLE]->shape.dim[1]);
}

extern "C" const kernel_def prompt_rows_wgmma_cuda[] = {
    {.op = &op_attention_rows_def,
     .name = "attention_rows.wgmma",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match,
     .wants = {STORAGE_LAST_CONTIGUOUS},
     .prepare = counter_new,
     .unprepare = counter_free,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
