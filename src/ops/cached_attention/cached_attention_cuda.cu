// Attention of a few token rows over a cache, their own keys and values and rotary positions among it, in one launch on CUDA:
// what stands between the two products of a layer when a token is written. A block has a row, one head or two that
// read one kv head, and a share of the row's keys; LANES threads look at one key, eight elements each.
//
// Nobody reads the cache where a row of this call goes: who meets such a slot takes key and value from the call's own rows
// and turns the key itself, and one block writes them. So no block waits for another. What lies in the cache was written
// by earlier programs, so the first keys are read while the products before this launch still run. Where they lie is said by
// the call's inputs, which may not be there by then: they are read once more afterwards, and if they differ so are the keys.
//
// How many shares a row's keys have depends on shapes and on how many keys there are; the last block to end joins the
// shares in their order: the same bits each run.
#include "ops/attention_rows/attention_rows_cuda.cuh"
#include "ops/cached_attention/cached_attention.h"

enum { THREADS = 256, WARPS = THREADS / 32, N = 8, MOST_ROWS = 16, MOST_DIM = 256, MOST_WHOLE = 128, MOST_SHARES = 32 };
enum { SHORT = 512, SHARE = 256 }; // keys that are one share; keys of a share where there are more
enum { ALONE = 2048 };             // keys up to which each head has a block of its own
enum { BATCHES_AHEAD = 8 };        // that are on their way to the second cache before the wait

// n / by for n below 2^31: a multiplication.
struct divisor {
    unsigned by, factor;
    int shift;
};

static divisor divisor_of(unsigned by)
{
    int bits = 0;
    while (bits < 31 && 1u << bits < by) bits++;
    return {by, (unsigned)(((UINT64_C(1) << (31 + bits)) + by - 1) / by), 31 + bits};
}

__device__ __forceinline__ int quotient(int n, const divisor &d)
{
    return (int)((uint64_t)(unsigned)n * d.factor >> d.shift);
}

struct cached {
    paged at; // its k and v: the pools, as they are written
    const void *k, *v;
    int64_t k_row, k_head, v_row, v_head; // between rows and heads
    const int32_t *slot;
    const float *angles; // (positions, dim), or none
    int positions;
    unsigned *arrived; // by row and block of heads: shares that are done; 0 before and after
    divisor page, shares;
    bool ahead; // pools and angles lie as earlier programs left them
};

__device__ __forceinline__ void let_next_begin()
{
#if __CUDA_ARCH__ >= 900
    launch_dependents();
#endif
}

__device__ __forceinline__ void wait_for_earlier()
{
#if __CUDA_ARCH__ >= 900
    wait_for_dependencies();
#endif
}

// What may change between two looks: not from this multiprocessor's own cache.
__device__ __forceinline__ int look(const int32_t *p)
{
    return __ldcg(p);
}

// ---- rows, eight elements of which are a thread's ----

template <typename T> __device__ __forceinline__ T from_bits(unsigned short bits);
template <> __device__ __forceinline__ bf16 from_bits<bf16>(unsigned short bits)
{
    return __ushort_as_bfloat16(bits);
}
template <> __device__ __forceinline__ f16 from_bits<f16>(unsigned short bits)
{
    return __ushort_as_half(bits);
}
__device__ __forceinline__ unsigned short to_bits(bf16 x)
{
    return __bfloat16_as_ushort(x);
}
__device__ __forceinline__ unsigned short to_bits(f16 x)
{
    return __half_as_ushort(x);
}

// As words: the compiler would give each 16-bit element a register of its own.
template <typename T> struct part {
    uint32_t word[N * sizeof(T) / 4];
};

template <typename T> __device__ __forceinline__ T element(const part<T> &x, int i)
{
    if constexpr (sizeof(T) == 4)
        return __uint_as_float(x.word[i]);
    else
        return from_bits<T>((unsigned short)(x.word[i / 2] >> i % 2 * 16));
}

// Of floats, rounded.
template <typename T> __device__ __forceinline__ part<T> part_from(const float (&v)[N])
{
    part<T> x;
#pragma unroll
    for (int i = 0; i < N; i++) {
        if constexpr (sizeof(T) == 4)
            x.word[i] = __float_as_uint(v[i]);
        else if (i % 2 == 0)
            x.word[i / 2] = to_bits(to<T>(v[i])) | (uint32_t)to_bits(to<T>(v[i + 1])) << 16;
    }
    return x;
}

// WHOLE: rows are whole parts that begin evenly, halves of them as well; else element by element.
template <bool WHOLE, typename T> __device__ __forceinline__ part<T> part_of(const T *row, int column, int dim)
{
    part<T> x = {};
    if constexpr (WHOLE) {
        if (column < dim)
#pragma unroll
            for (int i = 0; i < (int)sizeof(T) / 2; i++) {
                uint4 w = *reinterpret_cast<const uint4 *>(row + column + i * 4);
                x.word[4 * i] = w.x, x.word[4 * i + 1] = w.y, x.word[4 * i + 2] = w.z, x.word[4 * i + 3] = w.w;
            }
    } else {
        float v[N] = {};
#pragma unroll
        for (int i = 0; i < N; i++)
            if (column + i < dim) v[i] = to_float(row[column + i]);
        x = part_from<T>(v);
    }
    return x;
}

template <bool WHOLE, typename T>
__device__ __forceinline__ void put_part(T *row, int column, int dim, const part<T> &x)
{
    if constexpr (WHOLE) {
        if (column < dim)
#pragma unroll
            for (int i = 0; i < (int)sizeof(T) / 2; i++)
                *reinterpret_cast<uint4 *>(row + column + i * 4) =
                    make_uint4(x.word[4 * i], x.word[4 * i + 1], x.word[4 * i + 2], x.word[4 * i + 3]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++)
            if (column + i < dim) row[column + i] = element(x, i);
    }
}

// What the columns' pairs are, half a head away.
template <bool WHOLE, typename T> __device__ __forceinline__ part<T> pair_of(const T *row, int column, int dim)
{
    int half = dim / 2;
    if constexpr (WHOLE)
        return part_of<true>(row, column < half ? column + half : column - half, column < dim ? dim : 0);
    float v[N] = {};
#pragma unroll
    for (int i = 0; i < N; i++) {
        int c = column + i;
        if (c < dim) v[i] = to_float(row[c < half ? c + half : c - half]);
    }
    return part_from<T>(v);
}

struct turn {
    float cosine[N], sine[N]; // the sine of the first half's columns has its sign changed
};

// Zeros for a position that the table does not have.
template <bool WHOLE> __device__ __forceinline__ turn turn_at(const cached &p, int position, int column)
{
    turn t = {};
    int dim = p.at.dim, half = dim / 2;
    if (!p.angles || position < 0 || position >= p.positions || column >= dim) return t;
    const float *row = p.angles + (int64_t)position * dim;
    if constexpr (WHOLE) {
        bool first = column < half;
        row += first ? column : column - half;
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            float4 c = *reinterpret_cast<const float4 *>(row + i);
            float4 s = *reinterpret_cast<const float4 *>(row + half + i);
            t.cosine[i] = c.x, t.cosine[i + 1] = c.y, t.cosine[i + 2] = c.z, t.cosine[i + 3] = c.w;
            t.sine[i] = s.x, t.sine[i + 1] = s.y, t.sine[i + 2] = s.z, t.sine[i + 3] = s.w;
        }
#pragma unroll
        for (int i = 0; i < N; i++) t.sine[i] = first ? -t.sine[i] : t.sine[i];
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
            int c = column + i, at = c < half ? c : c - half;
            if (c < dim) t.cosine[i] = row[at], t.sine[i] = c < half ? -row[half + at] : row[half + at];
        }
    }
    return t;
}

template <typename T>
__device__ __forceinline__ part<T> turned(const cached &p, const part<T> &x, const part<T> &pair, const turn &t)
{
    if (!p.angles) return x;
    float y[N];
#pragma unroll
    for (int i = 0; i < N; i++) y[i] = to_float(element(x, i)) * t.cosine[i] + to_float(element(pair, i)) * t.sine[i];
    return part_from<T>(y);
}

// ---- which keys ----

struct share_of_row {
    int position, sequence, used, from, until; // used: shares that the row has; keys of this one
};

__device__ __forceinline__ share_of_row share_at(const cached &p, int row, int share)
{
    share_of_row r;
    r.position = look(p.at.position + row), r.sequence = look(p.at.sequence + row);
    int most = p.at.pages * p.at.page_size, keys = r.position < most ? r.position + 1 : most, each = keys;
    r.used = 1;
    if (keys > SHORT && p.at.shares > 1) {
        bool few = keys <= SHARE * p.at.shares;
        each = few ? SHARE : quotient(keys + p.at.shares - 1, p.shares);
        r.used = few ? (keys + SHARE - 1) / SHARE : p.at.shares; // each is more than there are shares: none is empty
    }
    r.from = share * each;
    r.until = share >= r.used ? r.from : r.from + each < keys ? r.from + each : keys;
    return r;
}

// Keys that a thread looks at together, one from each round of the sets; slot -1: nowhere, which reads as zeros.
template <typename T, int U> struct some_keys {
    part<T> k[U], v[U];
    int slot[U];
    int entry[U], page[U]; // of the block table, and what it said; -1: none was asked
};

template <typename T, int U, int SETS>
__device__ __forceinline__ void find_slots(some_keys<T, U> &b, const cached &p, const share_of_row &r, int first)
{
    bool known = r.sequence >= 0 && r.sequence < p.at.sequences;
#pragma unroll
    for (int u = 0; u < U; u++) {
        int key = first + u * SETS, place = quotient(key, p.page);
        bool inside = key < r.until;
        b.entry[u] = inside && known ? r.sequence * p.at.pages + place : -1;
        b.page[u] = b.entry[u] >= 0 ? look(p.at.table + b.entry[u]) : 0;
        int64_t slot = (int64_t)b.page[u] * p.at.page_size + (key - place * p.at.page_size);
        b.slot[u] = inside && b.page[u] >= 0 && slot < p.at.pool ? (int)slot : -1;
    }
}

__device__ __forceinline__ int64_t in_pool(const cached &p, int slot, int kv)
{
    return ((int64_t)slot * p.at.kv_heads + kv) * p.at.dim;
}

// What is read where a row of this call goes is not used.
template <bool WHOLE, typename T, int U>
__device__ __forceinline__ void read_cache(some_keys<T, U> &b, const cached &p, int kv, int column)
{
#pragma unroll
    for (int u = 0; u < U; u++) {
        b.k[u] = b.v[u] = {};
        if (b.slot[u] < 0) continue;
        int64_t at = in_pool(p, b.slot[u], kv);
        b.k[u] = part_of<WHOLE>((const T *)p.at.k + at, column, p.at.dim);
        b.v[u] = part_of<WHOLE>((const T *)p.at.v + at, column, p.at.dim);
    }
}

// Whether the block table says what it said.
template <typename T, int U> __device__ __forceinline__ bool lie_there(const some_keys<T, U> &b, const cached &p)
{
    bool same = true;
#pragma unroll
    for (int u = 0; u < U; u++)
        if (b.entry[u] >= 0) same = same && look(p.at.table + b.entry[u]) == b.page[u];
    return same;
}

// To the second cache, behind those that are read at once.
template <typename T, int SETS>
__device__ __forceinline__ void fetch_rest(const cached &p, const share_of_row &r, int first, int batch, int kv,
                                           int column)
{
    if (column >= p.at.dim || column * (int)sizeof(T) % 32) return;
    int end = first + BATCHES_AHEAD * batch < r.until ? first + BATCHES_AHEAD * batch : r.until;
#pragma unroll 1
    for (int key = first + batch; key < end; key += SETS) {
        some_keys<T, 1> b;
        find_slots<T, 1, SETS>(b, p, r, key);
        if (b.slot[0] < 0) continue;
        prefetch_l2((const T *)p.at.k + in_pool(p, b.slot[0], kv) + column);
        prefetch_l2((const T *)p.at.v + in_pool(p, b.slot[0], kv) + column);
    }
}

template <typename T> struct own_row {
    part<T> k, v, pair; // pair: of k's columns, until it is turned
};

template <bool WHOLE, typename T>
__device__ __forceinline__ own_row<T> read_row(const cached &p, int row, int kv, int column)
{
    const T *k = (const T *)p.k + row * p.k_row + kv * p.k_head, *v = (const T *)p.v + row * p.v_row + kv * p.v_head;
    own_row<T> r = {part_of<WHOLE>(k, column, p.at.dim), part_of<WHOLE>(v, column, p.at.dim)};
    if (p.angles) r.pair = pair_of<WHOLE>(k, column, p.at.dim);
    return r;
}

// Key and value of each slot that a row of this call goes to: its own row mostly, which is at hand. Lane i of a warp has the
// slot of row i, -1 where that goes nowhere; of equal slots the last row counts.
template <bool WHOLE, typename T, int U>
__device__ __forceinline__ void take_fresh(some_keys<T, U> &b, const cached &p, int fresh, int row, int kv, int column,
                                           const own_row<T> &own)
{
    unsigned others = 0;
    int from[U];
#pragma unroll
    for (int u = 0; u < U; u++) from[u] = -1;
#pragma unroll 1
    for (int i = 0; i < p.at.rows; i++) {
        int slot = __shfl_sync(0xffffffffu, fresh, i);
#pragma unroll
        for (int u = 0; u < U; u++) from[u] = slot == b.slot[u] ? i : from[u];
    }
#pragma unroll
    for (int u = 0; u < U; u++) {
        if (b.slot[u] < 0) continue;
        if (from[u] == row) b.k[u] = own.k, b.v[u] = own.v;
        if (from[u] >= 0 && from[u] != row) others |= 1u << u;
    }
#pragma unroll 1
    for (; others; others &= others - 1) { // once in the code: it is long, and seldom
        int at = __ffs((int)others) - 1, of = 0;
#pragma unroll
        for (int u = 0; u < U; u++) of = u == at ? from[u] : of;
        own_row<T> other = read_row<WHOLE, T>(p, of, kv, column);
        other.k = turned(p, other.k, other.pair, turn_at<WHOLE>(p, look(p.at.position + of), column));
#pragma unroll
        for (int u = 0; u < U; u++)
            if (u == at) b.k[u] = other.k, b.v[u] = other.v;
    }
}

// The slot that a row is to be written to; -1: nowhere, or a later row goes there.
__device__ __forceinline__ int slot_for(const cached &p, int fresh, int row)
{
    int slot = __shfl_sync(0xffffffffu, fresh, row);
    bool later = false;
#pragma unroll 1
    for (int i = row + 1; i < p.at.rows; i++) later |= __shfl_sync(0xffffffffu, fresh, i) == slot;
    return later ? -1 : slot;
}

// ---- sums ----

// Of numbers that are shares of 2^max, in units of 2^top.
__device__ __forceinline__ float weight_of(float max, float top)
{
    return max == -INFINITY ? 0 : exp2_approx(max - top);
}

struct running {
    float max, sum, o[N];
};

template <typename T, int U, int LANES, int SETS>
__device__ __forceinline__ void attend_some(running &r, const part<T> &q, const some_keys<T, U> &b, int first,
                                            int until, float scale)
{
    float s[U], top = r.max;
#pragma unroll
    for (int u = 0; u < U; u++) {
        s[u] = 0;
#pragma unroll
        for (int i = 0; i < N; i++) s[u] += to_float(element(q, i)) * to_float(element(b.k[u], i));
    }
#pragma unroll
    for (int offset = LANES / 2; offset; offset /= 2)
#pragma unroll
        for (int u = 0; u < U; u++) s[u] += __shfl_xor_sync(0xffffffffu, s[u], offset);
#pragma unroll
    for (int u = 0; u < U; u++) {
        s[u] = first + u * SETS < until ? s[u] * scale : -INFINITY;
        top = fmaxf(top, s[u]);
    }
    float shrink = weight_of(r.max, top);
    r.max = top;
    r.sum *= shrink;
#pragma unroll
    for (int i = 0; i < N; i++) r.o[i] *= shrink;
#pragma unroll
    for (int u = 0; u < U; u++) {
        float e = weight_of(s[u], top);
        r.sum += e;
#pragma unroll
        for (int i = 0; i < N; i++) r.o[i] += e * to_float(element(b.v[u], i));
    }
}

// Over lanes that differ in these bits; each gets the same.
template <int FROM, int TO> __device__ __forceinline__ float lanes_max(float v)
{
#pragma unroll
    for (int bit = FROM; bit < TO; bit *= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, bit));
    return v;
}
template <int FROM, int TO> __device__ __forceinline__ float lanes_sum(float v)
{
#pragma unroll
    for (int bit = FROM; bit < TO; bit *= 2) v += __shfl_xor_sync(0xffffffffu, v, bit);
    return v;
}

// The sets of a warp.
template <int LANES> __device__ __forceinline__ void join_sets(running &r)
{
    float top = lanes_max<LANES, 32>(r.max), weight = weight_of(r.max, top);
    r.max = top;
    r.sum = lanes_sum<LANES, 32>(r.sum * weight);
#pragma unroll
    for (int i = 0; i < N; i++) r.o[i] = lanes_sum<LANES, 32>(r.o[i] * weight);
}

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
        float weight = weight_of(numbers[first + i][g].x, f.top);
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
        float weight = weight_of(__ldcg(part + i * each), top);
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
    let_next_begin();
    int row = blockIdx.z, kv = (int)blockIdx.y / p.at.head_groups, group = (int)blockIdx.y - kv * p.at.head_groups;
    int first_head = kv * p.at.group + group * G, heads = (kv + 1) * p.at.group - first_head;
    heads = heads < G ? heads : G;
    float scale = p.at.scale * 1.4426950408889634f; // powers of two
    int lane = (int)threadIdx.x % LANES, set = (int)threadIdx.x / LANES, column = lane * N;

    if (!p.ahead) wait_for_earlier();
    share_of_row mine = share_at(p, row, blockIdx.x);
    turn angle = turn_at<WHOLE>(p, mine.position, column);
    some_keys<T, U> keys;
    find_slots<T, U, SETS>(keys, p, mine, mine.from + set);
    read_cache<WHOLE>(keys, p, kv, column);
    if (p.ahead) fetch_rest<T, SETS>(p, mine, mine.from + set, BATCH, kv, column);
    wait_for_earlier();

    part<T> query[G], pair[G];
    own_row<T> own = read_row<WHOLE, T>(p, row, kv, column);
    int fresh = -1;
    if ((int)threadIdx.x % 32 < p.at.rows) fresh = look(p.slot + threadIdx.x % 32);
    if (fresh >= p.at.pool) fresh = -1;
#pragma unroll
    for (int g = 0; g < G; g++) {
        const T *q = (const T *)p.at.q + row * p.at.q_row + (first_head + (g < heads ? g : 0)) * p.at.q_head;
        query[g] = part_of<WHOLE>(q, column, p.at.dim);
        if (p.angles) pair[g] = pair_of<WHOLE>(q, column, p.at.dim);
    }
    bool there = true; // the keys are those of this call
    if (p.ahead) {
        share_of_row now = share_at(p, row, blockIdx.x);
        bool same = now.position == mine.position && now.sequence == mine.sequence && lie_there(keys, p);
        if (now.position != mine.position) angle = turn_at<WHOLE>(p, now.position, column);
        there = !__any_sync(0xffffffffu, !same);
        mine = now;
    }
    own.k = turned(p, own.k, own.pair, angle);
    running r[G];
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

static bool match(const node *n, const device_caps *)
{
    shape q = n->in[CACHED_Q]->shape, k = n->in[CACHED_K]->shape, table = n->in[CACHED_BLOCK_TABLE]->shape;
    const value *angles = n->inputs > CACHED_ANGLES ? n->in[CACHED_ANGLES] : nullptr;
    ingot_dtype d = n->in[CACHED_Q]->dtype;
    bool turns = !angles ||
                 (angles->shape.dim[1] == q.dim[2] && angles->shape.dim[0] <= INT32_MAX && angles->dtype == INGOT_F32);
    return cuda_float(d) && turns && q.dim[0] <= MOST_ROWS && q.dim[1] <= 65535 && q.dim[2] <= MOST_DIM &&
           n->in[CACHED_K_POOL]->shape.dim[0] <= INT32_MAX && k.dim[1] <= 65535 && shape_count(table) <= INT32_MAX &&
           table.dim[1] * ATTRS_OF(attention_rows_attrs, n)->page_size < 1 << 30;
}

extern "C" const kernel_def cached_attention_cuda[] = {
    {.op = &op_cached_attention_def,
     .name = "cached_attention.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_BY_REQUEST,
     .match = match,
     .wants = {STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS},
     .scratch = scratch,
     .prepare = prepare,
     .unprepare = unprepare,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
