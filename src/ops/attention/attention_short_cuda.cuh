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

// Whether rows are short, q (B, T, H, D); `blocks` a row of the batch.
static inline bool short_fits(shape q, int64_t blocks, const device_caps *caps)
{
    return q.dim[1] <= SHORT_TOKENS && q.dim[3] <= 32 && q.dim[3] % 8 == 0 &&
           q.dim[0] * blocks <= 16 * (int64_t)caps->multiprocessors;
}

#define SHORT_WANTS                                                                                                    \
    {                                                                                                                  \
        STORAGE_WIDE_ROWS, STORAGE_WIDE_ROWS, STORAGE_WIDE_ROWS                                                        \
    }
#define SHORT_GRAD_WANTS                                                                                               \
    {                                                                                                                  \
        STORAGE_WIDE_ROWS, STORAGE_WIDE_ROWS, STORAGE_WIDE_ROWS, STORAGE_WIDE_ROWS, STORAGE_WIDE_ROWS                  \
    }

static __host__ __device__ inline int pieces_of(int tokens, int piece)
{
    return (tokens + piece - 1) / piece;
}

template <typename T> __device__ __forceinline__ pack<T, 8> numbers_of(const uint4 &chunk)
{
    return *reinterpret_cast<const pack<T, 8> *>(&chunk);
}

// Where a thread's chunks of ROWS rows of a head lie, from token `first` on; those of tokens [from, until) are read, others
// are zeros.
template <typename T, int WIDTH, int ROWS> struct short_source {
    static constexpr int CHUNKS = WIDTH / 8, STEP = SHORT_THREADS / CHUNKS, ITEMS = (ROWS + STEP - 1) / STEP;
    const T *at;
    int64_t stride;
    int token, from, until;

    __device__ __forceinline__ short_source(const heads_of &v, const attention_numbers &a, int batch, int head,
                                            int first, int from, int until)
        : stride(v.token), token(first + row(0)), from(from), until(chunk() * 8 < a.dim ? until : 0)
    {
        at = (const T *)v.at + batch * v.batch + head * v.head + token * stride + chunk() * 8;
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
        return token + i * STEP >= from && token + i * STEP < until;
    }
    __device__ __forceinline__ void load(T *tile) const
    {
        T *to = tile + tile_at<WIDTH>(row(0), chunk()); // rows STEP apart lie alike
        static_assert(STEP % 8 == 0);
#pragma unroll
        for (int i = 0; i < ITEMS; i++)
            if (ROWS % STEP == 0 || row(i) < ROWS) cp_async_16(to + i * STEP * WIDTH, at + i * STEP * stride, has(i));
    }
    __device__ __forceinline__ uint4 chunk_of(int i) const
    {
        return has(i) ? *reinterpret_cast<const uint4 *>(at + i * STEP * stride) : make_uint4(0, 0, 0, 0);
    }
};

// Rotary positions of queries and keys (turned_attention): pair i of a head is (i, i + D / 2).
struct short_turns {
    const int32_t *position; // (B, T)
    weights angles;          // (positions, D): D / 2 cosines, D / 2 sines
    int positions;
    void *q, *k; // where queries and keys go when they are turned, or NULL
};

static inline bool turns_fit(const node *n, const value *q, const value *angles)
{
    return q->shape.dim[3] == 32 && (angles->dtype == q->dtype || angles->dtype == INGOT_F32) &&
           angles->shape.dim[0] <= 1 << 26 && n->out[0]->dtype == q->dtype;
}

static inline short_turns short_turns_of(const tensor *position, const tensor *angles)
{
    return {(const int32_t *)position->data, weights_of(angles), (int)angles->shape.dim[0], nullptr, nullptr};
}

// N cosines and sines from pair `pair` on; zeros for a position that there is none of.
template <typename T, int WIDTH, int N> struct turn_by {
    float c[N] = {}, s[N] = {};

    __device__ __forceinline__ void load(const short_turns &r, int position, int pair)
    {
        if (position < 0 || position >= r.positions) return;
        load_weights<T>(c, r.angles, position * WIDTH + pair);
        load_weights<T>(s, r.angles, position * WIDTH + WIDTH / 2 + pair);
    }
};

// As short_source, of rows that are turned on their way: a thread has a chunk of a row and that of the other halves of its pairs.
template <typename T, int WIDTH, int ROWS> struct turned_source {
    static constexpr int CHUNKS = WIDTH / 16;
    static_assert(ROWS * CHUNKS <= SHORT_THREADS);
    const T *at;
    const int32_t *position;
    int token;
    bool has;
    pack<T, 8> x, y;

    __device__ __forceinline__ turned_source(const heads_of &v, const attention_numbers &a, const short_turns &r,
                                             int batch, int head, int first, int until)
        : token(first + row()), has(row() < ROWS && token < until)
    {
        at = (const T *)v.at + batch * v.batch + head * v.head + token * v.token + chunk() * 8;
        position = r.position + batch * a.tokens + token;
        pin_register(at);
        pin_register(position);
    }
    static __device__ __forceinline__ int chunk()
    {
        return (int)threadIdx.x % CHUNKS;
    }
    static __device__ __forceinline__ int row()
    {
        return (int)threadIdx.x / CHUNKS;
    }
    __device__ __forceinline__ void load(const short_turns &r)
    {
        turn_by<T, WIDTH, 8> by;
        uint4 one = make_uint4(0, 0, 0, 0), other = one;
        if (has) {
            int where = *position;
            one = *reinterpret_cast<const uint4 *>(at);
            other = *reinterpret_cast<const uint4 *>(at + WIDTH / 2);
            by.load(r, where, chunk() * 8);
        }
        x = numbers_of<T>(one), y = numbers_of<T>(other);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            float u = to_float(x.at[k]), v = to_float(y.at[k]);
            x.at[k] = to<T>(u * by.c[k] - v * by.s[k]);
            y.at[k] = to<T>(v * by.c[k] + u * by.s[k]);
        }
    }
    __device__ __forceinline__ void store(T *tile) const
    {
        if (row() >= ROWS) return;
        store_pack<8>(tile + tile_at<WIDTH>(row(), chunk()), x);
        store_pack<8>(tile + tile_at<WIDTH>(row(), chunk() + CHUNKS), y);
    }
    // Those of tokens [first, first + SHORT_ROWS) to their places in (B, T, heads, D).
    __device__ __forceinline__ void keep(void *all, const attention_numbers &a, int batch, int head, int heads,
                                         int first) const
    {
        if (!has || token < first || token >= first + SHORT_ROWS) return;
        T *to = row_of_token<T>(all, a, batch, token, head, heads) + chunk() * 8;
        store_pack<8>(to, x);
        store_pack<8>(to + WIDTH / 2, y);
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
