// attention.wgmma: where works come from and what their rows see. kit/cuda/flash_works.cuh has the schedule.
//
// Queries are counted from the last one, in steps of 64: what is left over is the first ones, which see few keys. The first work
// of a head may so begin before its queries do.
//
// Works of many keys come first among those of a set of heads, whose keys and values fit in the L2 cache together. Blocks of
// threads take them by a counter; which takes which changes nothing in the results.
#include "kit/cuda/flash_groups.cuh"
#include "ops/attention/attention_cuda.cuh"

struct attention_works {
    attention_forward f;
    unsigned *taken;               // by blocks, beyond the first of each; 0 when all are done
    int blocks, columns, together; // of queries in a head; heads of the batch; and how many heads make a set
};

struct attention_maps {
    CUtensorMap q, k, v, o;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

template <typename S> struct dense_loader {
    using T = typename S::T;
    const attention_works &w;
    const attention_maps &maps;
    bool begun = false;

    // The smallest first key of the queries of a work.
    __device__ __forceinline__ int first_seen(int batch, int first, int last) const
    {
        if (!w.f.a.starts) return 0;
        int low = w.f.a.tokens;
        for (int i = max(first, 0) + (int)threadIdx.x % 32; i < last; i += 32)
            low = min(low, first_key(w.f.a, batch, i));
        return __reduce_min_sync(0xffffffffu, low);
    }
    __device__ __forceinline__ flash_work next()
    {
        const attention_numbers &a = w.f.a;
        unsigned all = (unsigned)(w.blocks * w.columns), number = blockIdx.x;
        if (begun && threadIdx.x % 32 == 0) number = gridDim.x + atomicInc(w.taken, all - 1);
        if (begun) number = __shfl_sync(0xffffffffu, number, 0);
        begun = true;
        if (number >= all) return {};
        int size = w.together * w.blocks, set = (int)number / size, inside = (int)number - set * size;
        int heads = min(w.together, w.columns - set * w.together), column = set * w.together + inside % heads;
        int first = (a.tokens + 63) / 64 * 64 - (inside / heads + 1) * S::BM, last = min(first + S::BM, a.tokens);
        int batch = column / a.heads, until = a.causal ? last : a.tokens;
        int from = first_seen(batch, first, last) / S::BN;
        return {first, column % a.heads, batch, from, (until + S::BN - 1) / S::BN};
    }
    __device__ __forceinline__ void ask_queries(T *tile, uint64_t *full, const flash_work &k) const
    {
        ask_rows<S, S::BM>(tile, maps.q, full, k.head, k.first, k.batch);
    }
    __device__ __forceinline__ void ask_tile(typename S::memory &m, int slot, bool values, const flash_work &k,
                                             int tile) const
    {
        if (threadIdx.x % 32 == 0)
            ask_rows<S, S::BN>(m.ring[slot], values ? maps.v : maps.k, &m.full[slot], k.head / w.f.a.group,
                               tile * S::BN, k.batch);
    }
};

struct dense_rows {
    static constexpr bool PARTS = false;
    const attention_works &w;
    const attention_maps &maps;

    __device__ __forceinline__ float scale() const
    {
        return w.f.a.scale;
    }
    __device__ __forceinline__ int most(const flash_work &k, int first) const
    {
        const attention_numbers &a = w.f.a;
        if (!a.causal) return a.tokens;
        return first + 64 > 0 ? min(first + 64, a.tokens) : k.from * FLASH_KEYS + 1; // queries that are not there
    }
    __device__ __forceinline__ two_rows rows(const flash_work &k, int first) const
    {
        const attention_numbers &a = w.f.a;
        two_rows r;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int query = first + h * 8;
            bool there = query >= 0 && query < a.tokens;
            r.start[h] = there ? first_key(a, k.batch, query) : 0;
            r.keys[h] = (there && a.causal ? query + 1 : a.tokens) - r.start[h];
        }
        return r;
    }
    __device__ __forceinline__ void keep(const flash_work &k, int query, float max, float sum) const
    {
        const attention_numbers &a = w.f.a;
        if (w.f.lse && query >= 0 && query < a.tokens)
            w.f.lse[((int64_t)k.batch * a.heads + k.head) * a.tokens + query] = max * a.scale + logf(sum);
    }
    __device__ __forceinline__ void store_part(const void *tile, int column, const flash_work &k, int first) const
    {
        if (first >= 0) tma_store_4d(&maps.o, tile, column, k.head, first, k.batch);
    }
};

#endif

template <typename S>
__global__ void __launch_bounds__(S::THREADS, 1)
    attend_by_groups(const __grid_constant__ attention_works w, const __grid_constant__ attention_maps maps)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    flash_works<S>(tiles_in_memory<typename S::memory>(), dense_loader<S>{w, maps}, dense_rows{w, maps});
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
    return w.f.a.dim <= 64 ? launch_plan<flash_plan<T, 64, 3, 9, 2>>(w, batches, q)
                           : launch_plan<flash_plan<T, 128, 2, 4, 1>>(w, batches, q);
}

// Tensors that the copy engine cannot read are left to the warps.
static status launch(const step *s, queue *q)
{
    attention_works w = {attention_forward_of(s), (unsigned *)s->prepared};
    int batches = (int)s->in[0].shape.dim[0];
    bool ran = s->in[0].dtype == INGOT_BF16 ? launch_type<bf16>(w, batches, q) : launch_type<f16>(w, batches, q);
    return ran ? INGOT_OK : attention_by_warps(s, q);
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
     .prepare = counter_new,
     .unprepare = counter_free,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
