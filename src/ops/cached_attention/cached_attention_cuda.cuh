// What cached_attention is made of on CUDA: the numbers of a call, rows and their rotary positions, where keys lie, sums over
// them. The launch itself is in cached_attention_cuda.cu.
#ifndef OPS_CACHED_ATTENTION_CACHED_ATTENTION_CUDA_CUH
#define OPS_CACHED_ATTENTION_CACHED_ATTENTION_CUDA_CUH

#include "ops/attention_rows/attention_rows_cuda.cuh"
#include "ops/cached_attention/cached_attention.h"

enum { THREADS = 256, WARPS = THREADS / 32, N = 8, MOST_ROWS = 16, MOST_DIM = 256, MOST_WHOLE = 128, MOST_SHARES = 32 };
enum { SHORT = 512, SHARE = 256 }; // keys that are one share; keys of a share where there are more
enum {
    ALONE = 8192
}; // keys up to which each head has a block of its own: short rows of a long cache fill the GPU better
enum { BATCHES_AHEAD = 8 }; // that are on their way to the second cache before the wait

// n / by for n below 2^31: a multiplication.
struct divisor {
    unsigned by, factor;
    int shift;
};

static inline divisor divisor_of(unsigned by)
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
                uint4 w = __ldcg(reinterpret_cast<const uint4 *>(row + column + i * 4));
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

// Whether the block table says what it said. All of it is asked before the first answer is looked at.
template <typename T, int U> __device__ __forceinline__ bool lie_there(const some_keys<T, U> &b, const cached &p)
{
    int page[U], differ = 0;
#pragma unroll
    for (int u = 0; u < U; u++) page[u] = look(p.at.table + (b.entry[u] < 0 ? 0 : b.entry[u]));
#pragma unroll
    for (int u = 0; u < U; u++) differ |= b.entry[u] < 0 ? 0 : page[u] ^ b.page[u];
    return differ == 0;
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

template <typename T> __device__ __forceinline__ const T *key_of(const cached &p, int row, int kv)
{
    return (const T *)p.k + row * p.k_row + kv * p.k_head;
}
template <typename T> __device__ __forceinline__ const T *value_of(const cached &p, int row, int kv)
{
    return (const T *)p.v + row * p.v_row + kv * p.v_head;
}

template <typename T> struct own_row {
    part<T> k, v, pair; // pair: of k's columns, until it is turned
};

template <bool WHOLE, typename T>
__device__ __forceinline__ own_row<T> read_row(const cached &p, const T *k, const T *v, int column)
{
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
        own_row<T> other = read_row<WHOLE>(p, key_of<T>(p, of, kv), value_of<T>(p, of, kv), column);
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
__device__ __forceinline__ float weight_at(float max, float top)
{
    return max == -INFINITY ? 0 : exp2_approx(max - top);
}

struct so_far {
    float max, sum, o[N];
};

template <typename T, int U, int LANES, int SETS>
__device__ __forceinline__ void attend_some(so_far &r, const part<T> &q, const some_keys<T, U> &b, int first, int until,
                                            float scale)
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
    float shrink = weight_at(r.max, top);
    r.max = top;
    r.sum *= shrink;
#pragma unroll
    for (int i = 0; i < N; i++) r.o[i] *= shrink;
#pragma unroll
    for (int u = 0; u < U; u++) {
        float e = weight_at(s[u], top);
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
template <int LANES> __device__ __forceinline__ void join_sets(so_far &r)
{
    float top = lanes_max<LANES, 32>(r.max), weight = weight_at(r.max, top);
    r.max = top;
    r.sum = lanes_sum<LANES, 32>(r.sum * weight);
#pragma unroll
    for (int i = 0; i < N; i++) r.o[i] = lanes_sum<LANES, 32>(r.o[i] * weight);
}

#endif
