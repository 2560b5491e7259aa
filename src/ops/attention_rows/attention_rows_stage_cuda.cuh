// Attention of one row over a paged cache, inside a persistent launch. A block has a few heads of one kv head and a share of
// the keys; a head has several warps, and in a warp `lanes` threads look at one key, eight elements each. A short cache is
// one share and a head a block; of a long one a block takes the heads that read the same keys, and whoever finishes a
// head's last share joins the shares in their order. All of it follows from the row's own position, so the bits do not
// depend on what else lies in the pages.
//
// The row's own key and value may still be on their way to the pages: they are then read from where they were made.
#ifndef OPS_ATTENTION_ROWS_ATTENTION_ROWS_STAGE_CUDA_CUH
#define OPS_ATTENTION_ROWS_ATTENTION_ROWS_STAGE_CUDA_CUH

#include "kit/cuda/stage.cuh"
#include "ops/attention_rows/attention_rows_stage_cuda.h"

struct attend_plan {
    int keys, group, together, groups, shares, items, lanes;
};

__device__ __forceinline__ attend_plan attend_plan_of(const stage &s, const stage_block &b)
{
    attend_plan p;
    int most = s.number[ATTEND_PAGES] * s.number[ATTEND_PAGE], kv = s.number[ATTEND_KV_HEADS];
    p.keys = min(integer(b, s.operand[ROWS_POSITION]) + 1, most);
    p.keys = max(p.keys, 0);
    p.group = s.number[ATTEND_GROUP];
    p.together = p.groups = p.shares = 1;
    p.lanes = s.number[ATTEND_LANES];
    if (p.keys <= ATTEND_SHORT) {
        p.groups = p.group, p.items = s.number[ATTEND_HEADS];
        return p;
    }
    p.together = min(p.group, STAGE_WARPS / 2);
    p.groups = (p.group + p.together - 1) / p.together;
    int room = min(s.number[ATTEND_SHARES], b.blocks / (kv * p.groups)),
        wanted = (p.keys + ATTEND_SHARE - 1) / ATTEND_SHARE;
    p.shares = max(1, min(room, wanted));
    p.items = kv * p.groups * p.shares;
    return p;
}

// Where the keys of the row's sequence lie. The first page is looked up once; most caches here are one page.
struct key_finder {
    const int32_t *pages; // NULL: a sequence that is not known, which has page 0 throughout
    int size, page, pool;

    __device__ __forceinline__ key_finder(const stage &s, const stage_block &b)
        : pages(nullptr), size(s.number[ATTEND_PAGE]), page(0), pool(s.number[ATTEND_POOL])
    {
        int sequence = integer(b, s.operand[ROWS_SEQUENCE]);
        if (sequence < 0 || sequence >= s.number[ATTEND_SEQUENCES]) return;
        pages = (const int32_t *)operand_at(b, s.operand[ROWS_BLOCK_TABLE]) + sequence * s.number[ATTEND_PAGES];
        page = pages[0];
    }
    // The pool's row of a key; -1: nowhere, which reads as zeros.
    __device__ __forceinline__ int operator()(int key) const
    {
        int at = key < size ? 0 : key / size, found = at && pages ? pages[at] : page;
        long long slot = (long long)found * size + (key - at * size);
        return found >= 0 && slot < pool ? (int)slot : -1;
    }
};

// What a thread knows of a head: the maximum and the sum of the keys it saw, and its eight columns of their values.
struct attended {
    float max, sum, o[8];

    template <typename T> __device__ __forceinline__ void add(float score, const pack<T, 8> &v)
    {
        float top = fmaxf(max, score), shrink = max == -INFINITY ? 0 : __expf(max - top), e = __expf(score - top);
        max = top;
        sum = sum * shrink + e;
#pragma unroll
        for (int i = 0; i < 8; i++) o[i] = o[i] * shrink + e * to_float(v.at[i]);
    }
    // With what the thread `offset` lanes away saw.
    __device__ __forceinline__ void join(int offset)
    {
        float other = __shfl_xor_sync(0xffffffffu, max, offset), more = __shfl_xor_sync(0xffffffffu, sum, offset);
        float top = fmaxf(max, other), mine = max == -INFINITY ? 0 : __expf(max - top),
              theirs = other == -INFINITY ? 0 : __expf(other - top);
        max = top;
        sum = sum * mine + more * theirs;
#pragma unroll
        for (int i = 0; i < 8; i++) o[i] = o[i] * mine + __shfl_xor_sync(0xffffffffu, o[i], offset) * theirs;
    }
};

template <typename T> struct key_and_value {
    pack<T, 8> k, v;
};

// A thread's eight columns of the keys and values of one kv head.
template <typename T> struct key_reader {
    key_finder find;
    const T *k, *v, *own_k, *own_v; // of the pools; of the row itself
    int own, width, until;
    bool inside; // the columns are

    __device__ __forceinline__ key_reader(const stage &s, const stage_block &b, int kv, int column, int last)
        : find(s, b), own(-1), until(last)
    {
        int dim = s.number[ATTEND_DIM], at = kv * dim + column;
        width = s.number[ATTEND_KV_HEADS] * dim;
        inside = column < dim;
        k = (const T *)s.operand[ROWS_K_POOL].at + at, v = (const T *)s.operand[ROWS_V_POOL].at + at;
        own_k = own_v = nullptr;
        if (!s.operand[ATTEND_OWN_SLOT].at) return;
        own = integer(b, s.operand[ATTEND_OWN_SLOT]);
        own_k = (const T *)operand_at(b, s.operand[ATTEND_OWN_K]) + at;
        own_v = (const T *)operand_at(b, s.operand[ATTEND_OWN_V]) + at;
    }
    __device__ __forceinline__ key_and_value<T> operator()(int key) const
    {
        key_and_value<T> r = {};
        int slot = inside && key < until ? find(key) : -1;
        if (slot < 0) return r;
        bool fresh = slot == own;
        r.k = load_pack<8>(fresh ? own_k : k + (int64_t)slot * width);
        r.v = load_pack<8>(fresh ? own_v : v + (int64_t)slot * width);
        return r;
    }
};

// This warp's keys of one head: every `stride`-th set from `start` on.
template <typename T>
__device__ __forceinline__ attended attend_warp(const stage &s, const stage_block &b, int head, int kv, int start,
                                                int until, int stride, int lanes)
{
    int column = b.lane % lanes * 8, dim = s.number[ATTEND_DIM], key = start + b.lane / lanes;
    key_reader<T> read(s, b, kv, column, until);
    attended a = {-INFINITY, 0, {}};
    key_and_value<T> now = read(key);
    pack<T, 8> q = {};
    if (column < dim) q = load_eight<T>(operand_at(b, s.operand[ROWS_Q]), (int64_t)head * dim + column);
    for (int first = start; first < until; first += stride, key += stride) {
        key_and_value<T> next = read(key + stride);
        float score = 0, other = 0;
#pragma unroll
        for (int i = 0; i < 8; i += 2) {
            score += to_float(q.at[i]) * to_float(now.k.at[i]);
            other += to_float(q.at[i + 1]) * to_float(now.k.at[i + 1]);
        }
        score += other;
        for (int offset = lanes / 2; offset; offset /= 2) score += __shfl_xor_sync(0xffffffffu, score, offset);
        if (key < until) a.add(score * s.scale, now.v);
        now = next;
    }
    for (int offset = lanes; offset < 32; offset *= 2) a.join(offset);
    return a;
}

// Joins `count` parts of one head, `stride` floats apart: column c of the values, the maximum and the sum.
__device__ __forceinline__ float join_parts(const float *part, int count, int stride, int c, float &top, float &whole)
{
    float y = 0;
    top = -INFINITY, whole = 0;
#pragma unroll 4
    for (int i = 0; i < count; i++) top = fmaxf(top, part[i * stride]);
#pragma unroll 2
    for (int i = 0; i < count; i++, part += stride) {
        float weight = part[0] == -INFINITY ? 0 : __expf(part[0] - top);
        whole += part[1] * weight;
        y += part[2 + c] * weight;
    }
    return y;
}

// The last block of a head's shares to come here joins them.
template <typename T>
__device__ __forceinline__ void join_shares_if_last(const stage &s, const stage_block &b, const attend_plan &p,
                                                    int first, int heads)
{
    __shared__ bool last;
    int dim = s.number[ATTEND_DIM], stride = 2 + dim;
    const float *parts = (const float *)s.operand[ATTEND_PARTS].at;
    stage_writer<T> y(b, s.operand[STAGE_INPUTS], {});
    unsigned *arrived = (unsigned *)s.operand[ATTEND_ARRIVED].at + first;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicAdd(arrived, 1) == (unsigned)p.shares - 1;
        if (last) *arrived = 0;
        __threadfence();
    }
    __syncthreads();
    if (!last) return;
#pragma unroll 1
    for (int i = threadIdx.x; i < heads * dim; i += STAGE_THREADS) {
        int head = first + quotient(i, dim), c = i - (head - first) * dim;
        float top, whole,
            v = join_parts(parts + (int64_t)head * s.number[ATTEND_SHARES] * stride, p.shares, stride, c, top, whole);
        y(head * dim + c, whole > 0 ? v / whole : 0);
    }
}

template <typename T>
__device__ __forceinline__ void attend_item(const stage &s, const stage_block &b, const attend_plan &p, int item)
{
    int dim = s.number[ATTEND_DIM], stride = 2 + dim, rest = p.shares > 1 ? quotient(item, p.shares) : item;
    int share = item - rest * p.shares, kv = quotient(rest, p.groups),
        first = kv * p.group + (rest - kv * p.groups) * p.together;
    int heads = min(p.together, (kv + 1) * p.group - first),
        warps = p.together > 1 ? quotient(STAGE_WARPS, p.together) : STAGE_WARPS;
    int mine = p.together > 1 ? quotient(b.warp, warps) : 0, sets = 32 / p.lanes;
    int each = p.shares > 1 ? (p.keys + p.shares - 1) / p.shares : p.keys, until = min((share + 1) * each, p.keys);
    float *work = (float *)(b.memory + STAGE_AT_WORK);
    stage_writer<T> y(b, s.operand[STAGE_INPUTS], {});
    if (mine < heads) {
        int start = share * each + (b.warp - mine * warps) * sets, column = b.lane % p.lanes * 8;
        attended a = attend_warp<T>(s, b, first + mine, kv, start, until, warps * sets, p.lanes);
        float *to = work + b.warp * stride;
        if (b.lane == 0) to[0] = a.max, to[1] = a.sum;
        if (b.lane < p.lanes && column < dim)
#pragma unroll
            for (int i = 0; i < 8; i++) to[2 + column + i] = a.o[i];
    }
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < heads * dim; i += STAGE_THREADS) {
        int g = p.together > 1 ? quotient(i, dim) : 0, c = i - g * dim;
        float top, whole, v = join_parts(work + g * warps * stride, warps, stride, c, top, whole);
        if (p.shares == 1) {
            y((first + g) * dim + c, whole > 0 ? v / whole : 0);
            continue;
        }
        float *part =
            (float *)s.operand[ATTEND_PARTS].at + ((int64_t)(first + g) * s.number[ATTEND_SHARES] + share) * stride;
        part[2 + c] = v;
        if (c == 0) part[0] = top, part[1] = whole;
    }
    if (p.shares > 1) join_shares_if_last<T>(s, b, p, first, heads);
}

template <typename T> __device__ __forceinline__ void stage_attend(const stage &s, stage_block &b)
{
    attend_plan p = attend_plan_of(s, b);
    for (int item = b.block; item < p.items; item += b.blocks) {
        attend_item<T>(s, b, p, item);
        __syncthreads();
    }
}

// The keys and values of before lie in memory since long.
template <typename T>
__device__ __forceinline__ void stage_attend_ahead(const stage &s, const stage_block &b, int thread)
{
    attend_plan p = attend_plan_of(s, b);
    int item = b.block - b.blocks / 2; // another block's: this one has none of its own to do
    if (item < 0) item += b.blocks;
    if (item >= p.items) return;
    int dim = s.number[ATTEND_DIM], rest = p.shares > 1 ? quotient(item, p.shares) : item;
    int share = item - rest * p.shares, kv = quotient(rest, p.groups);
    int each = p.shares > 1 ? (p.keys + p.shares - 1) / p.shares : p.keys, until = min((share + 1) * each, p.keys);
    int lines = (dim * (int)sizeof(T) + 127) / 128, width = s.number[ATTEND_KV_HEADS] * dim;
    key_finder find(s, b);
#pragma unroll 1
    for (int i = thread; i < (until - share * each) * lines; i += 32) {
        int key = lines > 1 ? quotient(i, lines) : i, slot = find(share * each + key);
        int64_t at = (int64_t)slot * width + kv * dim + (i - key * lines) * (128 / (int)sizeof(T));
        if (slot < 0) continue;
        prefetch_l2((const T *)s.operand[ROWS_K_POOL].at + at);
        prefetch_l2((const T *)s.operand[ROWS_V_POOL].at + at);
    }
}

#endif
