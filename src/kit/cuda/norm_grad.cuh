// The gradients of norms over rows, with what comes past the norm added, and the sums of rows that the gradients of gains and
// biases are.
//
// A weight's gradient is a sum over all rows. Every block adds the rows that fall to it in registers and writes one partial
// sum; a second kernel adds the partial sums in their order. So the bits do not depend on which block is done first.
#ifndef KIT_CUDA_NORM_GRAD_CUH
#define KIT_CUDA_NORM_GRAD_CUH

#include "kit/cuda/mma.cuh"
#include "kit/cuda/norm.cuh"

template <typename T> struct norm_grad_rows {
    T *dx;                      // may lie over dy: a thread has read its elements before it writes them
    float *partial;             // (blocks, columns) of dw, then of dbias, then of dx; or NULL
    const T *dy, *x, *residual; // residual: is added to dx; or NULL
    weights w;
    const float *rstds;
    int64_t rows;
    int columns;
};

// Rows on their way while one is worked on: each thread copies what it will read itself to shared memory, so that there is
// nobody to wait for. Short rows only; of long ones the other rows' warps are on their way anyway.
template <typename T, typename P> struct row_ring {
    static constexpr bool here = P::width == WIDE<T> && P::threads <= 128;
    static constexpr int stages = 2, tensors = 3;
    static constexpr int packs = here ? stages * tensors * P::packs * P::block : 0; // of 16 bytes
    static constexpr int weight_bytes = here ? P::threads * P::packs * P::width * (int)sizeof(float) : 0;
    static constexpr int bytes = packs * 16 + weight_bytes;

    static __device__ __forceinline__ uint4 *at(int stage, int tensor, int p)
    {
        extern __shared__ uint4 staged[];
        return staged + ((stage * tensors + tensor) * P::packs + p) * P::block + threadIdx.x;
    }
    // Four weights of this thread's columns.
    static __device__ __forceinline__ float4 *weight(int p, int four)
    {
        extern __shared__ uint4 staged[];
        return (float4 *)(staged + packs) + (p * (P::width / 4) + four) * P::threads + threadIdx.x % P::threads;
    }
};

template <typename T, typename P> struct grad_inputs {
    row_part<T, P::threads, P::packs, P::width> dy, x;
    float rstd;
};

// Asks for a row: for the shared memory of a stage, or for registers.
template <typename T, typename P>
__device__ __forceinline__ void ask_for_row(const norm_grad_rows<T> &k, grad_inputs<T, P> &in, int stage, int64_t row)
{
    typedef row_ring<T, P> ring;
    if constexpr (ring::here) {
        if (row < k.rows) {
#pragma unroll
            for (int p = 0; p < P::packs; p++) {
                int64_t at = row * k.columns + in.x.column(p);
                bool valid = in.x.column(p) < k.columns;
                if (!valid) at = row * k.columns;
                cp_async_16(ring::at(stage, 0, p), k.dy + at, valid);
                cp_async_16(ring::at(stage, 1, p), k.x + at, valid);
                if (k.residual) cp_async_16(ring::at(stage, 2, p), k.residual + at, valid);
            }
        }
        cp_async_commit();
    } else if (row < k.rows) {
        in.dy.load(k.dy + row * k.columns);
        in.x.load(k.x + row * k.columns);
    }
}

template <typename T, typename P> __device__ __forceinline__ void take_row(grad_inputs<T, P> &in, int stage)
{
    if constexpr (row_ring<T, P>::here) {
#pragma unroll
        for (int p = 0; p < P::packs; p++) {
            *(uint4 *)&in.dy.at[p] = *row_ring<T, P>::at(stage, 0, p);
            *(uint4 *)&in.x.at[p] = *row_ring<T, P>::at(stage, 1, p);
        }
    }
}

template <typename T, typename P>
__device__ __forceinline__ void keep_weights(const norm_grad_rows<T> &k, const grad_inputs<T, P> &in)
{
    if constexpr (row_ring<T, P>::here) {
        if (threadIdx.x < P::threads)
#pragma unroll
            for (int p = 0; p < P::packs; p++) {
                float w[P::width] = {};
                if (in.x.column(p) < k.columns) load_weights<T>(w, k.w, in.x.column(p));
#pragma unroll
                for (int i = 0; i < P::width; i += 4)
                    *row_ring<T, P>::weight(p, i / 4) = make_float4(w[i], w[i + 1], w[i + 2], w[i + 3]);
            }
        __syncthreads();
    }
}

template <typename T, typename P>
__device__ __forceinline__ void take_weights(const norm_grad_rows<T> &k, float (&out)[P::width], int p, int column)
{
    if constexpr (row_ring<T, P>::here) {
#pragma unroll
        for (int i = 0; i < P::width; i += 4) *(float4 *)&out[i] = *row_ring<T, P>::weight(p, i / 4);
    } else {
        load_weights<T>(out, k.w, column);
    }
}

template <typename T, typename P>
__device__ __forceinline__ pack<T, P::width> take_residual(const norm_grad_rows<T> &k, int stage, int p, int64_t at)
{
    if constexpr (row_ring<T, P>::here)
        return *(const pack<T, P::width> *)row_ring<T, P>::at(stage, 2, p);
    else
        return load_pack<P::width>(k.residual + at);
}

// dx = rstd (g - mean(g) - unit mean(g unit)) with g = dy w and unit = (x - mean) rstd; not CENTRED: without the means of x
// and g. The second sums begin from a mean whose rounding they correct. SUMMED: dx is added to `all`.
template <bool CENTRED, bool SUMMED, typename T, typename P, typename SUMS>
__device__ __forceinline__ void grad_of_row(const norm_grad_rows<T> &k, const grad_inputs<T, P> &in, int stage,
                                            int64_t row, SUMS &dw, SUMS &dbias, SUMS &all)
{
    float n = (float)k.columns, w[P::width], mean = 0, level = 0;
    if constexpr (CENTRED) {
        float sums[2] = {0, 0};
        in.dy.each([&](float g, int p, int i) {
            if (i == 0) take_weights<T, P>(k, w, p, in.x.column(p));
            sums[0] += to_float(in.x.at[p].at[i]);
            sums[1] += g * w[i];
            dbias[p][i] += g;
        });
        join_row<P, add_floats>(sums);
        mean = sums[0] / n;
        level = sums[1] / n;
    }
    float sums[2] = {0, 0};
    in.dy.each([&](float g, int p, int i) {
        if (i == 0) take_weights<T, P>(k, w, p, in.x.column(p));
        float u = to_float(in.x.at[p].at[i]) - mean;
        sums[0] += g * w[i] * u;
        if (CENTRED) sums[1] += u;
    });
    join_row<P, add_floats, 1, !CENTRED>(sums);
    float rest = sums[1] / n, along = (sums[0] / n - rest * level) * in.rstd;
    mean += rest;
    pack<T, P::width> more = {};
    in.dy.store(k.dx + row * k.columns, [&](float g, int p, int i) {
        if (i == 0) take_weights<T, P>(k, w, p, in.x.column(p));
        if (i == 0 && k.residual) more = take_residual<T, P>(k, stage, p, row * k.columns + in.x.column(p));
        float unit = (to_float(in.x.at[p].at[i]) - mean) * in.rstd;
        dw[p][i] += g * unit;
        float d = in.rstd * (g * w[i] - level - unit * along);
        if (k.residual) d += to_float(more.at[i]);
        if (SUMMED) all[p][i] += d;
        return d;
    });
}

// The sums of this thread's columns, over the rows of the block, into one partial sum.
template <typename P>
__device__ __forceinline__ void write_partial(float *partial, float (&sum)[P::packs][P::width], int columns)
{
    float *to = partial + (int64_t)blockIdx.x * columns;
    int first = (int)(threadIdx.x % P::threads) * P::width;
    __shared__ float joined[P::block > P::threads ? P::threads * P::packs * P::width : 1];
    for (unsigned group = 0; group < blockDim.x / P::threads; group++) {
        if (P::block > P::threads) __syncthreads();
        if (threadIdx.x / P::threads != group) continue;
#pragma unroll
        for (int p = 0; p < P::packs; p++)
#pragma unroll
            for (int i = 0; i < P::width; i++) {
                int column = first + p * P::threads * P::width + i;
                if (P::block > P::threads)
                    joined[column] = group ? joined[column] + sum[p][i] : sum[p][i];
                else if (column < columns)
                    to[column] = sum[p][i];
            }
    }
    if (P::block == P::threads) return;
    __syncthreads();
    for (int column = threadIdx.x; column < columns; column += blockDim.x) to[column] = joined[column];
    __syncthreads();
}

template <bool CENTRED, bool SUMMED, typename P, typename T>
__global__ __launch_bounds__(P::block) void norm_grad(norm_grad_rows<T> k)
{
    wait_for_inputs();
    float dw[P::packs][P::width] = {}, dbias[P::packs][P::width] = {}, all[P::packs][P::width] = {};
    grad_inputs<T, P> in = {{k.columns}, {k.columns}, 0};
    int64_t row = row_of_thread<P>(), step = gridDim.x * (int64_t)(blockDim.x / P::threads);
    float next = row < k.rows ? k.rstds[row] : 0;
    if (row_ring<T, P>::here) ask_for_row(k, in, 0, row);
    keep_weights(k, in);
    for (int stage = 0; row < k.rows; row += step, stage ^= 1) {
        in.rstd = next;
        if (row + step < k.rows) next = k.rstds[row + step];
        if constexpr (row_ring<T, P>::here) {
            ask_for_row(k, in, stage ^ 1, row + step);
            cp_async_wait<1>();
            take_row(in, stage);
        } else {
            ask_for_row(k, in, 0, row);
        }
        grad_of_row<CENTRED, SUMMED>(k, in, stage, row, dw, dbias, all);
    }
    if (!k.partial) return;
    write_partial<P>(k.partial, dw, k.columns);
    if (CENTRED) write_partial<P>(k.partial + (int64_t)gridDim.x * k.columns, dbias, k.columns);
    if (SUMMED) write_partial<P>(k.partial + 2 * (int64_t)gridDim.x * k.columns, all, k.columns);
}

// partial (count, columns) -> y (columns), for up to three at once: blockIdx.y says which, the third is float32. 32 columns a
// block, 32 threads share a column's partial sums.
template <typename W>
__global__ void __launch_bounds__(1024)
    add_partials(W *first, W *second, float *third, const float *partial, int64_t count, int64_t columns)
{
    wait_for_inputs();
    __shared__ float part[32][33];
    W *y = blockIdx.y ? second : first;
    if (blockIdx.y == 2 ? !third : !y) return;
    int64_t column = blockIdx.x * 32 + threadIdx.x;
    const float *from = partial + blockIdx.y * count * columns + column;
    float v = 0;
    if (column < columns)
#pragma unroll 4
        for (int64_t k = threadIdx.y; k < count; k += 32) v += from[k * columns];
    part[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    v = warp_join<add_floats>(part[threadIdx.x][threadIdx.y]);
    column = blockIdx.x * 32 + threadIdx.y;
    if (threadIdx.x || column >= columns) return;
    if (blockIdx.y == 2)
        third[column] = v;
    else
        y[column] = to<W>(v);
}

// ---- what the ops' kernels launch ----

enum { NORM_GRAD_DX, NORM_GRAD_DW, NORM_GRAD_DBIAS, NORM_GRAD_SUMS };

// Partial sums: of blocks that run at a time. MOST_PARTIALS a multiprocessor, whatever the plan.
enum { MOST_PARTIALS = 4 };

template <typename K> static unsigned partial_blocks(K kernel, int64_t rows, int threads, int bytes, const queue *q)
{
    int a_time = 1;
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(&a_time, kernel, threads, (size_t)bytes);
    a_time = a_time < 1 ? 1 : a_time > MOST_PARTIALS ? MOST_PARTIALS : a_time;
    int64_t most = (int64_t)q->caps->multiprocessors * a_time;
    return (unsigned)(rows < most ? rows : most);
}

template <bool CENTRED> static status launch_norm_grad(const step *s, queue *q)
{
    const tensor *x = &s->in[1], *dw = &s->out[NORM_GRAD_DW];
    void *dbias = CENTRED ? s->out[NORM_GRAD_DBIAS].data : nullptr;
    int64_t columns = x->shape.dim[x->shape.rank - 1], rows = shape_count(x->shape) / columns;
    unsigned blocks = 0;
    float *sums = CENTRED ? (float *)s->out[NORM_GRAD_SUMS].data : nullptr;
    float *partial = dw->data || dbias || sums ? (float *)s->scratch : nullptr;
    by_dtype(x->dtype, [&](auto t) {
        using T = decltype(t);
        norm_grad_rows<T> k = {(T *)s->out[NORM_GRAD_DX].data,
                               partial,
                               (const T *)s->in[0].data,
                               (const T *)x->data,
                               s->inputs > 4 ? (const T *)s->in[4].data : nullptr,
                               weights_of(&s->in[2]),
                               (const float *)s->in[3].data,
                               rows,
                               (int)columns};
        by_columns<T>(columns, [&](auto plan) {
            using P = decltype(plan);
            constexpr int bytes = row_ring<T, P>::bytes, groups = P::block / P::threads;
            auto kernel = norm_grad<CENTRED, false, P, T>;
            if constexpr (CENTRED)
                if (sums) kernel = norm_grad<true, true, P, T>;
            if (bytes > 48 << 10) cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
            blocks = partial_blocks(kernel, (rows + groups - 1) / groups, P::block, bytes, q);
            kernel<<<blocks, P::block, bytes, q->stream>>>(k);
        });
    });
    if (!partial) return INGOT_OK;
    queue_first_output_made(q);
    by_dtype(s->in[2].dtype, [&](auto w) {
        using W = decltype(w);
        dim3 grid((unsigned)((columns + 31) / 32), sums ? 3 : dbias ? 2 : 1);
        launch_waiting(add_partials<W>, grid, dim3(32, 32), 0, q, (W *)dw->data, (W *)dbias, sums, partial,
                       (int64_t)blocks, columns);
    });
    return INGOT_OK;
}

static inline bool match_norm_grad(const node *n, const device_caps *)
{
    return norm_fits(n, 1) && n->in[0]->dtype == n->in[1]->dtype && n->in[3]->dtype == INGOT_F32 &&
           (!n->out[NORM_GRAD_SUMS] || n->out[NORM_GRAD_SUMS]->dtype == INGOT_F32);
}

static inline int64_t norm_grad_scratch(const node *n, const device_caps *caps)
{
    bool sums = n->out[NORM_GRAD_DW] || n->out[NORM_GRAD_DBIAS] || n->out[NORM_GRAD_SUMS];
    return sums ? 3 * MOST_PARTIALS * caps->multiprocessors * shape_count(n->in[2]->shape) * (int64_t)sizeof(float) : 0;
}

#endif
