// A linear layer of a few rows with its neighbours on CUDA, for decoding: every launch there waits for the one before it, so each thread has
// its first weights on their way before it waits, and asks for the next ones as it uses them. The warps of a block share the
// columns of eight rows of the matrix after the other; what they find is added up behind one barrier, with what stands behind
// the product.
//
//     launch the next one | ask for weights, gain | wait | x, its squares, the norm | products | barrier | sums, y
//
// The products are the tensor cores', 16 rows of x by 8 of the matrix: what a lane reads of a row of the matrix, 16 bytes, is
// two right sides as it lies, x in an order of words to match, and nothing is converted or moved between lanes. There are
// eight rows of x at most, so that a left side holds two: its words for the one in rows 0 to 7, for the other in 8 to 15.
#include "kit/cuda/mma.cuh"
#include "kit/cuda/cuda.h"
#include "ops/rows_linear/rows_linear.h"

enum {
    WARPS = 8,
    AHEAD = 16, // packs of 16 bytes that a lane has on their way: 64 KB a block; 132 blocks' are two microseconds'
    TILE = 8,   // rows of the matrix: outputs, or of swiglu four outputs, both rows of each
    CHUNK = 4,  // packs of a row, the lanes that share it
    MOST_PARTS = 8192, // floats
    EACH = 2,          // blocks of a multiprocessor, so that many weights are on their way
};

// y (m, outputs) = (c +) end(norm(x) w^T), x (m, k), w (outputs, k), of swiglu (2 outputs, k).
typedef struct rows_job {
    void *y;
    const void *x, *w;
    const void *gain;     /* (k) of a norm, or NULL */
    const void *c;        /* or NULL; as y */
    bool gain_wide, wide; /* the gain is float32; y and c are */
    bool swiglu, rests;   /* rests: no step before this one writes w or gain */
    int m, k;
    int64_t outputs;
    float eps;
    int each; /* chosen by the launch: tiles of outputs of a block */
} rows_job;

static __host__ __device__ int chunks_of(int k)
{
    return (k / 8 + CHUNK - 1) / CHUNK;
}

// Of x in shared memory: rows lie half of the banks apart.
static __host__ __device__ int packs_between_rows(int k)
{
    return (chunks_of(k) + 1) / 2 * 2 * CHUNK + CHUNK;
}

// An element of T, or of float32, as it lies: who loads it early looks at it late.
static __device__ __forceinline__ unsigned load_one(const void *from, bool wide, int64_t at)
{
    return wide ? ((const unsigned *)from)[at] : ((const unsigned short *)from)[at];
}

template <typename T> static __device__ __forceinline__ float value_of(unsigned loaded, bool wide)
{
    unsigned short narrow = (unsigned short)loaded;
    T v;
    memcpy(&v, &narrow, sizeof v);
    return wide ? __uint_as_float(loaded) : to_float(v);
}

template <typename T> union eight {
    uint4 words;
    pack<T, 8> value;
};

// The norm's scale is a factor of the product, and comes after it; but bfloat16 alone is sure to hold what was not scaled.
template <typename T> constexpr bool SCALES_LATER = std::is_same_v<T, bf16>;

// The scale of a row's norm, from what its threads found of the squares.
static __device__ __forceinline__ float scale_of(const float *squares, const rows_job &j)
{
    float square = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++) square += squares[i];
    return rsqrtf(square / (float)j.k + j.eps);
}

template <typename T>
static __device__ __forceinline__ void scale_pack(eight<T> &v, float scale, const float (&gain)[8])
{
#pragma unroll
    for (int i = 0; i < 8; i++) v.value.at[i] = to<T>(to_float(v.value.at[i]) * scale * gain[i]);
}

// The words of a pack as a left side wants them, and back.
static __device__ __forceinline__ uint4 turned(uint4 v)
{
    return {v.x, v.z, v.y, v.w};
}

// Of a thread's first pack: what was asked for before it was wanted.
struct first_pack {
    uint4 x;
    float gain[8];
};

// The rows of x, or of their norms, into `to`, zeros behind their ends.
template <typename T>
static __device__ __forceinline__ void bring_rows(uint4 *to, float (*squares)[WARPS], const rows_job &j,
                                                  const first_pack &ready)
{
    const int packs = j.k / 8, between = packs_between_rows(j.k), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint4 *x = (const uint4 *)j.x;
    auto gain_of = [&](float(&gain)[8], int p) {
#pragma unroll
        for (int i = 0; i < 8; i++) gain[i] = ready.gain[i];
        if (p >= WARPS * 32) load_weights<T>(gain, {j.gain, j.gain_wide}, p * 8);
    };
#pragma unroll 1
    for (int m = 0; m < j.m; m++) {
        float square = 0, gain[8];
#pragma unroll 1
        for (int p = threadIdx.x; p < between; p += WARPS * 32) {
            eight<T> v = {};
            if (p < packs) {
                v.words = ready.x;
                if (m || p >= WARPS * 32) v.words = x[m * packs + p];
                if (j.gain)
#pragma unroll
                    for (int i = 0; i < 8; i++) square = fmaf(to_float(v.value.at[i]), to_float(v.value.at[i]), square);
                if (j.gain && SCALES_LATER<T>) {
                    gain_of(gain, p);
                    scale_pack(v, 1, gain);
                }
            }
            to[m * between + p] = turned(v.words);
        }
        if (!j.gain) continue;
        square = warp_join<add_floats>(square);
        if (lane == 0) squares[m][warp] = square;
    }
    __syncthreads();
    if (!j.gain || SCALES_LATER<T>) return;
#pragma unroll 1
    for (int m = 0; m < j.m; m++) { // each thread what it brought
        float scale = scale_of(squares[m], j), gain[8];
#pragma unroll 1
        for (int p = threadIdx.x; p < packs; p += WARPS * 32) {
            eight<T> v = {turned(to[m * between + p])};
            gain_of(gain, p);
            scale_pack(v, scale, gain);
            to[m * between + p] = turned(v.words);
        }
    }
    __syncthreads();
}

template <typename T> __global__ void __launch_bounds__(WARPS * 32, EACH) rows_linear(const rows_job j)
{
    launch_next();
    extern __shared__ uint4 rows_memory[]; // rows of x, then the parts of sums
    __shared__ float squares[ROWS_LINEAR_MOST][WARPS];
    const int lane = threadIdx.x % 32, warp = __shfl_sync(~0u, threadIdx.x / 32, 0), row = lane / 4;
    const int packs = j.k / 8, chunks = chunks_of(j.k), most = (chunks + WARPS - 1) / WARPS;
    const int per_tile = j.swiglu ? TILE / 2 : TILE;
    const int64_t first = blockIdx.x * (int64_t)(j.each * per_tile);
    const int outputs = (int)min((int64_t)(j.each * per_tile), j.outputs - first);
    // Of this warp: chunks of a row, side by side so that lines are read whole, and of all tiles. Of this lane: its output in
    // the first tile, the tiles that have one, its packs of a row.
    const int share = max(min(chunks - warp * most, most), 0), items = (outputs + per_tile - 1) / per_tile * share;
    const int output = j.swiglu ? row % 4 : row, tiles = (outputs - output + per_tile - 1) / per_tile;
    const int begin = warp * most * CHUNK + lane % CHUNK, end = begin + share * CHUNK;

    const uint4 *w = (const uint4 *)j.w + (first + output + (output < row ? j.outputs : 0)) * packs;
    uint4 b[AHEAD];
    int asked = 0, at = begin;
    auto ask = [&](uint4 &to) {
        to = {};
        if (asked < tiles * share && at < packs) to = w[at];
        asked++, at += CHUNK;
        if (at >= end) at = begin, w += per_tile * packs;
    };
    if (!j.rests) wait_for_writers();
#pragma unroll
    for (int s = 0; s < AHEAD; s++) ask(b[s]);
    first_pack ready = {};
    const int mine = threadIdx.x; // pack of x, and of outputs * m: what this thread writes, one or several
    if (j.gain && mine < packs) load_weights<T>(ready.gain, {j.gain, j.gain_wide}, mine * 8);
    wait_for_writers();
    if (mine < packs) ready.x = ((const uint4 *)j.x)[mine];

    unsigned c = 0;
    auto place_of = [&](int i) { return j.m == 1 ? first + i : i / outputs * j.outputs + first + i % outputs; };
    if (j.c && mine < outputs * j.m) c = load_one(j.c, j.wide, place_of(mine));
    bring_rows<T>(rows_memory, squares, j, ready);

    const uint4 *x = rows_memory + row * packs_between_rows(j.k);
    float *parts = (float *)(rows_memory + j.m * packs_between_rows(j.k)); // tile, warp, row of x, row of the matrix
    float2 *part = (float2 *)parts + (warp * j.m + row) * (TILE / 2) + lane % CHUNK;
    float low[4] = {}, high[4] = {};
    uint4 a = {}, following = {};
    if (row < j.m && items) following = x[begin];
    for (int done = 0, left = share, now = begin; done < items;) {
#pragma unroll
        for (int s = 0; s < AHEAD; s++) {
            if (s % 4 == 0 && done >= items) break; // the others after the last one do no harm
            a = following;
            done++, now += CHUNK;
            bool last = --left == 0; // of its tile
            if (last) left = share, now = begin;
            if (row < j.m) following = x[now];
            multiply_add<T>(low, {a.x, a.y, a.z, a.w}, b[s].x, b[s].y);
            multiply_add<T>(high, {a.x, a.y, a.z, a.w}, b[s].z, b[s].w);
            if (asked < items) ask(b[s]);
            if (!last) continue;
            if (row < j.m && done <= items) *part = {low[0] + high[2], low[1] + high[3]};
#pragma unroll
            for (int i = 0; i < 4; i++) low[i] = high[i] = 0;
            part += WARPS * j.m * (TILE / 2);
        }
    }
    __syncthreads();
#pragma unroll 1
    for (int i = mine; i < outputs * j.m; i += WARPS * 32) {
        int m = j.m == 1 ? 0 : i / outputs, of = i - m * outputs;
        const float *from = parts + (of / per_tile * WARPS * j.m + m) * TILE + of % per_tile;
        float v = 0, up = 0;
#pragma unroll
        for (int s = 0; s < WARPS; s++)
            if (s * most < chunks) {
                v += from[s * j.m * TILE];
                if (j.swiglu) up += from[s * j.m * TILE + TILE / 2];
            }
        if (j.gain && SCALES_LATER<T>) {
            float scale = scale_of(squares[m], j);
            v *= scale, up *= scale;
        }
        if (j.swiglu) v *= up / (1 + expf(-v));
        int64_t place = place_of(i);
        if (j.c) v += value_of<T>(i == mine ? c : load_one(j.c, j.wide, place), j.wide);
        if (j.wide)
            ((float *)j.y)[place] = v;
        else
            ((T *)j.y)[place] = to<T>(v);
    }
}

// A block has as many sums as it has room for, so that of large matrices there are more blocks.
static void launch_job(rows_job j, ingot_dtype d, queue *q)
{
    const int per_tile = j.swiglu ? TILE / 2 : TILE, parts = WARPS * TILE * j.m; // floats of a tile
    const int64_t wanted = q->caps->multiprocessors * (int64_t)EACH, tiles = (j.outputs + per_tile - 1) / per_tile;
    j.each = (int)MIN((tiles + wanted - 1) / wanted, (int64_t)MOST_PARTS / parts);
    // At least 32 KB, as most need less: a multiprocessor divides its memory anew only while no block is on it.
    const int needed = j.m * packs_between_rows(j.k) * 16 + j.each * parts * (int)sizeof(float);
    const int bytes = MAX(needed, 32 << 10);
    const unsigned blocks = (unsigned)((tiles + j.each - 1) / j.each);
    auto run = [&](auto kernel) {
        if (bytes > 40 << 10) cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        kernel<<<blocks, WARPS * 32, (size_t)bytes, q->stream>>>(j);
    };
    if (d == INGOT_BF16)
        run(rows_linear<bf16>);
    else
        run(rows_linear<f16>);
}

static const value *input(const node *n, int i)
{
    return i < n->inputs ? n->in[i] : nullptr;
}

static int64_t rows_of(const node *n)
{
    return shape_count(n->in[ROWS_LINEAR_X]->shape) / n->in[ROWS_LINEAR_W]->shape.dim[1];
}

// Measured on sm_90; float32 has the parts, and so have devices before it, where no launch begins before another has ended.
static bool match(const node *n, const device_caps *caps)
{
    const value *w = n->in[ROWS_LINEAR_W], *gain = input(n, ROWS_LINEAR_GAIN), *c = input(n, ROWS_LINEAR_C);
    const ingot_dtype d = n->in[ROWS_LINEAR_X]->dtype, y = n->out[0]->dtype;
    const int64_t m = rows_of(n), k = w->shape.dim[1];
    if ((d != INGOT_BF16 && d != INGOT_F16) || w->dtype != d || (y != d && y != INGOT_F32)) return false;
    if ((gain && gain->dtype != d && gain->dtype != INGOT_F32) || (c && c->dtype != y)) return false;
    if (caps->major < 9 || m > ROWS_LINEAR_MOST || k % 8 || k < 8) return false;
    return m * k <= 1 << 15 && w->shape.dim[0] <= INT32_MAX; // x and the sums fit into 96 KB of shared memory
}

static status launch(const step *s, queue *q)
{
    const node *n = s->node;
    const rows_linear_attrs *a = ATTRS_OF(rows_linear_attrs, n);
    unsigned read_ahead = 1u << ROWS_LINEAR_W;
    rows_job j = {};
    j.y = s->out[0].data, j.x = s->in[ROWS_LINEAR_X].data, j.w = s->in[ROWS_LINEAR_W].data;
    j.wide = s->out[0].dtype == INGOT_F32;
    if (input(n, ROWS_LINEAR_GAIN)) {
        j.gain = s->in[ROWS_LINEAR_GAIN].data;
        j.gain_wide = s->in[ROWS_LINEAR_GAIN].dtype == INGOT_F32;
        read_ahead |= 1u << ROWS_LINEAR_GAIN;
    }
    if (input(n, ROWS_LINEAR_C)) j.c = s->in[ROWS_LINEAR_C].data;
    j.rests = (s->resting & read_ahead) == read_ahead;
    j.swiglu = a->swiglu != 0, j.eps = (float)a->eps;
    j.m = (int)rows_of(n), j.k = (int)s->in[ROWS_LINEAR_W].shape.dim[1];
    j.outputs = s->in[ROWS_LINEAR_W].shape.dim[0] >> j.swiglu;
    launch_job(j, s->in[ROWS_LINEAR_X].dtype, q);
    return INGOT_OK;
}

// As the parts are, but for what they round between product, swiglu and sum: the error is below theirs.
extern "C" const kernel_def rows_linear_cuda[] = {
    {.op = &op_rows_linear_def,
     .name = "rows_linear.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
