// Cross-entropy on CUDA: a block for each row of logits, which is read once and written once. Short rows are kept in
// registers, longer ones in shared memory where two fit into a multiprocessor; others are read again. Rows of an odd
// vocabulary begin anywhere, so the elements before the first whole 16 bytes and after the last go one by one.
#include "kit/cuda/mma.cuh"
#include "kit/cuda/rows.cuh"
#include "ops/cross_entropy/cross_entropy_cuda.h"

enum { THREADS = 512 };

struct row_split {
    int head, packs; // elements before the first pack; packs
};

template <typename T> __device__ __forceinline__ row_split split_row(const T *row, int columns)
{
    int head = (int)((16 - (uintptr_t)row % 16) % 16 / sizeof(T));
    head = head < columns ? head : columns;
    return {head, (columns - head) / WIDE<T>};
}

// A running maximum and the sum of e^(x - max).
struct running {
    float max = -INFINITY, sum = 0;

    __device__ __forceinline__ void join(float other_max, float other_sum)
    {
        if (other_max > max) {
            sum *= __expf(max - other_max);
            max = other_max;
        }
        sum += other_max == -INFINITY ? 0 : other_sum * __expf(other_max - max);
        if (other_max != other_max) max = other_max; // NaN stays
    }
};

// packs: where the whole packs of the row are read.
template <typename T> __device__ __forceinline__ running scan_row(const T *row, const T *packs, int columns)
{
    running r;
    row_split split = split_row(row, columns);
    int tail = split.head + split.packs * WIDE<T>;
    for (int i = threadIdx.x; i < split.head; i += THREADS) r.join(to_float(row[i]), 1);
    for (int i = tail + threadIdx.x; i < columns; i += THREADS) r.join(to_float(row[i]), 1);
    for (int i = threadIdx.x; i < split.packs; i += THREADS) {
        pack<T, WIDE<T>> v = load_pack<WIDE<T>>(packs + split.head + (int64_t)i * WIDE<T>);
        float max = -INFINITY, sum = 0;
#pragma unroll
        for (int k = 0; k < WIDE<T>; k++) max = max_floats::join(max, to_float(v.at[k]));
        if (max == -INFINITY) continue;
#pragma unroll
        for (int k = 0; k < WIDE<T>; k++) sum += __expf(to_float(v.at[k]) - max);
        r.join(max, sum);
    }
    return r;
}

__device__ __forceinline__ running join_block(running r)
{
    __shared__ float max_of[THREADS / 32],
        sum_of[THREADS / 32]; // of a warp each; no struct, whose defaults would be written
    for (int offset = 16; offset; offset /= 2)
        r.join(__shfl_xor_sync(0xffffffffu, r.max, offset), __shfl_xor_sync(0xffffffffu, r.sum, offset));
    if (threadIdx.x % 32 == 0) {
        max_of[threadIdx.x / 32] = r.max;
        sum_of[threadIdx.x / 32] = r.sum;
    }
    __syncthreads();
    running all;
    for (int i = 0; i < THREADS / 32; i++) all.join(max_of[i], sum_of[i]);
    __syncthreads(); // the compiler may put other shared values where these lay
    return all;
}

// Losses, and gradients where `dlogits` is given. lses is what the losses leave, and, without `losses`, what they left.
// dlogits may lie over the logits: a thread reads its elements before it writes them.
// KEPT: rows begin at 16 bytes, and each thread copies the packs that it will read itself to shared memory.
template <bool KEPT, typename T> __global__ void __launch_bounds__(THREADS) rows_of_logits(cross_entropy_rows r)
{
    extern __shared__ uint4 kept[];
    __shared__ float shared_lse;
    wait_for_inputs();
    int64_t row = blockIdx.x;
    const T *x = (const T *)r.logits + row * r.stride;
    int columns = (int)r.columns;
    int32_t target = r.targets[row];
    bool counts = target >= 0 && target < columns;
    row_split split = split_row(x, columns);
    int tail = split.head + split.packs * WIDE<T>;
    const T *packs = KEPT ? (const T *)kept : x;
    if (KEPT && counts) {
        for (int i = threadIdx.x; i < split.packs; i += THREADS) cp_async_16(kept + i, x + i * WIDE<T>, true);
        cp_async_commit();
        cp_async_wait<0>();
    }
    if (r.losses) {
        running all = counts ? join_block(scan_row(x, packs, columns)) : running();
        if (threadIdx.x == 0) {
            float log_sum = logf(all.sum), lse = counts ? all.max + log_sum : 0;
            r.losses[row] = counts ? all.max - to_float(x[target]) + log_sum : 0;
            if (r.lses) r.lses[row] = lse;
            shared_lse = lse;
        }
        __syncthreads();
    }
    if (!r.dlogits) return;
    T *dx = (T *)r.dlogits + row * r.stride;
    float lse = r.losses ? shared_lse : r.lses[row], d = !counts ? 0 : r.dlosses ? r.dlosses[row] : 1;
    auto gradient = [&](T v, int column) {
        return to<T>(counts ? (__expf(to_float(v) - lse) - (column == target ? 1.0f : 0.0f)) * d : 0.0f);
    };
    for (int i = threadIdx.x; i < split.head; i += THREADS) dx[i] = gradient(x[i], i);
    for (int i = tail + threadIdx.x; i < columns; i += THREADS) dx[i] = gradient(x[i], i);
    for (int i = threadIdx.x; i < split.packs; i += THREADS) {
        int from = split.head + i * WIDE<T>;
        pack<T, WIDE<T>> v = load_pack<WIDE<T>>(packs + from);
#pragma unroll
        for (int k = 0; k < WIDE<T>; k++) v.at[k] = gradient(v.at[k], from + k);
        store_pack<WIDE<T>>(dx + from, v);
    }
    for (int i = columns + (int)threadIdx.x; i < r.padded; i += THREADS) dx[i] = to<T>(0.0f);
}

// Short rows that begin at 16 bytes stay in registers.
template <typename T> using short_row = row_plan<128, 4, WIDE<T>>;

template <typename T> static bool is_short(const cross_entropy_rows *r)
{
    constexpr int N = WIDE<T>, MOST = short_row<T>::threads * short_row<T>::packs * N;
    int64_t whole = (r->columns + N - 1) / N * N, end = r->padded > r->columns ? r->padded : r->columns;
    bool aligned = (uintptr_t)r->logits % 16 == 0 && (uintptr_t)r->dlogits % 16 == 0 && r->stride % N == 0;
    return aligned && whole <= r->stride && end <= MOST && end % N == 0;
}

// What lies beyond `columns` is -inf: it adds nothing to a sum, and its gradient is 0.
template <typename T>
__global__ void __launch_bounds__(short_row<T>::threads) short_rows_of_logits(cross_entropy_rows r)
{
    typedef short_row<T> P;
    wait_for_inputs();
    int64_t row = blockIdx.x;
    const T *x = (const T *)r.logits + row * r.stride;
    T *dx = (T *)r.dlogits + row * r.stride;
    int columns = (int)r.columns, end = (int)(r.padded > r.columns ? r.padded : r.columns);
    row_part<T, P::threads, P::packs, P::width> part(columns);
    part.load(x);
    int32_t target = r.targets[row];
    bool counts = target >= 0 && target < columns;
    bool mine = (int)threadIdx.x == (counts ? target / P::width % P::threads : 0); // the target, or that there is none
    float lse = 0, at_target = mine && counts ? to_float(x[target]) : 0;
#pragma unroll
    for (int p = 0; p < P::packs; p++)
#pragma unroll
        for (int i = 0; i < P::width; i++)
            if (part.column(p) + P::width > columns && part.column(p) + i >= columns)
                part.at[p].at[i] = to<T>(-INFINITY);
    if (r.losses) {
        float max = -INFINITY, sum = 0;
        part.each([&](float v, int, int) { max = fmaxf(max, v); });
        float from = max == -INFINITY ? 0 : max;
        part.each([&](float v, int, int) { sum += __expf(v - from); });
        join_powers<T, P>(max, sum);
        float log_sum = logf(sum);
        lse = counts ? max + log_sum : 0;
        if (mine) {
            r.losses[row] = counts ? max - at_target + log_sum : 0;
            if (r.lses) r.lses[row] = lse;
        }
    } else {
        lse = r.lses[row];
    }
    if (!r.dlogits) return;
    float d = r.dlosses ? r.dlosses[row] : 1;
    part.columns = end; // what lies beyond the row becomes 0
    if (counts)
        part.store(dx, [&](float v, int, int) { return __expf(v - lse) * d; });
    else
        part.store(dx, [&](float, int, int) { return 0.0f; });
    if (mine && counts) dx[target] = to<T>((__expf(at_target - lse) - 1) * d);
}

// Shared memory for a row that is looked at twice; 0 where two do not fit, or rows begin anywhere.
template <typename T> static int kept_bytes(const cross_entropy_rows *r, const device_caps *caps)
{
    const int64_t most =
        caps->major == 9 || (caps->major == 8 && caps->minor == 0) ? 112 << 10 : 48 << 10; // KB of a block
    bool aligned = (uintptr_t)r->logits % 16 == 0 && (uintptr_t)r->dlogits % 16 == 0 && r->stride % WIDE<T> == 0;
    int64_t bytes = r->columns / WIDE<T> * 16;
    return aligned && r->losses && r->dlogits && bytes <= most ? (int)bytes : 0;
}

static void launch_rows(void (*kernel)(cross_entropy_rows), int threads, size_t bytes, const cross_entropy_rows *r,
                        const queue *q)
{
    if (r->follows)
        launch_waiting(kernel, (unsigned)r->rows, threads, bytes, q, *r);
    else
        kernel<<<(unsigned)r->rows, threads, bytes, q->stream>>>(*r);
}

extern "C" void cross_entropy_cuda_rows(const cross_entropy_rows *r, const queue *q)
{
    by_dtype(r->dtype, [&](auto t) {
        using T = decltype(t);
        if (is_short<T>(r))
            launch_rows(short_rows_of_logits<T>, short_row<T>::threads, 0, r, q);
        else if (int bytes = kept_bytes<T>(r, q->caps)) {
            auto kernel = rows_of_logits<true, T>;
            if (bytes > 48 << 10) cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
            launch_rows(kernel, THREADS, (size_t)bytes, r, q);
        } else
            launch_rows(rows_of_logits<false, T>, THREADS, 0, r, q);
    });
}

static cross_entropy_rows rows_of(const step *s)
{
    const tensor *x = &s->in[0];
    return {.dtype = x->dtype,
            .rows = x->shape.dim[0],
            .columns = x->shape.dim[1],
            .stride = x->shape.dim[1],
            .logits = x->data,
            .targets = (const int32_t *)s->in[1].data};
}

static status launch(const step *s, queue *q)
{
    cross_entropy_rows r = rows_of(s);
    r.losses = (float *)s->out[CROSS_ENTROPY_LOSSES].data;
    r.lses = (float *)s->out[CROSS_ENTROPY_LSE].data;
    cross_entropy_cuda_rows(&r, q);
    return INGOT_OK;
}

static status launch_grad(const step *s, queue *q)
{
    cross_entropy_rows r = rows_of(s);
    r.lses = (float *)s->in[2].data;
    r.dlosses = (const float *)s->in[3].data;
    r.dlogits = s->out[0].data;
    cross_entropy_cuda_rows(&r, q);
    return INGOT_OK;
}

static bool fits(const node *n)
{
    shape s = n->in[0]->shape;
    return cuda_match_like(n, 0) && s.dim[0] <= INT32_MAX && s.dim[1] < INT32_MAX / 2;
}

static bool match(const node *n, const device_caps *)
{
    return fits(n) && n->out[CROSS_ENTROPY_LOSSES]->dtype == INGOT_F32;
}

static bool match_grad(const node *n, const device_caps *)
{
    return fits(n) && n->in[2]->dtype == INGOT_F32 && n->in[3]->dtype == INGOT_F32 &&
           n->out[0]->dtype == n->in[0]->dtype;
}

extern "C" const kernel_def cross_entropy_cuda[] = {
    {.op = &op_cross_entropy_def,
     .name = "cross_entropy.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match,
     .launch = launch,
     .error = ERROR_SUM},
    {.op = &op_cross_entropy_grad_def,
     .name = "cross_entropy_grad.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match_grad,
     .launch = launch_grad,
     .error = ERROR_SUM},
    {},
};
