// A linear layer of a few rows with its neighbours on CUDA, for decoding: reading the matrix is what takes the time, and every
// launch there waits for the one before it. A block has some outputs, and one warp that asks the copy engine for their rows of
// the matrix, tile after tile into a ring in shared memory, before the launch in front has ended. There is room for a block of
// the next launch beside those of one, so that its first weights arrive meanwhile. The other warps share the columns of a tile;
// what they find is added up behind a barrier, by one of them in turn, with what stands behind the product.
//
//     launch the next one | ask for weights, gain | wait | x, its squares, the norm | tile: products, barrier, sums, y | ..
//
// The products are the tensor cores', 16 rows of x by 8 of the matrix: what a lane reads of a row of the matrix, 16 bytes, is
// two right sides as it lies, x in an order of words to match, and nothing is converted or moved between lanes. There are
// eight rows of x at most, so that a left side holds two: its words for the one in rows 0 to 7, for the other in 8 to 15.
#include "kit/cuda/tma.cuh"
#include "ops/rows_linear/rows_linear.h"

enum {
    WARPS = 8,
    TILE = 8,       // rows of the matrix: outputs, or of swiglu four outputs, both rows of each
    CHUNK = 4,      // packs of 16 bytes of a row, the lanes that share it
    PIECE = 2048,   // columns of a tile that are copied together, at most
    MOST_SLOTS = 8, // of the ring
    THREADS = WARPS * 32 + 32,
};

// y (m, outputs) = (c +) end(norm(x) w^T), x (m, k), w (outputs, k), of swiglu (2 outputs, k).
typedef struct rows_job {
    void *y;
    const void *x, *w;
    const void *gain;     // (k) of a norm, or NULL
    const void *c;        // or NULL; as y
    bool gain_wide, wide; // the gain is float32; y and c are
    bool swiglu, rests;   // rests: no step before this one writes w or gain
    int m, k;
    int64_t outputs;
    float eps;
    int each;               // outputs of a block, whole tiles
    int slots, slot, pitch; // of the ring; bytes of one, and from row to row in it
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

// Which packs of x a thread brings: of a lone row all threads bring some, else each warp has a row.
struct bringer {
    int row, first, step;
};

static __device__ __forceinline__ bringer bringer_of(const rows_job &j)
{
    if (j.m == 1) return {0, (int)threadIdx.x, WARPS * 32};
    return {(int)threadIdx.x / 32, (int)threadIdx.x % 32, 32};
}

enum { AT_ONCE = 4 }; // packs of x that a thread asks for together

// The rows of x, or of their norms, into `to`, zeros behind their ends. `first_gain`: of this thread's first pack.
template <typename T>
static __device__ __forceinline__ void bring_rows(uint4 *to, float (*squares)[WARPS], const rows_job &j,
                                                  const bringer &mine, const float (&first_gain)[8])
{
    const int packs = j.k / 8, between = packs_between_rows(j.k), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint4 *x = (const uint4 *)j.x + mine.row * packs;
    const int until = mine.row < j.m ? between : 0;
    to += mine.row * between;
    auto gain_of = [&](float(&gain)[8], int p) {
#pragma unroll
        for (int i = 0; i < 8; i++) gain[i] = first_gain[i];
        if (p != mine.first) load_weights<T>(gain, {j.gain, j.gain_wide}, p * 8);
    };
    float square = 0, gain[8];
#pragma unroll 1
    for (int from = mine.first; from < until; from += AT_ONCE * mine.step) {
        eight<T> v[AT_ONCE] = {};
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            if (from + i * mine.step < packs) v[i].words = x[from + i * mine.step];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const int p = from + i * mine.step;
            if (j.gain && p < packs) {
#pragma unroll
                for (int e = 0; e < 8; e++)
                    square = fmaf(to_float(v[i].value.at[e]), to_float(v[i].value.at[e]), square);
                if (SCALES_LATER<T>) {
                    gain_of(gain, p);
                    scale_pack(v[i], 1, gain);
                }
            }
            if (p < between) to[p] = turned(v[i].words);
        }
    }
    if (j.gain) {
        square = warp_join<add_floats>(square);
        if (j.m == 1 && lane == 0) squares[0][warp] = square;
        if (j.m > 1 && lane < WARPS) squares[warp][lane] = lane ? 0 : square;
    }
    bar_sync<WARPS * 32>(1);
    if (!j.gain || SCALES_LATER<T>) return;
    const float scale = scale_of(squares[mine.row], j);
#pragma unroll 1
    for (int p = mine.first; p < packs && until; p += mine.step) { // each thread what it brought
        eight<T> v = {turned(to[p])};
        gain_of(gain, p);
        scale_pack(v, scale, gain);
        to[p] = turned(v.words);
    }
    bar_sync<WARPS * 32>(1);
}

#if !defined __CUDA_ARCH__ || __CUDA_ARCH__ >= 900 // the kernel is empty elsewhere

// How far a warp is in the ring.
static __device__ __forceinline__ void next_slot(const rows_job &j, int &slot, unsigned &parity)
{
    if (++slot == j.slots) slot = 0, parity ^= 1;
}

// A warp that brings tiles, each in pieces; eight lanes have a row.
static __device__ __forceinline__ void bring_tiles(char *ring, uint64_t *full, uint64_t *taken, const rows_job &j,
                                                   int64_t first, int outputs)
{
    const int lane = threadIdx.x % 32, per_tile = j.swiglu ? TILE / 2 : TILE, output = j.swiglu ? lane % 4 : lane;
    const int64_t row = first + output + (output < lane ? j.outputs : 0);
    const char *from = (const char *)j.w + row * j.k * 2;
    int slot = 0, asked = 0;
    unsigned parity = 1;
#pragma unroll 1
    for (int tile = 0; tile < outputs; tile += per_tile, from += (int64_t)per_tile * j.k * 2) {
        const bool mine = lane < TILE && tile + output < outputs;
        const int rows = __popc(__ballot_sync(~0u, mine));
#pragma unroll 1
        for (int column = 0; column < j.k; column += PIECE) {
            const int bytes = min(PIECE, j.k - column) * 2;
            if (asked++ == j.slots) wait_for_writers();
            barrier_wait(&taken[slot], parity);
            if (lane == 0) mbarrier_arrive_expect_tx(&full[slot], rows * bytes);
            __syncwarp();
            if (mine) bulk_load(ring + slot * j.slot + lane * j.pitch, from + column * 2, bytes, &full[slot]);
            next_slot(j, slot, parity);
        }
    }
    if (asked <= j.slots) wait_for_writers();
}

#endif

// Where a result goes, by row of x and output of the block.
static __device__ __forceinline__ int64_t place_of(const rows_job &j, int64_t first, int m, int output)
{
    return m * j.outputs + first + output;
}

// The outputs of a tile, of what the warps have found; by a warp.
template <typename T>
static __device__ __forceinline__ void finish_tile(const float *parts, const float (*squares)[WARPS], const rows_job &j,
                                                   int64_t first, int tile, int outputs, unsigned c, bool has_c)
{
    const int per_tile = j.swiglu ? TILE / 2 : TILE, lane = threadIdx.x % 32;
#pragma unroll 1
    for (int i = lane; i < per_tile * j.m; i += 32) {
        const int m = i / per_tile, of = i % per_tile, output = tile * per_tile + of;
        if (output >= outputs) continue;
        const float *from = parts + m * TILE + of;
        float v = 0, up = 0;
#pragma unroll
        for (int s = 0; s < WARPS; s++) {
            v += from[s * j.m * TILE];
            if (j.swiglu) up += from[s * j.m * TILE + TILE / 2];
        }
        if (j.gain && SCALES_LATER<T>) {
            float scale = scale_of(squares[m], j);
            v *= scale, up *= scale;
        }
        if (j.swiglu) v *= up / (1 + expf(-v));
        const int64_t place = place_of(j, first, m, output);
        if (j.c) v += value_of<T>(has_c && i == lane ? c : load_one(j.c, j.wide, place), j.wide);
        if (j.wide)
            ((float *)j.y)[place] = v;
        else
            ((T *)j.y)[place] = to<T>(v);
    }
}

template <typename T> __global__ void __launch_bounds__(THREADS, 2) rows_linear(const rows_job j)
{
#if !defined __CUDA_ARCH__ || __CUDA_ARCH__ >= 900
    launch_next();
    extern __shared__ uint4 rows_memory[]; // the ring, rows of x, the parts of two tiles' sums
    __shared__ float squares[ROWS_LINEAR_MOST][WARPS];
    __shared__ uint64_t full[MOST_SLOTS], taken[MOST_SLOTS];
    const int lane = threadIdx.x % 32, warp = __shfl_sync(~0u, threadIdx.x / 32, 0), row = lane / 4;
    const int packs = j.k / 8, per_tile = j.swiglu ? TILE / 2 : TILE;
    const int64_t first = blockIdx.x * (int64_t)j.each;
    const int outputs = (int)min((int64_t)j.each, j.outputs - first);
    if (threadIdx.x == 0) {
        for (int i = 0; i < j.slots; i++) mbarrier_init(&full[i], 1), mbarrier_init(&taken[i], WARPS);
        fence_mbarrier_init();
    }
    __syncthreads();
    if (!j.rests) wait_for_writers();
    char *ring = (char *)rows_memory;
    if (warp == WARPS) {
        bring_tiles(ring, full, taken, j, first, outputs);
        return;
    }
    float first_gain[8] = {};
    const bringer brings = bringer_of(j);
    if (j.gain && brings.first < packs) load_weights<T>(first_gain, {j.gain, j.gain_wide}, brings.first * 8);
    wait_for_writers();
    // What this warp's first tile is added to.
    unsigned c = 0;
    const bool has_c = j.c && lane < per_tile * j.m && warp * per_tile + lane % per_tile < outputs;
    if (has_c) c = load_one(j.c, j.wide, place_of(j, first, lane / per_tile, warp * per_tile + lane % per_tile));
    uint4 *rows = (uint4 *)(ring + j.slots * j.slot);
    bring_rows<T>(rows, squares, j, brings, first_gain);

    const uint4 *x = rows + row * packs_between_rows(j.k) + lane % CHUNK;
    float *parts = (float *)(rows + j.m * packs_between_rows(j.k)); // of a tile: warp, row of x, row of the matrix
    const int tile_parts = WARPS * j.m * TILE;
    int slot = 0;
    unsigned parity = 0;
#pragma unroll 1
    for (int tile = 0; tile * per_tile < outputs; tile++) {
        float low[4] = {}, high[4] = {};
#pragma unroll 1
        for (int from = 0; from < packs; from += PIECE / 8) {
            const int here = min(PIECE / 8, packs - from), chunks = (here + CHUNK - 1) / CHUNK;
            const int most = (chunks + WARPS - 1) / WARPS, begin = warp * most, end = min(begin + most, chunks);
            const uint4 *w = (const uint4 *)(ring + slot * j.slot + row * j.pitch) + lane % CHUNK;
            barrier_wait(&full[slot], parity);
#pragma unroll 4
            for (int at = begin; at < end; at++) {
                uint4 a = {}, b = {};
                if (at * CHUNK + lane % CHUNK < here) b = w[at * CHUNK];
                if (row < j.m) a = x[from + at * CHUNK];
                multiply_add<T>(low, {a.x, a.y, a.z, a.w}, b.x, b.y);
                multiply_add<T>(high, {a.x, a.y, a.z, a.w}, b.z, b.w);
            }
            __syncwarp();
            if (lane == 0) mbarrier_arrive(&taken[slot]);
            next_slot(j, slot, parity);
        }
        float *part = parts + tile % 2 * tile_parts;
        if (row < j.m)
            ((float2 *)part)[(warp * j.m + row) * (TILE / 2) + lane % CHUNK] = {low[0] + high[2], low[1] + high[3]};
        bar_sync<WARPS * 32>(1);
        if (tile % WARPS == warp) finish_tile<T>(part, squares, j, first, tile, outputs, c, tile == warp && has_c);
    }
#endif
}

// Blocks of a multiprocessor, and bytes of a block's ring; as measured with 576 and 1536 columns, and with 2048 and 8192.
struct ring_plan {
    int blocks, bytes;
};

static ring_plan plan_for(int k)
{
    return k < PIECE ? ring_plan{2, 66 << 10} : ring_plan{1, 98 << 10};
}

// Bytes of a slot of the ring, and of what lies beside the ring: x and the sums.
static int pitch_of(int k)
{
    return (MIN(k, (int)PIECE) * 2 + 127) / 128 * 128 + 64; // rows lie half of the banks apart
}

static int beside_ring(int m, int k)
{
    return m * packs_between_rows(k) * 16 + 2 * WARPS * TILE * m * (int)sizeof(float);
}

// Whole tiles a block.
static void launch_job(rows_job j, ingot_dtype d, queue *q)
{
    const ring_plan plan = plan_for(j.k);
    const int per_tile = j.swiglu ? TILE / 2 : TILE, blocks_wanted = q->caps->multiprocessors * plan.blocks;
    const int64_t tiles = (j.outputs + per_tile - 1) / per_tile, each = (tiles + blocks_wanted - 1) / blocks_wanted;
    const int pieces = (j.k + PIECE - 1) / PIECE, beside = beside_ring(j.m, j.k);
    j.each = (int)(each * per_tile);
    j.pitch = pitch_of(j.k);
    j.slot = TILE * j.pitch;
    const int room = MIN(plan.bytes, (int)q->caps->shared_bytes - beside);
    j.slots = (int)MIN(MIN((int64_t)room / j.slot, (int64_t)MOST_SLOTS), each * pieces);
    const int bytes = j.slots * j.slot + beside;
    auto run = [&](auto kernel) {
        if (bytes > 40 << 10) cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        kernel<<<(unsigned)((tiles + each - 1) / each), THREADS, (size_t)bytes, q->stream>>>(j);
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
    if (m * k > 1 << 15 || w->shape.dim[0] > INT32_MAX) return false;
    return 2 * TILE * pitch_of((int)k) + beside_ring((int)m, (int)k) <= caps->shared_bytes; // a ring of two at least
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
