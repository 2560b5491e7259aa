// What stages are written with, and how weights come.
//
// Weights never depend on what the launch computes. So each warp reads its own tiles of all products of the launch, in
// their order, through a ring of its own in shared memory, STAGE_SLOTS tiles ahead of the one it multiplies by: while the
// block waits for others, and while it makes a norm, the memory goes on. A lane reads back only what it asked for itself
// (cp.async, sm_80 on), so nobody waits for anybody. The copy engine of sm_90 in its place was 1 to 2 % slower.
//
//     tile  a piece of a row, of which there are a power of two, up to 128 packs of 16 bytes; lane l has packs l, l + 32,
//           l + 64, l + 96 of it
//     turn  tiles are dealt to the warps in turn, and the next product goes on where this one ended
#ifndef KIT_CUDA_STAGE_CUH
#define KIT_CUDA_STAGE_CUH

#include "kit/cuda/stage.h"
#include "kit/cuda/values.cuh"

enum { TILE_PACKS = STAGE_SLOT / 16 };

// A warp's place in the list of weights: the next tile to ask for. The same in all lanes.
struct stage_feed {
    const stage_weights *list;
    int count, matrix; // of the list; the one that the next tile is of
    int turn;          // which warp has that matrix's first tile
    int tile, tiles, shift, packs;
    const char *rows; // of this block
    int slot;
};

struct stage_block {
    char *memory;
    int block, blocks, warp, lane;
    unsigned part; // 2^32 / blocks
    unsigned tag;  // of this launch
    char *tagged;
    int matrix; // of the list: the next that is multiplied by
    int turn;   // which warp has its first tile
    int oldest; // slot of the tile that comes next
    stage_feed feed;
};

struct stage_slice {
    int first, end;
};

// A block's slice of n: n / blocks elements, and one more in the first n % blocks blocks.
__device__ __forceinline__ stage_slice slice_of(const stage_block &b, int n)
{
    int each = (int)__umulhi((unsigned)n, b.part), rest = n - each * b.blocks;
    if (rest >= b.blocks) each++, rest -= b.blocks;
    int first = b.block * each + min(b.block, rest);
    return {first, first + each + (b.block < rest)};
}

// a / b for a below 2^20 and b below 2^12: a few instructions, where dividing integers takes dozens.
__device__ __forceinline__ int quotient(int a, int b)
{
    return (int)__fdividef((float)a + 0.5f, (float)b);
}

// ---- operands ----

__device__ __forceinline__ int size_of(int dtype)
{
    return dtype == INGOT_F32 || dtype == INGOT_I32 ? 4 : 2;
}

// Of T, the launch's dtype, or float32.
template <typename T> __device__ __forceinline__ float element(const void *p, int dtype, int64_t i)
{
    return dtype == INGOT_F32 ? ((const float *)p)[i] : to_float(((const T *)p)[i]);
}

template <typename T> __device__ __forceinline__ void put(void *p, int dtype, int64_t i, float v)
{
    if (dtype == INGOT_F32)
        ((float *)p)[i] = v;
    else
        ((T *)p)[i] = to<T>(v);
}

// Where element 0 of an operand lies, or would lie if more of it than the slice from `first` on were there.
__device__ __forceinline__ const void *operand_at(const stage_block &b, const stage_operand &o, int first = 0)
{
    if (o.local == STAGE_GLOBAL) return o.at;
    return b.memory + (int)o.local - (o.sliced ? first * size_of(o.dtype) : 0);
}

__device__ __forceinline__ int32_t integer(const stage_block &b, const stage_operand &o)
{
    return *(const int32_t *)operand_at(b, o);
}

// An element and the launch's tag in one word, so that whoever finds the tag has the element: no barrier stands between them.
// Each word is written once a launch; the tags of 65,535 launches are different.
template <typename T> __device__ __forceinline__ void publish(char *at, unsigned tag, int i, float v)
{
    if constexpr (sizeof(T) == 2) {
        T x = to<T>(v);
        unsigned word = *reinterpret_cast<const unsigned short *>(&x) | tag << 16;
        store_relaxed(at + i * 4, word);
    } else {
        unsigned long long word = __float_as_uint(v) | (unsigned long long)tag << 32;
        store_relaxed(at + i * 8, word);
    }
}

__device__ __forceinline__ char *tagged_at(const stage_block &b, const stage_operand &o)
{
    return o.tagged ? b.tagged + (int64_t)o.tagged * STAGE_TAGGED : nullptr;
}

// Writes elements of this block's slice, or, of a value that is whole here, any: to shared memory, to global memory, and
// with tags where somebody waits for it.
template <typename T> struct stage_writer {
    void *local, *global;
    char *tagged;
    unsigned tag;
    int dtype;
    stage_slice slice;

    __device__ __forceinline__ stage_writer(const stage_block &b, const stage_operand &o, stage_slice s)
        : local(o.local == STAGE_GLOBAL ? nullptr : (void *)operand_at(b, o, s.first)), global(o.at),
          tagged(tagged_at(b, o)), tag(b.tag), dtype(o.dtype), slice(s)
    {
    }
    __device__ __forceinline__ void operator()(int i, float v) const
    {
        if (tagged) publish<T>(tagged, tag, i, v);
        if (local) put<T>(local, dtype, i, v);
        put<T>(global, dtype, i, v);
    }
    __device__ __forceinline__ void whole(int i, float v) const
    {
        put<T>(local, dtype, i, v);
        if (i >= slice.first && i < slice.end) put<T>(global, dtype, i, v);
    }
    __device__ __forceinline__ void whole_eight(int i, const pack<T, 8> &v) const
    {
        store_pack<8>((T *)local + i, v);
#pragma unroll 1
        for (int k = max(i, slice.first); k < min(i + 8, slice.end); k++) ((T *)global)[k] = ((const T *)local)[k];
    }
};

// Eight elements side by side, the first at a multiple of eight.
template <typename T> __device__ __forceinline__ pack<T, 8> load_eight(const void *p, int64_t i)
{
    return load_pack<8>((const T *)p + i);
}

// Over the block, in a fixed order; all threads must call, and get it.
__device__ __forceinline__ float stage_sum(const stage_block &b, float v)
{
    float *part = (float *)(b.memory + STAGE_AT_WORK);
    v = warp_join<add_floats>(v);
    if (b.lane == 0) part[b.warp] = v;
    __syncthreads();
    v = 0;
#pragma unroll
    for (int i = 0; i < STAGE_WARPS; i++) v += part[i];
    return v;
}

// ---- weights ----

__device__ __forceinline__ char *slot_at(const stage_block &b, int slot)
{
    return b.memory + STAGE_AT_WEIGHTS + (b.warp * STAGE_SLOTS + slot) * STAGE_SLOT;
}

// Asks for the packs of a tile; there may be none. Every lane for those that it will read.
__device__ __forceinline__ void ring_ask(const stage_block &b, int slot, const char *from, int packs)
{
    unsigned to = shared_address(slot_at(b, slot)) + (unsigned)b.lane * 16;
#pragma unroll
    for (int u = 0; u < TILE_PACKS / 32; u++)
        if (b.lane + 32 * u < packs) cp_async_16_at(to + (unsigned)u * 512, from + (b.lane + 32 * u) * 16);
    cp_async_commit();
}

// The oldest tile is there.
__device__ __forceinline__ void ring_wait()
{
    cp_async_wait<STAGE_SLOTS - 1>();
}

__device__ __forceinline__ int piece_packs(int packs, int shift)
{
    return (packs + (1 << shift) - 1) >> shift;
}

// This block's rows of a matrix of the list.
__device__ __forceinline__ stage_slice rows_of(const stage_block &b, int matrix)
{
    return ((const stage_slice *)(b.memory + STAGE_AT_ROWS))[matrix];
}

__device__ __forceinline__ void feed_matrix(stage_feed &f, const stage_block &b)
{
    if (f.matrix >= f.count) return;
    stage_weights w = f.list[f.matrix];
    stage_slice s = rows_of(b, f.matrix);
    f.packs = w.packs;
    f.shift = w.shift;
    f.tiles = (s.end - s.first) << w.shift;
    f.rows = (const char *)w.at + (int64_t)s.first * w.packs * 16;
    f.tile = (b.warp - f.turn) & (STAGE_WARPS - 1);
}

// Asks for this warp's next tile, if there is one, into the slot that was read last.
__device__ __forceinline__ void feed_next(stage_block &b)
{
    stage_feed &f = b.feed;
    while (f.matrix < f.count && f.tile >= f.tiles) {
        f.turn = (f.turn + f.tiles) & (STAGE_WARPS - 1);
        f.matrix++;
        feed_matrix(f, b);
    }
    const char *from = f.rows;
    int packs = 0;
    if (f.matrix < f.count) {
        int row = f.tile >> f.shift, each = piece_packs(f.packs, f.shift), first = (f.tile - (row << f.shift)) * each;
        from += ((int64_t)row * f.packs + first) * 16;
        packs = min(each, f.packs - first);
        f.tile += STAGE_WARPS;
    }
    ring_ask(b, f.slot, from, packs);
    f.slot = (f.slot + 1) % STAGE_SLOTS;
}

__device__ __forceinline__ void feed_begin(stage_block &b, const stage_launch &l)
{
    b.feed = {};
    b.feed.list = (const stage_weights *)(b.memory + STAGE_AT_LIST);
    b.feed.count = l.weight_count;
    feed_matrix(b.feed, b);
#pragma unroll 1
    for (int i = 0; i < STAGE_SLOTS; i++) feed_next(b);
}

// ---- values of other blocks ----

template <typename T> __device__ __forceinline__ bool is_tagged(uint4 w, unsigned tag)
{
    if constexpr (sizeof(T) == 2) return w.x >> 16 == tag && w.y >> 16 == tag && w.z >> 16 == tag && w.w >> 16 == tag;
    return w.y == tag && w.w == tag;
}

template <typename T> __device__ __forceinline__ uint2 without_tags(uint4 w)
{
    if constexpr (sizeof(T) == 2) return {(w.x & 0xffff) | w.y << 16, (w.z & 0xffff) | w.w << 16};
    return {w.x, w.z};
}

// Up to four values that other blocks publish, whole into shared memory; the warps share them. number[i]: elements of i.
// While they wait, the last threads bring what the next stage reads of memory: number[STAGE_INPUTS] packs.
template <typename T> __device__ __forceinline__ void stage_take(const stage &s, stage_block &b)
{
    constexpr int EACH = 8 / (int)sizeof(T); // elements of 16 bytes of words
    int warps = s.inputs == 1   ? STAGE_WARPS
                : s.inputs == 2 ? STAGE_WARPS / 2
                : s.inputs == 3 ? STAGE_WARPS / 3
                                : STAGE_WARPS / 4;
    const uint4 *beside = (const uint4 *)s.operand[STAGE_INPUTS].at;
#pragma unroll 1
    for (int i = STAGE_THREADS - 1 - (int)threadIdx.x; i < s.number[STAGE_INPUTS]; i += STAGE_THREADS)
        ((uint4 *)(b.memory + s.operand[STAGE_INPUTS].local))[i] = beside[i];
    int value = b.warp >= 3 * warps ? 3 : b.warp >= 2 * warps ? 2 : b.warp >= warps;
    if (value >= s.inputs) return;
    const stage_operand &o = s.operand[value];
    const char *from = tagged_at(b, o);
    uint2 *to = (uint2 *)(b.memory + o.local);
    int threads = warps * 32, count = s.number[value] / EACH;
#pragma unroll 1
    for (int i = (b.warp - value * warps) * 32 + b.lane; i < count; i += 2 * threads) {
        bool more = i + threads < count;
        const char *at = from + (int64_t)i * 16, *next = at + (int64_t)threads * 16;
        uint4 w = load_relaxed_16(at), z = more ? load_relaxed_16(next) : w;
        while (!is_tagged<T>(w, b.tag)) w = load_relaxed_16(at);
        to[i] = without_tags<T>(w);
        if (!more) break;
        while (!is_tagged<T>(z, b.tag)) z = load_relaxed_16(next);
        to[i + threads] = without_tags<T>(z);
    }
}

#endif
