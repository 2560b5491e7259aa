// What stages are written with, and how weights come.
//
// Weights never depend on what the launch computes. So each warp reads its own tiles of all products of the launch, in
// their order, through a ring of its own in shared memory, STAGE_SLOTS tiles ahead of the one it multiplies by: while the
// block waits at a barrier, and while it makes a norm, the memory goes on. A lane reads back only what it asked for itself
// (cp.async, sm_80 on), so nobody waits for anybody.
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
    int turn;      // which warp has the first tile of the next product that is multiplied
    int oldest;    // slot of the tile that comes next
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

// ---- operands ----

__device__ __forceinline__ int size_of(int dtype)
{
    return dtype == INGOT_F32 || dtype == INGOT_I32 ? 4 : 2;
}

__device__ __forceinline__ float element(const void *p, int dtype, int64_t i)
{
    if (dtype == INGOT_BF16) return to_float(((const bf16 *)p)[i]);
    if (dtype == INGOT_F16) return to_float(((const f16 *)p)[i]);
    if (dtype == INGOT_I32) return (float)((const int32_t *)p)[i];
    return ((const float *)p)[i];
}

__device__ __forceinline__ void put(void *p, int dtype, int64_t i, float v)
{
    if (dtype == INGOT_BF16)
        ((bf16 *)p)[i] = to<bf16>(v);
    else if (dtype == INGOT_F16)
        ((f16 *)p)[i] = to<f16>(v);
    else
        ((float *)p)[i] = v;
}

// Where element 0 of an operand of n elements lies, or would lie if the whole of it were there.
__device__ __forceinline__ const void *operand_at(const stage_block &b, const stage_operand &o, int n)
{
    if (o.local == STAGE_GLOBAL) return o.at;
    const char *p = b.memory + o.local;
    return o.sliced ? p - (int64_t)slice_of(b, n).first * size_of(o.dtype) : p;
}

__device__ __forceinline__ int32_t integer(const stage_block &b, const stage_operand &o)
{
    return *(const int32_t *)operand_at(b, o, 1);
}

// Calls f with a value of the dtype's type.
template <typename F> __device__ __forceinline__ void with_type(int dtype, F f)
{
    if (dtype == INGOT_BF16)
        f(bf16());
    else if (dtype == INGOT_F16)
        f(f16());
    else
        f(float());
}

// Writes elements of an output of n: into shared memory, and to global memory where somebody wants it there, once.
struct stage_writer {
    void *local, *global;
    int dtype, first, end;

    __device__ __forceinline__ stage_writer(const stage_block &b, const stage_operand &o, int n)
        : local(o.local == STAGE_GLOBAL ? nullptr : (void *)operand_at(b, o, n)), global(o.at), dtype(o.dtype)
    {
        stage_slice s = slice_of(b, n);
        first = s.first, end = s.end;
    }
    __device__ __forceinline__ void operator()(int i, float v) const
    {
        if (local) put(local, dtype, i, v);
        if (global && i >= first && i < end) put(global, dtype, i, v);
    }
    // Of a value that is whole here.
    template <typename T> __device__ __forceinline__ void eight(int i, const pack<T, 8> &v) const
    {
        store_pack<8>((T *)local + i, v);
        if (!global || i + 8 <= first || i >= end) return;
#pragma unroll
        for (int k = 0; k < 8; k++)
            if (i + k >= first && i + k < end) ((T *)global)[i + k] = v.at[k];
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

// Asks for a line of weights or of the cache before anybody needs it.
__device__ __forceinline__ void fetch_ahead(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

// ---- weights ----

__device__ __forceinline__ void copy_pack(unsigned to, const char *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

__device__ __forceinline__ int piece_packs(int packs, int shift)
{
    return (packs + (1 << shift) - 1) >> shift;
}

__device__ __forceinline__ void feed_matrix(stage_feed &f, const stage_block &b)
{
    if (f.matrix >= f.count) return;
    stage_weights w = f.list[f.matrix];
    stage_slice s = slice_of(b, w.rows);
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
    if (f.matrix < f.count) {
        int row = f.tile >> f.shift, each = piece_packs(f.packs, f.shift);
        int first = (f.tile - (row << f.shift)) * each, end = min(first + each, f.packs), pack = first + b.lane;
        const char *from = f.rows + ((int64_t)row * f.packs + pack) * 16;
        unsigned to = (unsigned)__cvta_generic_to_shared(b.memory + STAGE_AT_WEIGHTS) +
                      (unsigned)((b.warp * STAGE_SLOTS + f.slot) * STAGE_SLOT + b.lane * 16);
#pragma unroll
        for (int u = 0; u < TILE_PACKS / 32; u++)
            if (pack + 32 * u < end) copy_pack(to + (unsigned)u * 512, from + u * 512);
        f.tile += STAGE_WARPS;
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
    f.slot = (f.slot + 1) % STAGE_SLOTS;
}

__device__ __forceinline__ void feed_begin(stage_block &b, const stage_launch &l)
{
    b.feed = {};
    b.feed.list = (const stage_weights *)(b.memory + STAGE_AT_LIST);
    b.feed.count = l.weight_count;
    feed_matrix(b.feed, b);
    for (int i = 0; i < STAGE_SLOTS; i++) feed_next(b);
}

#endif
