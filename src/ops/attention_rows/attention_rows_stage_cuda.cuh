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
    p.group = s.number[ATTEND_HEADS] / kv;
    p.together = p.keys <= ATTEND_SHORT ? 1 : min(p.group, STAGE_WARPS / 2);
    p.groups = (p.group + p.together - 1) / p.together;
    int room = min(s.number[ATTEND_SHARES], b.blocks / (kv * p.groups)),
        wanted = (p.keys + ATTEND_SHARE - 1) / ATTEND_SHARE;
    p.shares = p.keys <= ATTEND_SHORT ? 1 : max(1, min(room, wanted));
    p.items = kv * p.groups * p.shares;
    p.lanes = s.number[ATTEND_DIM] <= 32 ? 4 : s.number[ATTEND_DIM] <= 64 ? 8 : s.number[ATTEND_DIM] <= 128 ? 16 : 32;
    return p;
}

// The pool's row of a key; -1: nowhere, which reads as zeros.
__device__ __forceinline__ int key_slot(const stage &s, const stage_block &b, int sequence, int key)
{
    bool known = sequence >= 0 && sequence < s.number[ATTEND_SEQUENCES];
    const int32_t *table = (const int32_t *)operand_at(b, s.operand[ROWS_BLOCK_TABLE], 1);
    int size = s.number[ATTEND_PAGE], page = known ? table[sequence * s.number[ATTEND_PAGES] + key / size] : 0;
    long long slot = (long long)page * size + key % size;
    return page >= 0 && slot < s.number[ATTEND_POOL] ? (int)slot : -1;
}

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

struct attend_keys {
    const void *k, *v; // the pools, or where the row's own lie
    int64_t at;        // of the first of this thread's eight elements; < 0: zeros
};

__device__ __forceinline__ attend_keys find_key(const stage &s, const stage_block &b, int sequence, int own, int key,
                                                int until, int kv, int column)
{
    int dim = s.number[ATTEND_DIM], width = s.number[ATTEND_KV_HEADS] * dim;
    int slot = key < until && column < dim ? key_slot(s, b, sequence, key) : -1;
    bool fresh = slot >= 0 && slot == own;
    attend_keys a;
    a.k = fresh ? operand_at(b, s.operand[ATTEND_OWN_K], width) : s.operand[ROWS_K_POOL].at;
    a.v = fresh ? operand_at(b, s.operand[ATTEND_OWN_V], width) : s.operand[ROWS_V_POOL].at;
    a.at = slot < 0 ? -1 : (fresh ? 0 : (int64_t)slot * width) + kv * dim + column;
    return a;
}

template <typename T> struct key_and_value {
    pack<T, 8> k, v;

    __device__ __forceinline__ key_and_value(const attend_keys &a) : k{}, v{}
    {
        if (a.at < 0) return;
        k = load_eight<T>(a.k, a.at);
        v = load_eight<T>(a.v, a.at);
    }
};

// This warp's keys of one head: every `stride`-th set from `start` on.
template <typename T>
__device__ __forceinline__ attended attend_warp(const stage &s, const stage_block &b, int head, int kv, int start,
                                                int until, int stride, int lanes)
{
    int column = b.lane % lanes * 8, sequence = integer(b, s.operand[ROWS_SEQUENCE]), dim = s.number[ATTEND_DIM];
    int own = s.operand[ATTEND_OWN_SLOT].at ? integer(b, s.operand[ATTEND_OWN_SLOT]) : -1;
    attended a = {-INFINITY, 0, {}};
    int key = start + b.lane / lanes;
    key_and_value<T> now(find_key(s, b, sequence, own, key, until, kv, column));
    pack<T, 8> q = {};
    if (column < dim)
        q = load_eight<T>(operand_at(b, s.operand[ROWS_Q], s.number[ATTEND_HEADS] * dim), (int64_t)head * dim + column);
    for (int first = start; first < until; first += stride, key += stride) {
        key_and_value<T> next(find_key(s, b, sequence, own, key + stride, until, kv, column));
        float score = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) score += to_float(q.at[i]) * to_float(now.k.at[i]);
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
    for (int i = 0; i < count; i++) top = fmaxf(top, __ldcg(part + i * stride));
    for (int i = 0; i < count; i++) {
        float m = __ldcg(part + i * stride), weight = m == -INFINITY ? 0 : __expf(m - top);
        whole += __ldcg(part + i * stride + 1) * weight;
        y += __ldcg(part + i * stride + 2 + c) * weight;
    }
    return y;
}

__device__ __forceinline__ float join_warps(const float *part, int count, int stride, int c, float &top, float &whole)
{
    float y = 0;
    top = -INFINITY, whole = 0;
    for (int i = 0; i < count; i++) top = fmaxf(top, part[i * stride]);
    for (int i = 0; i < count; i++) {
        float weight = part[i * stride] == -INFINITY ? 0 : __expf(part[i * stride] - top);
        whole += part[i * stride + 1] * weight;
        y += part[i * stride + 2 + c] * weight;
    }
    return y;
}

// The last block of a head's shares to come here joins them.
__device__ __forceinline__ void join_shares_if_last(const stage &s, const stage_block &b, const attend_plan &p,
                                                    int first, int heads, const stage_writer &y)
{
    __shared__ bool last;
    int dim = s.number[ATTEND_DIM], stride = 2 + dim;
    const float *parts = (const float *)s.operand[ATTEND_PARTS].at;
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
    for (int i = threadIdx.x; i < heads * dim; i += STAGE_THREADS) {
        int head = first + i / dim, c = i % dim;
        float top, whole,
            v = join_parts(parts + (int64_t)head * s.number[ATTEND_SHARES] * stride, p.shares, stride, c, top, whole);
        put(y.global, y.dtype, head * dim + c, whole > 0 ? v / whole : 0);
    }
}

__device__ __forceinline__ void attend_item(const stage &s, const stage_block &b, const attend_plan &p, int item)
{
    int dim = s.number[ATTEND_DIM], stride = 2 + dim, share = item % p.shares, rest = item / p.shares;
    int kv = rest / p.groups, first = kv * p.group + rest % p.groups * p.together;
    int heads = min(p.together, (kv + 1) * p.group - first), warps = STAGE_WARPS / p.together;
    int mine = b.warp / warps, sets = 32 / p.lanes, each = (p.keys + p.shares - 1) / p.shares;
    int until = min((share + 1) * each, p.keys), column = b.lane % p.lanes * 8;
    float *work = (float *)(b.memory + STAGE_AT_WORK);
    stage_writer y(b, s.operand[STAGE_INPUTS], s.count);
    if (mine < heads) {
        attended a;
        int start = share * each + b.warp % warps * sets;
        with_type(s.operand[ROWS_Q].dtype, [&](auto t) {
            a = attend_warp<decltype(t)>(s, b, first + mine, kv, start, until, warps * sets, p.lanes);
        });
        float *to = work + b.warp * stride;
        if (b.lane == 0) to[0] = a.max, to[1] = a.sum;
        if (b.lane < p.lanes)
            for (int i = 0; i < 8; i++)
                if (column + i < dim) to[2 + column + i] = a.o[i];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < heads * dim; i += STAGE_THREADS) {
        int g = i / dim, c = i - g * dim;
        float top, whole, v = join_warps(work + g * warps * stride, warps, stride, c, top, whole);
        if (p.shares == 1) {
            put(y.global, y.dtype, (first + g) * dim + c, whole > 0 ? v / whole : 0);
            continue;
        }
        float *part =
            (float *)s.operand[ATTEND_PARTS].at + ((int64_t)(first + g) * s.number[ATTEND_SHARES] + share) * stride;
        part[2 + c] = v;
        if (c == 0) part[0] = top, part[1] = whole;
    }
    if (p.shares > 1) join_shares_if_last(s, b, p, first, heads, y);
}

__device__ __forceinline__ void stage_attend(const stage &s, stage_block &b)
{
    attend_plan p = attend_plan_of(s, b);
    for (int item = b.block; item < p.items; item += b.blocks) {
        attend_item(s, b, p, item);
        __syncthreads();
    }
}

// The keys and values of before lie in memory since long: half of a thread's lines are keys, half are values.
__device__ __forceinline__ void stage_attend_ahead(const stage &s, const stage_block &b, int thread)
{
    attend_plan p = attend_plan_of(s, b);
    if (b.block >= p.items) return;
    int dim = s.number[ATTEND_DIM], kv = b.block / p.shares / p.groups, share = b.block % p.shares;
    int each = (p.keys + p.shares - 1) / p.shares, until = min((share + 1) * each, p.keys);
    int sequence = integer(b, s.operand[ROWS_SEQUENCE]), size = size_of(s.operand[ROWS_K_POOL].dtype);
    int lines = (dim * size + 127) / 128;
    for (int i = thread; i < (until - share * each) * lines; i += STAGE_THREADS - 32) {
        int slot = key_slot(s, b, sequence, share * each + i / lines);
        int64_t at = ((int64_t)slot * s.number[ATTEND_KV_HEADS] + kv) * dim * size + i % lines * 128;
        if (slot < 0) continue;
        fetch_ahead((const char *)s.operand[ROWS_K_POOL].at + at);
        fetch_ahead((const char *)s.operand[ROWS_V_POOL].at + at);
    }
}

#endif
