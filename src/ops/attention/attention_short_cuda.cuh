// What the attention kernels of short rows share. What takes the time there is how many things happen one after the other: so
// blocks are many and small, and all that one reads is asked for at once, from places found before it is there.
//
// A block has 32 rows of one side, its warps 16 of them each; four warps that have the same ones share the other side, 32 columns
// each, and what they have is added up in their order at the end.
#ifndef OPS_ATTENTION_ATTENTION_SHORT_CUDA_CUH
#define OPS_ATTENTION_ATTENTION_SHORT_CUDA_CUH

#include "ops/attention/attention_cuda.cuh"

enum {
    SHORT_THREADS = 256,
    SHORT_ROWS = 32,
    SHORT_PIECE = 32, // columns of a warp
    SHORT_PIECES = 4,
    SHORT_TOKENS = SHORT_PIECE * SHORT_PIECES, // at most
};

// Whether rows of a node are short; `blocks` a row of the batch.
static inline bool short_fits(shape q, int64_t blocks, const device_caps *caps)
{
    return q.dim[1] <= SHORT_TOKENS && q.dim[3] <= 32 && q.dim[3] % 8 == 0 &&
           q.dim[0] * blocks <= 16 * (int64_t)caps->multiprocessors;
}

// Whether all of a tensor can be read in whole chunks, at offsets within a batch row that fit an int.
static inline bool short_reads(const heads_of &v)
{
    return v.wide && v.head < 1 << 20 && v.token < 1 << 20;
}

static __host__ __device__ inline int pieces_of(int tokens, int piece)
{
    return (tokens + piece - 1) / piece;
}

// Where a thread's chunks of ROWS rows of a head lie, from token `first` on; those of tokens [from, until) are read, others
// are zeros.
template <typename T, int WIDTH, int ROWS> struct short_source {
    static constexpr int CHUNKS = WIDTH / 8, STEP = SHORT_THREADS / CHUNKS, ITEMS = (ROWS + STEP - 1) / STEP;
    const T *at;
    int stride, token, from, until;

    __device__ __forceinline__ short_source(const heads_of &v, const attention_numbers &a, int batch, int head,
                                            int first, int from, int until)
        : stride((int)v.token), token(first + row(0)), from(from), until(chunk() * 8 < a.dim ? until : 0)
    {
        at = (const T *)v.at + batch * v.batch + (head * (int)v.head + token * stride + chunk() * 8);
        pin_register(at);
    }
    static __device__ __forceinline__ int chunk()
    {
        return (int)threadIdx.x % CHUNKS;
    }
    static __device__ __forceinline__ int row(int i)
    {
        return (int)threadIdx.x / CHUNKS + i * STEP;
    }
    __device__ __forceinline__ bool has(int i) const
    {
        return token + i * STEP >= from && token + i * STEP < until && (ROWS % STEP == 0 || row(i) < ROWS);
    }
    __device__ __forceinline__ void load(T *tile) const
    {
#pragma unroll
        for (int i = 0; i < ITEMS; i++)
            if (ROWS % STEP == 0 || row(i) < ROWS)
                cp_async_16(tile + tile_at<WIDTH>(row(i), chunk()), at + i * STEP * stride, has(i));
    }
    // Into registers.
    __device__ __forceinline__ void load(uint4 (&to)[ITEMS]) const
    {
#pragma unroll
        for (int i = 0; i < ITEMS; i++)
            to[i] = has(i) ? *reinterpret_cast<const uint4 *>(at + i * STEP * stride) : make_uint4(0, 0, 0, 0);
    }
};

// A warp's 16 rows as left sides.
template <int WIDTH> struct left_rows {
    uint32_t a[WIDTH / 16][4];

    template <typename T> __device__ __forceinline__ void load(const T *tile, int row)
    {
#pragma unroll
        for (int d = 0; d < WIDTH / 16; d++) left_side<WIDTH>(a[d], tile, row, d);
    }
};

// y (16 x 32) = the rows by 32 rows of a tile.
template <typename T, int WIDTH>
__device__ __forceinline__ void short_products(float (&y)[4][4], const left_rows<WIDTH> &left, const T *right)
{
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) y[j][i] = 0;
#pragma unroll
    for (int d = 0; d < WIDTH / 16; d++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            uint32_t b[4];
            right_sides<WIDTH>(b, right, j * 16, d);
            multiply_add<T>(y[2 * j], left.a[d], b[0], b[1]);
            multiply_add<T>(y[2 * j + 1], left.a[d], b[2], b[3]);
        }
}

// Floats of a row of sums: rows begin in different banks.
template <int WIDTH> constexpr int SUMS_PITCH = WIDTH + 8;

// Sums of a warp's 16 rows, with those of the others.
template <int WIDTH> __device__ __forceinline__ void put_sums(float *sums, int row, const float (&y)[1][WIDTH / 8][4])
{
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int d = 0; d < WIDTH / 8; d++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            *reinterpret_cast<float2 *>(sums + (row + lane / 4 + h * 8) * SUMS_PITCH<WIDTH> + d * 8 + lane % 4 * 2) =
                make_float2(y[0][d][2 * h], y[0][d][2 * h + 1]);
}

#endif
