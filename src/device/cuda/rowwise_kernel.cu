// One block's rows through a chain of steps (rowwise.h). A warp has a row of what is done element by element, and 16 columns
// at a time of a product's result. Weights come through a ring of tiles of each warp's own, in the order in which its
// products want them, so that the next step's are on their way while this one is computed.
#include "device/cuda/rowwise.h"
#include "kit/cuda/norm_grad.cuh"

static constexpr int WARPS = ROWWISE_ROWS, BLOCK = 32 * WARPS, SLOTS = 5, STRIP = 16, DEEP = 64,
                     MOST_HALVES = WARPS / 2;

template <typename T> struct rowwise_memory {
    T ring[WARPS][SLOTS][STRIP * DEEP];
    T left[ROWWISE_ROWS *
           (ROWWISE_DEPTH + 8)]; // of a product; of a norm's gradient, each row's part of the gain's as floats
    float sums[MOST_HALVES][ROWWISE_ROWS * STRIP];
};
static_assert(sizeof(float) * ROWWISE_COLUMNS <= 2 * (ROWWISE_DEPTH + 8), "a row of floats");

// The strips of 16 columns that a warp makes, and the tiles of its sums: of few strips two warps share the sums of one.
struct share {
    int strip, step, strips, from, to;
    bool halves;
};

__device__ __forceinline__ share share_of(const rowwise_stage &s)
{
    int warp = (int)threadIdx.x / 32, strips = s.columns / STRIP, tiles = (s.depth + DEEP - 1) / DEEP;
    if (strips > MOST_HALVES) return {warp, WARPS, strips, 0, tiles, false};
    int part = warp / strips, half = (tiles + 1) / 2;
    return {part < 2 ? warp % strips : strips, strips, strips, part ? half : 0, part ? tiles : half, true};
}

// Tiles of weights that are (depth, columns): chunks of 16 bytes in rows of two, so that eight rows' lie in different banks.
__device__ __forceinline__ int strip_at(int row, int chunk)
{
    return (row * 2 + (chunk ^ (row >> 2 & 1))) * 8;
}

// What a warp asks for next.
template <typename T> struct weight_reader {
    const rowwise_launch &l;
    T (*ring)[STRIP * DEEP];
    int stage = 0, strip = -1, tile = 0, asked = 0, used = 0;

    __device__ __forceinline__ void copy(const rowwise_stage &s)
    {
        int lane = threadIdx.x % 32, deep = tile * DEEP;
        T *to = ring[asked++ % SLOTS];
#pragma unroll
        for (int i = 0; i < STRIP * DEEP / 8 / 32; i++) {
            int item = i * 32 + lane, row = s.turned ? item / 8 : item / 2, chunk = s.turned ? item % 8 : item % 2;
            bool inside = deep + (s.turned ? chunk * 8 : row) < s.depth;
            int64_t at = s.turned ? (strip * STRIP + row) * s.weights_pitch + deep + chunk * 8
                                  : (deep + row) * s.weights_pitch + strip * STRIP + chunk * 8;
            cp_async_16(to + (s.turned ? tile_at<DEEP>(row, chunk) : strip_at(row, chunk)),
                        (const T *)s.weights + (inside ? at : 0), inside);
        }
    }
    // One tile, or nothing when there are no more: a group of copies either way.
    __device__ __forceinline__ void ask()
    {
        for (; stage < l.stages; stage++, strip = -1) {
            const rowwise_stage &s = l.stage[stage];
            if (s.kind != ROWWISE_PRODUCT) continue;
            share mine = share_of(s);
            if (strip < 0) strip = mine.strip, tile = mine.from;
            if (strip >= mine.strips || tile >= mine.to) continue;
            copy(s);
            if (++tile == mine.to) tile = mine.from, strip += mine.step;
            break;
        }
        cp_async_commit();
    }
    // The tile that was asked for longest ago; another one is asked for in the place of the one before it.
    __device__ __forceinline__ const T *next()
    {
        cp_async_wait<SLOTS - 2>();
        __syncwarp();
        ask();
        return ring[used++ % SLOTS];
    }
};

template <typename T> __device__ __forceinline__ T *row_of(const rowwise_rows &r)
{
    int64_t row = blockIdx.x * (int64_t)ROWWISE_ROWS + threadIdx.x / 32;
    return (T *)r.at + row * r.pitch;
}

template <typename T>
__device__ __forceinline__ void multiply_tile(float (&y)[2][4], const T *left, int pitch, const T *tile, int deep,
                                              bool turned)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int d = 0; d < DEEP / 16; d++) {
        if (deep + d * 16 + 16 > pitch - 8) break;
        uint32_t a[4], b[4];
        ldmatrix_x4(a, left + lane % 16 * pitch + deep + d * 16 + lane / 16 * 8);
        if (turned)
            right_sides<DEEP>(b, tile, 0, d);
        else
            ldmatrix_x4_trans(b, tile + strip_at(d * 16 + lane % 16, lane / 16));
        multiply_add<T>(y[0], a, b[0], b[1]);
        multiply_add<T>(y[1], a, b[2], b[3]);
    }
}

template <typename T>
__device__ __forceinline__ void put_strip(const rowwise_stage &s, int strip, const float (&y)[2][4])
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int64_t row = blockIdx.x * (int64_t)ROWWISE_ROWS + lane / 4 + i % 2 * 8;
        int column = strip * STRIP + i / 2 * 8 + lane % 4 * 2;
        float u = y[i / 2][i % 2 * 2], v = y[i / 2][i % 2 * 2 + 1];
        if (s.in[1].at) {
            pack<T, 2> more = load_pack<2>((const T *)s.in[1].at + row * s.in[1].pitch + column);
            u += to_float(more.at[0]), v += to_float(more.at[1]);
        }
        store_pack<2>((T *)s.out[0].at + row * s.out[0].pitch + column, pack<T, 2>{to<T>(u), to<T>(v)});
    }
}

template <typename T>
__device__ __forceinline__ void make_product(const rowwise_stage &s, rowwise_memory<T> &m, weight_reader<T> &weights)
{
    int warp = (int)threadIdx.x / 32, lane = threadIdx.x % 32, pitch = s.depth + 8;
    const T *x = row_of<T>(s.in[0]);
    for (int c = lane * 8; c < s.depth; c += 32 * 8) store_pack<8>(m.left + warp * pitch + c, load_pack<8>(x + c));
    __syncthreads();
    share mine = share_of(s);
    float y[2][4];
    for (int strip = mine.strip; strip < mine.strips; strip += mine.step) {
#pragma unroll
        for (int i = 0; i < 8; i++) y[i / 4][i % 4] = 0;
        for (int tile = mine.from; tile < mine.to; tile++)
            multiply_tile<T>(y, m.left, pitch, weights.next(), tile * DEEP, s.turned);
        if (!mine.halves) put_strip<T>(s, strip, y);
    }
    if (!mine.halves) return;
    bool works = mine.strip < mine.strips, second = works && warp >= mine.strips;
    float4 *sums = works ? (float4 *)m.sums[mine.strip] + lane : nullptr;
#pragma unroll
    for (int j = 0; j < 2; j++)
        if (second) sums[32 * j] = make_float4(y[j][0], y[j][1], y[j][2], y[j][3]);
    __syncthreads();
    if (!works || second) return;
#pragma unroll
    for (int j = 0; j < 2; j++) {
        float4 more = sums[32 * j];
        y[j][0] += more.x, y[j][1] += more.y, y[j][2] += more.z, y[j][3] += more.w;
    }
    put_strip<T>(s, mine.strip, y);
}

static constexpr int PACKS = ROWWISE_COLUMNS / 128;

template <typename T> __device__ __forceinline__ void load_row(float (&v)[PACKS][4], const T *row, int columns)
{
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
        int c = p * 128 + (int)(threadIdx.x % 32) * 4;
        pack<T, 4> x = {};
        if (c < columns) x = load_pack<4>(row + c);
#pragma unroll
        for (int i = 0; i < 4; i++) v[p][i] = to_float(x.at[i]);
    }
}

template <typename T> __device__ __forceinline__ void load_gains(float (&v)[PACKS][4], const rowwise_stage &s)
{
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
        int c = p * 128 + (int)(threadIdx.x % 32) * 4;
        if (c < s.columns) load_weights<T>(v[p], weights{s.weights, s.wide != 0}, c);
    }
}

template <typename T> __device__ __forceinline__ void store_row(T *row, const float (&v)[PACKS][4], int columns)
{
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
        int c = p * 128 + (int)(threadIdx.x % 32) * 4;
        if (c < columns)
            store_pack<4>(row + c, pack<T, 4>{to<T>(v[p][0]), to<T>(v[p][1]), to<T>(v[p][2]), to<T>(v[p][3])});
    }
}

template <typename T> __device__ __forceinline__ void make_norm(const rowwise_stage &s)
{
    float x[PACKS][4], gain[PACKS][4] = {}, sum = 0;
    load_gains<T>(gain, s);
    load_row<T>(x, row_of<T>(s.in[0]), s.columns);
#pragma unroll
    for (int i = 0; i < PACKS * 4; i++) sum += x[i / 4][i % 4] * x[i / 4][i % 4];
    float rstd = rsqrtf(warp_join<add_floats>(sum) / (float)s.columns + s.eps);
    if (s.out[1].at && threadIdx.x % 32 == 0) *row_of<float>(s.out[1]) = rstd;
#pragma unroll
    for (int i = 0; i < PACKS * 4; i++) x[i / 4][i % 4] = x[i / 4][i % 4] * rstd * gain[i / 4][i % 4];
    store_row<T>(row_of<T>(s.out[0]), x, s.columns);
}

// kit/cuda/norm_grad.cuh says the formula. Of the gain's gradient each row leaves its part, which are added in their order.
template <typename T> __device__ __forceinline__ void make_norm_grad(const rowwise_stage &s, float *parts)
{
    float x[PACKS][4], g[PACKS][4], gain[PACKS][4] = {}, more[PACKS][4] = {}, sum = 0;
    float rstd = *row_of<float>(s.in[2]), *part = parts + threadIdx.x / 32 * s.columns;
    load_gains<T>(gain, s);
    load_row<T>(g, row_of<T>(s.in[0]), s.columns);
    load_row<T>(x, row_of<T>(s.in[1]), s.columns);
    if (s.in[3].at) load_row<T>(more, row_of<T>(s.in[3]), s.columns);
#pragma unroll
    for (int i = 0; i < PACKS * 4; i++) sum += g[i / 4][i % 4] * gain[i / 4][i % 4] * x[i / 4][i % 4];
    float along = warp_join<add_floats>(sum) / (float)s.columns * rstd;
#pragma unroll
    for (int i = 0; i < PACKS * 4; i++) {
        int p = i / 4, k = i % 4, c = p * 128 + (int)(threadIdx.x % 32) * 4 + k;
        float unit = x[p][k] * rstd;
        if (c < s.columns) part[c] = g[p][k] * unit;
        more[p][k] += rstd * (g[p][k] * gain[p][k] - unit * along);
    }
    store_row<T>(row_of<T>(s.out[0]), more, s.columns);
    if (!s.partial) return;
    __syncthreads();
    for (int c = threadIdx.x; c < s.columns; c += BLOCK) {
        float all = 0;
        for (int row = 0; row < ROWWISE_ROWS; row++) all += parts[row * s.columns + c];
        s.partial[blockIdx.x * (int64_t)s.columns + c] = all;
    }
}

// Halves of a head turn against each other (ops/rope).
template <typename T> __device__ __forceinline__ void turn_row(const rowwise_stage &s)
{
    const T *x = row_of<T>(s.in[0]);
    T *y = row_of<T>(s.out[0]);
    int where = *row_of<int>(s.in[1]), pairs = s.columns / 2;
    bool known = where >= 0 && where < s.positions;
    weights table = {s.weights, s.wide != 0};
    for (int i = threadIdx.x % 32; i < s.depth * pairs; i += 32) {
        int item = i % pairs, one = i / pairs * s.columns + item, other = one + pairs;
        float c[1] = {0}, sine[1] = {0};
        if (known) {
            load_weights<T>(c, table, (int64_t)where * s.columns + item);
            load_weights<T>(sine, table, (int64_t)where * s.columns + pairs + item);
        }
        if (s.turned) sine[0] = -sine[0];
        float u = to_float(x[one]), v = to_float(x[other]);
        y[one] = to<T>(u * c[0] - v * sine[0]);
        y[other] = to<T>(v * c[0] + u * sine[0]);
    }
}

// a sigmoid(a) b, and its gradients.
template <bool GRAD, typename T> __device__ __forceinline__ void gate_row(const rowwise_stage &s)
{
    const T *gate = row_of<T>(s.in[0]), *up = row_of<T>(s.in[1]), *dy = GRAD ? row_of<T>(s.in[2]) : nullptr;
    T *y = row_of<T>(s.out[0]), *dup = GRAD ? row_of<T>(s.out[1]) : nullptr;
    for (int c = (int)(threadIdx.x % 32) * 8; c < s.columns; c += 32 * 8) {
        pack<T, 8> a = load_pack<8>(gate + c), b = load_pack<8>(up + c), d = {};
        if (GRAD) d = load_pack<8>(dy + c);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float x = to_float(a.at[i]), z = to_float(b.at[i]), g = to_float(d.at[i]),
                  sigmoid = 1.0f / (1.0f + expf(-x));
            a.at[i] = to<T>(GRAD ? g * z * sigmoid + g * z * x * (sigmoid * (1 - sigmoid)) : x * sigmoid * z);
            b.at[i] = to<T>(g * (x * sigmoid));
        }
        store_pack<8>(y + c, a);
        if (GRAD) store_pack<8>(dup + c, b);
    }
}

template <typename T>
__global__ void __launch_bounds__(BLOCK, 1) rowwise_steps(const __grid_constant__ rowwise_launch l)
{
    rowwise_memory<T> &m = tiles_in_memory<rowwise_memory<T>>();
    weight_reader<T> reader{l, m.ring[threadIdx.x / 32]};
    if (!l.early) wait_for_inputs();
    for (int i = 0; i < SLOTS - 1; i++) reader.ask();
    if (l.early) wait_for_inputs();
    for (int i = 0; i < l.stages; i++) {
        const rowwise_stage &s = l.stage[i];
        if (i) __syncthreads();
        switch (s.kind) {
        case ROWWISE_NORM: make_norm<T>(s); break;
        case ROWWISE_NORM_GRAD: make_norm_grad<T>(s, (float *)m.left); break;
        case ROWWISE_PRODUCT: make_product<T>(s, m, reader); break;
        case ROWWISE_ROPE: turn_row<T>(s); break;
        case ROWWISE_SWIGLU: gate_row<false, T>(s); break;
        case ROWWISE_SWIGLU_GRAD: gate_row<true, T>(s); break;
        }
    }
}

template <typename T> static constexpr int bytes_of = (int)sizeof(rowwise_memory<T>) + 1024;

template <typename T> static bool has_room()
{
    int blocks = 0;
    return !cudaFuncSetAttribute(rowwise_steps<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes_of<T>) &&
           !cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, rowwise_steps<T>, BLOCK, bytes_of<T>) && blocks > 0;
}

bool rowwise_has_room(void)
{
    bool has = has_room<bf16>() && has_room<f16>();
    if (!has) (void)cudaGetLastError();
    return has;
}

cudaError_t rowwise_start(const rowwise_run *run, const queue *q)
{
    if (run->dtype == INGOT_BF16)
        rowwise_steps<bf16><<<run->launch.blocks, BLOCK, bytes_of<bf16>, q->stream>>>(run->launch);
    else
        rowwise_steps<f16><<<run->launch.blocks, BLOCK, bytes_of<f16>, q->stream>>>(run->launch);
    return cudaGetLastError();
}

cudaError_t rowwise_add_sums(const rowwise_run *run, const queue *q)
{
    for (int i = 0; i < run->sum_count; i++) {
        const rowwise_sum &s = run->sums[i];
        by_dtype(s.dtype, [&](auto w) {
            using W = decltype(w);
            launch_waiting(add_partials<W>, dim3((unsigned)(s.columns + 31) / 32), dim3(32, 32), 0, q, (W *)s.sum,
                           (W *)nullptr, (float *)nullptr, s.partial, (int64_t)run->launch.blocks, (int64_t)s.columns);
        });
    }
    return cudaGetLastError();
}
