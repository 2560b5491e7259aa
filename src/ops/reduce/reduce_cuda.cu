// Sums and maxima on CUDA, in a fixed tree: a warp or block for each row; columns of many rows by threads side by side, in
// two rounds where rows are many and columns few.
#include "kit/cuda/values.cuh"
#include "ops/reduce/reduce.h"

template <bool SUM> using joins = std::conditional_t<SUM, add_floats, max_floats>;

// x (rows, n) -> y (rows)
template <bool SUM, int THREADS, typename T, typename U>
__global__ void __launch_bounds__(THREADS) reduce_rows(U *y, const T *x, int64_t rows, int64_t n)
{
    wait_for_inputs();
    using J = joins<SUM>;
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        float v = J::none();
        for (int64_t i = threadIdx.x; i < n; i += THREADS) v = J::join(v, to_float(x[row * n + i]));
        v = group_join<J, THREADS>(v);
        if (threadIdx.x == 0) y[row] = to<U>(v);
    }
}

// x (outer, n, inner) -> y (outer, parts, inner), each part of n rows / parts: N columns a thread, 32 threads side by side,
// 8 that share a column's rows.
template <bool SUM, int N, typename T, typename U>
__global__ void reduce_columns(U *y, const T *x, int64_t n, int64_t inner, int64_t parts)
{
    wait_for_inputs();
    using J = joins<SUM>;
    __shared__ float part[8][32][N];
    int64_t column = (blockIdx.x * 32 + threadIdx.x) * N, outer = blockIdx.y / parts, index = blockIdx.y % parts;
    int64_t first = n * index / parts, last = n * (index + 1) / parts;
    float v[N];
    for (int i = 0; i < N; i++) v[i] = J::none();
    if (column < inner)
#pragma unroll 4
        for (int64_t k = first + threadIdx.y; k < last; k += 8) {
            pack<T, N> row = load_pack<N>(x + (outer * n + k) * inner + column);
#pragma unroll
            for (int i = 0; i < N; i++) v[i] = J::join(v[i], to_float(row.at[i]));
        }
    for (int i = 0; i < N; i++) part[threadIdx.y][threadIdx.x][i] = v[i];
    __syncthreads();
    if (threadIdx.y || column >= inner) return;
    for (int i = 0; i < N; i++) {
        for (int k = 1; k < 8; k++) v[i] = J::join(v[i], part[k][threadIdx.x][i]);
        y[(int64_t)blockIdx.y * inner + column + i] = to<U>(v[i]);
    }
}

// x (n, inner), many rows: a thread has 16 bytes of columns, a block's threads those of whole rows side by side, so that
// memory is read in its order; parts of the rows by blockIdx.y, each a row of y.
template <bool SUM, typename T> __global__ void reduce_tall(float *y, const T *x, int64_t n, int64_t inner)
{
    using J = joins<SUM>;
    constexpr int N = WIDE<T>;
    wait_for_inputs();
    int64_t column = (blockIdx.x * (int64_t)blockDim.x + threadIdx.x) * N;
    if (column >= inner) return;
    int64_t first = n * blockIdx.y / gridDim.y, last = n * (blockIdx.y + 1) / gridDim.y;
    float v[N];
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = J::none();
#pragma unroll 8
    for (int64_t k = first; k < last; k++) {
        pack<T, N> row = load_pack<N>(x + k * inner + column);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = J::join(v[i], to_float(row.at[i]));
    }
    pack<float, N> sums;
#pragma unroll
    for (int i = 0; i < N; i++) sums.at[i] = v[i];
    store_pack<N>(y + blockIdx.y * inner + column, sums);
}

// A long sum in two rounds: fixed blocks, then their sums.
enum { PARTS = 1024 };

template <typename T> __global__ void __launch_bounds__(CUDA_THREADS) sum_parts(float *parts, const T *x, int64_t n)
{
    wait_for_inputs();
    float v = 0;
    int64_t each = (n + gridDim.x - 1) / gridDim.x, first = blockIdx.x * each,
            last = first + each < n ? first + each : n;
    for (int64_t i = first + threadIdx.x; i < last; i += CUDA_THREADS) v += to_float(x[i]);
    v = group_sum<CUDA_THREADS>(v);
    if (threadIdx.x == 0) parts[blockIdx.x] = v;
}

struct reduce_shape {
    int64_t outer, n, inner;
};

static reduce_shape shape_of(const node *node)
{
    shape x = node->in[0]->shape;
    const reduce_attrs *a = ATTRS_OF(reduce_attrs, node);
    reduce_shape r = {1, x.dim[a->axis], 1};
    for (int64_t i = a->axis + 1; i < x.rank; i++) r.inner *= x.dim[i];
    for (int64_t i = 0; i < a->axis; i++) r.outer *= x.dim[i];
    return r;
}

// Parts of the rows of each column: enough blocks for a large GPU, 64 rows a part at least.
static int64_t parts_of(reduce_shape r)
{
    int64_t blocks = (r.inner + 127) / 128 * r.outer, wanted = 512 / blocks, most = r.n / 64;
    int64_t parts = wanted < most ? wanted : most;
    return parts < 2 ? 1 : parts;
}

struct tall_plan {
    unsigned threads, blocks, parts; // no threads: not for this shape
};

// As many threads as keep enough reads on their way, in blocks of whole rows where these are short.
static tall_plan tall_of(reduce_shape r, ingot_dtype d, const device_caps *caps)
{
    int64_t packs = r.inner * ingot_dtype_bytes(d) / 16;
    if (r.outer != 1 || r.n < 4096 || r.inner == 1 || r.inner * ingot_dtype_bytes(d) % 16) return {};
    unsigned blocks = (unsigned)((packs + 511) / 512), each = (unsigned)((packs + blocks - 1) / blocks);
    unsigned threads = (each + 31) / 32 * 32, at_a_time = 768 / threads / blocks;
    return {threads, blocks, (unsigned)caps->multiprocessors * (at_a_time < 1 ? 1 : at_a_time)};
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    reduce_shape r = shape_of(n);
    tall_plan tall = tall_of(r, n->in[0]->dtype, caps);
    if (tall.threads) return tall.parts * r.inner * (int64_t)sizeof(float);
    if (r.inner == 1) return r.outer == 1 && r.n > 16384 ? PARTS * (int64_t)sizeof(float) : 0;
    int64_t parts = parts_of(r);
    return parts > 1 ? r.outer * parts * r.inner * (int64_t)sizeof(float) : 0;
}

template <bool SUM, int N, typename T, typename U>
static void launch_columns(const step *s, queue *q, const T *x, U *y, reduce_shape r)
{
    int64_t parts = parts_of(r);
    float *partial = (float *)s->scratch;
    dim3 threads(32, 8);
    unsigned blocks = (unsigned)((r.inner + 32 * N - 1) / (32 * N));
    if (parts == 1) {
        reduce_columns<SUM, N><<<dim3(blocks, (unsigned)r.outer), threads, 0, q->stream>>>(y, x, r.n, r.inner, 1);
        return;
    }
    reduce_columns<SUM, N>
        <<<dim3(blocks, (unsigned)(r.outer * parts)), threads, 0, q->stream>>>(partial, x, r.n, r.inner, parts);
    launch_waiting(reduce_columns<SUM, N, float, U>, dim3(blocks, (unsigned)r.outer), threads, 0, q, y, partial, parts,
                   r.inner, 1);
}

template <bool SUM, typename T, typename U>
static void launch_rows(const step *s, queue *q, const T *x, U *y, reduce_shape r)
{
    unsigned blocks = (unsigned)(r.outer < 65535 ? r.outer : 65535);
    if (SUM && r.outer == 1 && r.n > 16384) {
        sum_parts<<<PARTS, CUDA_THREADS, 0, q->stream>>>((float *)s->scratch, x, r.n);
        launch_waiting(reduce_rows<true, 256, float, U>, 1, 256, 0, q, y, s->scratch, 1, PARTS);
    } else if (r.n < 256) {
        reduce_rows<SUM, 32><<<blocks, 32, 0, q->stream>>>(y, x, r.outer, r.n);
    } else {
        reduce_rows<SUM, 256><<<blocks, 256, 0, q->stream>>>(y, x, r.outer, r.n);
    }
}

template <bool SUM, typename T, typename U> static void reduce_to(const step *s, queue *q)
{
    reduce_shape r = shape_of(s->node);
    const T *x = (const T *)s->in[0].data;
    U *y = (U *)s->out[0].data;
    tall_plan tall = tall_of(r, s->in[0].dtype, q->caps);
    if (tall.threads) {
        reduce_tall<SUM>
            <<<dim3(tall.blocks, tall.parts), tall.threads, 0, q->stream>>>((float *)s->scratch, x, r.n, r.inner);
        launch_waiting(reduce_columns<SUM, 4, float, U>, dim3((unsigned)((r.inner + 127) / 128)), dim3(32, 8), 0, q, y,
                       s->scratch, tall.parts, r.inner, 1);
        return;
    }
    if (r.inner == 1)
        launch_rows<SUM>(s, q, x, y, r);
    else if (r.inner % 4 == 0)
        launch_columns<SUM, 4>(s, q, x, y, r);
    else
        launch_columns<SUM, 1>(s, q, x, y, r);
}

template <bool SUM> static void reduce(const step *s, queue *q)
{
    by_dtype(s->in[0].dtype, [&](auto t) {
        using T = decltype(t);
        if (s->out[0].dtype == INGOT_F32)
            reduce_to<SUM, T, float>(s, q);
        else
            reduce_to<SUM, T, T>(s, q);
    });
}

static status launch(const step *s, queue *q)
{
    if (ATTRS_OF(reduce_attrs, s->node)->kind == REDUCE_SUM)
        reduce<true>(s, q);
    else
        reduce<false>(s, q);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *)
{
    ingot_dtype d = n->in[0]->dtype;
    return cuda_float(d) && (n->out[0]->dtype == d || n->out[0]->dtype == INGOT_F32) &&
           (shape_of(n).inner == 1 || shape_of(n).outer <= 32768);
}

extern "C" const kernel_def reduce_cuda[] = {
    {.op = &op_reduce_def,
     .name = "reduce.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match,
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
