// Softmax and its logarithm on CUDA: a row is read once, kept in registers, written once.
#include "kit/cuda/rows.cuh"
#include "ops/table.h"

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
