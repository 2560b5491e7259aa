// Softmax and its logarithm on CUDA: a row is read once, kept in registers, written once.
#include "kit/cuda/rows.cuh"
#include "ops/table.h"

// e^x, of 16-bit numbers by the instruction for powers of two: what it loses is below their last digit.
template <typename T> __device__ __forceinline__ float power(float x)
{
    return sizeof(T) == 2 ? __expf(x) : expf(x);
}

// The largest of a row, and the sum of e^(x - largest), from what its threads have: one wait for both. NaN is handed on by
// the sum. Where all is -inf so is the largest, and the sum no number.
template <typename T, typename P> __device__ __forceinline__ void join_powers(float &max, float &sum)
{
    float of_warp = max;
#pragma unroll
    for (int offset = 16; offset; offset /= 2) of_warp = fmaxf(of_warp, __shfl_xor_sync(0xffffffffu, of_warp, offset));
    sum = warp_join<add_floats>(of_warp == -INFINITY ? sum : sum * power<T>(max - of_warp));
    max = of_warp;
    if constexpr (P::threads > 32) {
        constexpr int WARPS = P::threads / 32;
        __shared__ float2 part[P::block / P::threads][WARPS];
        const float2 *mine = part[threadIdx.x / P::threads];
        if (threadIdx.x % 32 == 0) part[threadIdx.x / P::threads][threadIdx.x / 32 % WARPS] = make_float2(max, sum);
        wait_for_row<P>();
#pragma unroll
        for (int w = 0; w < WARPS; w++) max = fmaxf(max, mine[w].x);
        sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += mine[w].y * power<T>(mine[w].x - max);
    }
}

// A thread takes powers above its own largest element, so that each is taken once.
template <bool LOG, typename P, typename T>
__global__ __launch_bounds__(P::block) void softmax_rows(T *y, const T *x, int64_t rows, int columns)
{
    wait_for_inputs();
    int64_t row = row_of_thread<P>();
    if (row >= rows) return;
    row_part<T, P::threads, P::packs, P::width> part(columns);
    part.load(x + row * columns);
    float own = -INFINITY, sum = 0, e[P::packs][P::width];
    part.each([&](float v, int, int) { own = fmaxf(own, v); });
    float from = own == -INFINITY ? 0 : own;
    part.each([&](float v, int p, int i) {
        e[p][i] = power<T>(v - from);
        sum += e[p][i];
    });
    float max = own;
    join_powers<T, P>(max, sum);
    float scale = LOG ? logf(sum) : power<T>(own - max) / sum;
    part.store(y + row * columns, [&](float v, int p, int i) { return LOG ? v - max - scale : e[p][i] * scale; });
}

// dx may lie over dy: a thread reads its elements before it writes them.
template <bool LOG, typename P, typename T>
__global__ __launch_bounds__(P::block) void softmax_grad_rows(T *dx, const T *dy, const T *y, int64_t rows, int columns)
{
    wait_for_inputs();
    int64_t row = row_of_thread<P>();
    if (row >= rows) return;
    row_part<T, P::threads, P::packs, P::width> d(columns), v(columns);
    d.load(dy + row * columns);
    v.load(y + row * columns);
    float along = 0;
    d.each([&](float dv, int p, int i) { along += LOG ? dv : dv * to_float(v.at[p].at[i]); });
    along = sum_row<P>(along);
    d.store(dx + row * columns, [&](float dv, int p, int i) {
        float yv = to_float(v.at[p].at[i]);
        return LOG ? dv - expf(yv) * along : yv * (dv - along);
    });
}

static int64_t columns_of(const shape &s)
{
    return s.dim[s.rank - 1];
}

template <bool LOG> static status launch(const step *s, queue *q)
{
    const tensor *x = &s->in[0];
    int64_t columns = columns_of(x->shape), rows = shape_count(x->shape) / columns;
    by_dtype(x->dtype, [&](auto t) {
        using T = decltype(t);
        by_columns<T>(columns, [&](auto plan) {
            using P = decltype(plan);
            rows_launch l = rows_launch_of<P>(rows);
            softmax_rows<LOG, P>
                <<<l.blocks, l.threads, 0, q->stream>>>((T *)s->out[0].data, (const T *)x->data, rows, (int)columns);
        });
    });
    return INGOT_OK;
}

template <bool LOG> static status launch_grad(const step *s, queue *q)
{
    const tensor *y = &s->in[1];
    int64_t columns = columns_of(y->shape), rows = shape_count(y->shape) / columns;
    by_dtype(y->dtype, [&](auto t) {
        using T = decltype(t);
        by_columns<T>(columns, [&](auto plan) {
            using P = decltype(plan);
            rows_launch l = rows_launch_of<P>(rows);
            softmax_grad_rows<LOG, P><<<l.blocks, l.threads, 0, q->stream>>>(
                (T *)s->out[0].data, (const T *)s->in[0].data, (const T *)y->data, rows, (int)columns);
        });
    });
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *)
{
    ingot_dtype d = n->in[0]->dtype;
    for (int i = 1; i < n->inputs; i++)
        if (n->in[i]->dtype != d) return false;
    return cuda_float(d) && n->out[0]->dtype == d && rows_fit(columns_of(n->in[0]->shape), d);
}

#define SOFTMAX .level = LEVEL_BEST, .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT, .match = match
extern "C" const kernel_def softmax_cuda[] = {
    {.op = &op_softmax_def, .name = "softmax.cuda", SOFTMAX, .launch = launch<false>, .error = ERROR_SUM},
    {.op = &op_softmax_grad_def,
     .name = "softmax_grad.cuda",
     SOFTMAX,
     .launch = launch_grad<false>,
     .error = ERROR_SUM},
    {.op = &op_log_softmax_def, .name = "log_softmax.cuda", SOFTMAX, .launch = launch<true>, .error = ERROR_SUM},
    {.op = &op_log_softmax_grad_def,
     .name = "log_softmax_grad.cuda",
     SOFTMAX,
     .launch = launch_grad<true>,
     .error = ERROR_SUM},
    {},
};
