// Attention of a few token rows over a cache, their own keys and values and rotary positions among it, in one launch on CUDA:
// what stands between the two products of a layer when a token is written. A block has a row, one head or two that
// read one kv head, and a share of the row's keys; LANES threads look at one key, eight elements each.
//
// Nobody uses what the cache holds where a row of this call goes: who meets such a slot takes key and value from the call's
// own rows and turns the key itself, and one block writes them. So no block waits for another. What else lies in the cache was
// written by earlier programs, so the first keys are read while the products before this launch still run. Where they lie is
// said by the call's inputs, which may not be there by then: they are read once more afterwards, and if they differ so are the
// keys.
//
// How many shares a row's keys have depends on shapes and on how many keys there are; the last block to end joins the
// shares in their order: the same bits each run.
#include "ops/cached_attention/cached_attention_cuda.cuh"

// Whether this block is the last of those that share a row; what the others wrote is there then.
__device__ __forceinline__ bool is_last(unsigned *arrived, int shares)
{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(arrived, 1) == (unsigned)shares - 1;
    __syncthreads();
    __threadfence();
    return last;
}

// What the warps of a block, or its lanes, have found of a column: 4 threads for each.
struct found {
    float top, whole, y;
};

enum { JOINERS = 4, EACH_JOINS = WARPS / JOINERS };

template <int G, int WIDTH>
__device__ __forceinline__ found join_warps(const float2 (&numbers)[WARPS][G], const float (&values)[WARPS][G][WIDTH],
                                            int g, int column)
{
    int first = (int)threadIdx.x % JOINERS * EACH_JOINS;
    found f = {-INFINITY, 0, 0};
#pragma unroll
    for (int i = 0; i < EACH_JOINS; i++) f.top = fmaxf(f.top, numbers[first + i][g].x);
    f.top = lanes_max<1, JOINERS>(f.top);
#pragma unroll
    for (int i = 0; i < EACH_JOINS; i++) {
        float weight = weight_at(numbers[first + i][g].x, f.top);
        f.whole += numbers[first + i][g].y * weight;
        f.y += values[first + i][g][column] * weight;
    }
    f.whole = lanes_sum<1, JOINERS>(f.whole), f.y = lanes_sum<1, JOINERS>(f.y);
    return f;
}

// Of a head's shares, in their order; each part is a maximum, a sum, sums of values.
__device__ __forceinline__ float join_shares(const float *part, int shares, int64_t each, int column)
{
    float top = -INFINITY, whole = 0, y = 0;
#pragma unroll 2
    for (int i = 0; i < shares; i++) top = fmaxf(top, __ldcg(part + i * each));
#pragma unroll 2
    for (int i = 0; i < shares; i++) {
        float weight = weight_at(__ldcg(part + i * each), top);
        whole += __ldcg(part + i * each + 1) * weight;
        y += __ldcg(part + i * each + 2 + column) * weight;
    }
    return whole > 0 ? y / whole : 0;
}

template <typename T, int G, int LANES, bool WHOLE>
__global__ void __launch_bounds__(THREADS, 2) attend_cached(const cached p)
{
    constexpr int SETS = THREADS / LANES, U = (sizeof(T) == 2 ? 4 : 2) / G, BATCH = SETS * U, WIDTH = LANES * N + 4;
    __shared__ float2 numbers[WARPS][G]; // maximum and sum
    __shared__ float values[WARPS][G][WIDTH];
    launch_next();
    int row = blockIdx.z, kv = (int)blockIdx.y / p.at.head_groups, group = (int)blockIdx.y - kv * p.at.head_groups;
    int first_head = kv * p.at.group + group * G, heads = (kv + 1) * p.at.group - first_head;
    heads = heads < G ? heads : G;
    float scale = p.at.scale * 1.4426950408889634f; // powers of two
    int lane = (int)threadIdx.x % LANES, set = (int)threadIdx.x / LANES, column = lane * N;

    if (!p.ahead) wait_for_writers();
    share_of_row mine = share_at(p, row, blockIdx.x);
    turn angle = turn_at<WHOLE>(p, mine.position, column);
    some_keys<T, U> keys;
    find_slots<T, U, SETS>(keys, p, mine, mine.from + set);
    read_cache<WHOLE>(keys, p, kv, column);
    if (p.ahead) fetch_rest<T, SETS>(p, mine, mine.from + set, BATCH, kv, column);
    const T *q = (const T *)p.at.q + row * p.at.q_row + first_head * p.at.q_head;
    const T *k = key_of<T>(p, row, kv), *v = value_of<T>(p, row, kv);
    wait_for_writers();

    int position = look(p.at.position + row), sequence = look(p.at.sequence + row), fresh = -1;
    bool there = position == mine.position && sequence == mine.sequence; // the keys are those of this call
    if ((int)threadIdx.x % 32 < p.at.rows) fresh = look(p.slot + threadIdx.x % 32);
    if (fresh >= p.at.pool) fresh = -1;
    part<T> query[G], pair[G];
    own_row<T> own = read_row<WHOLE>(p, k, v, column);
#pragma unroll
    for (int g = 0; g < G; g++) {
        const T *head = q + (g < heads ? g : 0) * p.at.q_head;
        query[g] = part_of<WHOLE>(head, column, p.at.dim);
        if (p.angles) pair[g] = pair_of<WHOLE>(head, column, p.at.dim);
    }
    there = __all_sync(0xffffffffu, lie_there(keys, p) & there);
    if (!there) {
        mine = share_at(p, row, blockIdx.x);
        angle = turn_at<WHOLE>(p, mine.position, column);
    }
    own.k = turned(p, own.k, own.pair, angle);
    so_far r[G];
#pragma unroll
    for (int g = 0; g < G; g++) {
        query[g] = turned(p, query[g], pair[g], angle);
        r[g] = {-INFINITY, 0, {}};
    }
#pragma unroll 1
    for (int start = mine.from; start < mine.until; start += BATCH) {
        if (!there) {
            find_slots<T, U, SETS>(keys, p, mine, start + set);
            read_cache<WHOLE>(keys, p, kv, column);
        }
        take_fresh<WHOLE>(keys, p, fresh, row, kv, column, own);
#pragma unroll
        for (int g = 0; g < G; g++)
            attend_some<T, U, LANES, SETS>(r[g], query[g], keys, start + set, mine.until, scale);
        there = false;
    }
    if (mine.from >= mine.until && blockIdx.x) return; // one of the shares that this row does not have
    int warp = (int)threadIdx.x / 32;
#pragma unroll
    for (int g = 0; g < G; g++) {
        join_sets<LANES>(r[g]);
        if (threadIdx.x % 32 == 0) numbers[warp][g] = make_float2(r[g].max, r[g].sum);
        if (threadIdx.x % 32 < LANES)
#pragma unroll
            for (int i = 0; i < N; i += 4)
                *reinterpret_cast<float4 *>(&values[warp][g][column + i]) =
                    make_float4(r[g].o[i], r[g].o[i + 1], r[g].o[i + 2], r[g].o[i + 3]);
    }
    __syncthreads();
    T *o = (T *)p.at.o + ((int64_t)row * p.at.heads + first_head) * p.at.dim; // the heads lie side by side
    int64_t each = 2 + p.at.dim;
    float *parts = p.at.part + ((int64_t)row * p.at.heads + first_head) * p.at.shares * each;
    int all = heads * p.at.dim;
    for (int from = 0; from < all; from += THREADS / JOINERS) {
        int i = from + (int)threadIdx.x / JOINERS, g = G == 1 || i < p.at.dim ? 0 : 1, c = i - g * p.at.dim;
        found f = join_warps(numbers, values, i < all ? g : 0, i < all ? c : 0);
        if (threadIdx.x % JOINERS || i >= all) continue;
        if (mine.used == 1) {
            o[i] = to<T>(f.whole > 0 ? f.y / f.whole : 0);
            continue;
        }
        float *part = parts + ((int64_t)g * p.at.shares + blockIdx.x) * each;
        if (c == 0) part[0] = f.top, part[1] = f.whole;
        part[2 + c] = f.y;
    }
    if (blockIdx.x == 0 && group == 0) {
        int slot = slot_for(p, fresh, row);
        if (slot >= 0 && set == 0) {
            put_part<WHOLE>((T *)p.at.k + in_pool(p, slot, kv), column, p.at.dim, own.k);
            put_part<WHOLE>((T *)p.at.v + in_pool(p, slot, kv), column, p.at.dim, own.v);
        }
    }
    if (mine.used == 1) return;
    unsigned *arrived = p.arrived + (int64_t)row * gridDim.y + blockIdx.y;
    if (!is_last(arrived, mine.used)) return;
    if (threadIdx.x == 0) *arrived = 0;
    for (int i = threadIdx.x; i < all; i += THREADS) {
        int g = G == 1 || i < p.at.dim ? 0 : 1;
        o[i] = to<T>(join_shares(parts + (int64_t)g * p.at.shares * each, mine.used, each, i - g * p.at.dim));
    }
}

// Pools that are not written in place: as they were, before rows go to them.
__global__ void copy_pools(uint16_t *k, uint16_t *v, const uint16_t *from_k, const uint16_t *from_v, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) {
        if (k != from_k) k[i] = from_k[i];
        if (v != from_v) v[i] = from_v[i];
    }
}

// ---- the launch ----

// Heads of a block: one where caches are short and the GPU is far from full, else two of those that share a kv head.
static int heads_together(shape q, shape k, int64_t capacity, ingot_dtype d)
{
    return capacity <= ALONE || q.dim[1] == k.dim[1] || d == INGOT_F32 ? 1 : 2;
}

struct blocks_of_row {
    int together, head_groups, shares;
};

static blocks_of_row blocks_of(shape q, shape k, shape table, int64_t page_size, ingot_dtype d, const device_caps *caps)
{
    int64_t capacity = table.dim[1] * page_size, group = q.dim[1] / k.dim[1];
    blocks_of_row b = {};
    b.together = heads_together(q, k, capacity, d);
    b.head_groups = (int)((group + b.together - 1) / b.together);
    int64_t blocks = q.dim[0] * k.dim[1] * b.head_groups, wanted = 2 * caps->multiprocessors / blocks;
    int64_t most = (capacity + SHARE - 1) / SHARE;
    wanted = wanted < most ? wanted : most;
    b.shares = (int)(capacity <= SHORT || wanted < 1 ? 1 : wanted > MOST_SHARES ? MOST_SHARES : wanted);
    return b;
}

static blocks_of_row blocks_of_step(const step *s, const device_caps *caps)
{
    return blocks_of(s->in[CACHED_Q].shape, s->in[CACHED_K].shape, s->in[CACHED_BLOCK_TABLE].shape,
                     ATTRS_OF(attention_rows_attrs, s->node)->page_size, s->in[CACHED_Q].dtype, caps);
}

// Packs of 8 begin evenly in every row and head, and so do those of both halves.
static bool whole_packs(const tensor *t, int64_t dim, bool turns)
{
    return dim % (turns ? 16 : 8) == 0 && t->stride[0] % 8 == 0 && t->stride[1] % 8 == 0 && t->byte_offset % 16 == 0;
}

static bool is_whole(const step *s, const cached &p)
{
    bool whole = p.at.dim <= MOST_WHOLE;
    for (int i = CACHED_Q; i <= CACHED_V; i++) whole = whole && whole_packs(&s->in[i], p.at.dim, p.angles != nullptr);
    return whole;
}

// Which inputs a launch may read before those before it have ended: pools that nothing before this step writes, angles
// that were made once.
static bool reads_ahead(const step *s, bool turns)
{
    unsigned pools = 1u << CACHED_K_POOL | 1u << CACHED_V_POOL, angles = 1u << CACHED_ANGLES;
    bool made_once = !turns || s->node->in[CACHED_ANGLES]->node->hoisted || (s->resting & angles);
    return (s->resting & pools) == pools && made_once;
}

static cached cached_of(const step *s, const device_caps *caps)
{
    shape q = s->in[CACHED_Q].shape, pool = s->in[CACHED_K_POOL].shape, table = s->in[CACHED_BLOCK_TABLE].shape;
    const attention_rows_attrs *a = ATTRS_OF(attention_rows_attrs, s->node);
    blocks_of_row b = blocks_of_step(s, caps);
    cached p = {};
    p.at.q = s->in[CACHED_Q].data, p.at.o = s->out[CACHED_O].data;
    p.at.k = s->out[CACHED_K_AFTER].data, p.at.v = s->out[CACHED_V_AFTER].data;
    p.at.table = (const int32_t *)s->in[CACHED_BLOCK_TABLE].data;
    p.at.sequence = (const int32_t *)s->in[CACHED_SEQUENCE].data;
    p.at.position = (const int32_t *)s->in[CACHED_POSITION].data;
    p.slot = (const int32_t *)s->in[CACHED_SLOT].data;
    p.at.rows = (int)q.dim[0], p.at.heads = (int)q.dim[1], p.at.dim = (int)q.dim[2];
    p.at.kv_heads = (int)pool.dim[1], p.at.group = p.at.heads / p.at.kv_heads;
    p.at.pool = pool.dim[0], p.at.page_size = (int)a->page_size;
    p.at.sequences = (int)table.dim[0], p.at.pages = (int)table.dim[1];
    p.at.shares = b.shares, p.at.head_groups = b.head_groups;
    p.page = divisor_of((unsigned)a->page_size), p.shares = divisor_of((unsigned)b.shares);
    p.at.scale = (float)a->scale;
    p.at.part = (float *)s->scratch, p.arrived = (unsigned *)s->prepared;
    p.at.q_row = s->in[CACHED_Q].stride[0], p.at.q_head = s->in[CACHED_Q].stride[1];
    p.k = s->in[CACHED_K].data, p.k_row = s->in[CACHED_K].stride[0], p.k_head = s->in[CACHED_K].stride[1];
    p.v = s->in[CACHED_V].data, p.v_row = s->in[CACHED_V].stride[0], p.v_head = s->in[CACHED_V].stride[1];
    if (s->inputs > CACHED_ANGLES && s->in[CACHED_ANGLES].data) {
        p.angles = (const float *)s->in[CACHED_ANGLES].data;
        p.positions = (int)s->in[CACHED_ANGLES].shape.dim[0];
    }
    return p;
}

template <typename T, int G> static void launch_whole(const cached &p, dim3 grid, queue *q)
{
    if (p.at.dim <= 32)
        attend_cached<T, G, 4, true><<<grid, THREADS, 0, q->stream>>>(p);
    else if (p.at.dim <= 64)
        attend_cached<T, G, 8, true><<<grid, THREADS, 0, q->stream>>>(p);
    else
        attend_cached<T, G, 16, true><<<grid, THREADS, 0, q->stream>>>(p);
}

template <typename T> static void launch_type(cached p, const blocks_of_row &b, bool whole, queue *q)
{
    dim3 grid((unsigned)b.shares, (unsigned)(p.at.kv_heads * b.head_groups), (unsigned)p.at.rows);
    if (!whole) {
        p.at.head_groups = p.at.group, grid.y = (unsigned)p.at.heads;
        attend_cached<T, 1, 32, false><<<grid, THREADS, 0, q->stream>>>(p);
        return;
    }
    if constexpr (sizeof(T) == 2)
        if (b.together == 2) return launch_whole<T, 2>(p, grid, q);
    launch_whole<T, 1>(p, grid, q);
}

static bool in_place(const step *s)
{
    return s->out[CACHED_K_AFTER].data == s->in[CACHED_K_POOL].data &&
           s->out[CACHED_V_AFTER].data == s->in[CACHED_V_POOL].data;
}

static status launch(const step *s, queue *q)
{
    cached p = cached_of(s, q->caps);
    blocks_of_row b = blocks_of_step(s, q->caps);
    p.ahead = in_place(s) && reads_ahead(s, p.angles != nullptr);
    if (!in_place(s)) {
        int64_t n = shape_count(s->in[CACHED_K_POOL].shape) * ingot_dtype_bytes(s->in[CACHED_K_POOL].dtype) / 2;
        copy_pools<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((uint16_t *)p.at.k, (uint16_t *)p.at.v,
                                                                   (const uint16_t *)s->in[CACHED_K_POOL].data,
                                                                   (const uint16_t *)s->in[CACHED_V_POOL].data, n);
    }
    by_dtype(s->in[CACHED_Q].dtype, [&](auto t) { launch_type<decltype(t)>(p, b, is_whole(s, p), q); });
    return INGOT_OK;
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    shape q = n->in[CACHED_Q]->shape;
    blocks_of_row b = blocks_of(q, n->in[CACHED_K]->shape, n->in[CACHED_BLOCK_TABLE]->shape,
                                ATTRS_OF(attention_rows_attrs, n)->page_size, n->in[CACHED_Q]->dtype, caps);
    return b.shares > 1 ? q.dim[0] * q.dim[1] * b.shares * (2 + q.dim[2]) * (int64_t)sizeof(float) : 0;
}

// The counters of blocks that share a row.
static status prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    blocks_of_row b = blocks_of_step(s, caps);
    size_t bytes = (size_t)(s->in[CACHED_Q].shape.dim[0] * s->in[CACHED_Q].shape.dim[1]) * sizeof(unsigned);
    if (b.shares == 1) return INGOT_OK;
    TRY(cuda_check(ctx, cudaMalloc(out, bytes), "making counters of shares"));
    TRY(cuda_check(ctx, cudaMemset(*out, 0, bytes), "making counters of shares"));
    return cuda_check(ctx, cudaStreamSynchronize(nullptr), "making counters of shares"); // programs do not wait for it
}

static void unprepare(void *counters)
{
    cudaFree(counters);
}

// Measured on sm_90; before it no launch begins while another runs, and the parts are launches of their own.
static bool match(const node *n, const device_caps *caps)
{
    shape q = n->in[CACHED_Q]->shape, k = n->in[CACHED_K]->shape, table = n->in[CACHED_BLOCK_TABLE]->shape;
    const value *angles = n->inputs > CACHED_ANGLES ? n->in[CACHED_ANGLES] : nullptr;
    ingot_dtype d = n->in[CACHED_Q]->dtype;
    bool turns = !angles ||
                 (angles->shape.dim[1] == q.dim[2] && angles->shape.dim[0] <= INT32_MAX && angles->dtype == INGOT_F32);
    return caps->major >= 9 && cuda_float(d) && turns && q.dim[0] <= MOST_ROWS && q.dim[1] <= 65535 &&
           q.dim[2] <= MOST_DIM && n->in[CACHED_K_POOL]->shape.dim[0] <= INT32_MAX && k.dim[1] <= 65535 &&
           shape_count(table) <= INT32_MAX && table.dim[1] * ATTRS_OF(attention_rows_attrs, n)->page_size < 1 << 30;
}

extern "C" const kernel_def cached_attention_cuda[] = {
    {.op = &op_cached_attention_def,
     .name = "cached_attention.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match,
     .wants = {STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS},
     .scratch = scratch,
     .prepare = prepare,
     .unprepare = unprepare,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
