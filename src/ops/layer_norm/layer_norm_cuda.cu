// Layer norm on CUDA: a row is read once, kept in registers, written once.
#include "kit/cuda/norm.cuh"
#include "ops/layer_norm/layer_norm.h"

// Mean and sum of squared deviations of a row. `rest` is what rounding left of the mean: more than the deviations, where a
// row has a large offset.
struct row_numbers {
    float mean, rest, squares; // squares: of the forward pass only
};

template <typename P, bool SQUARES, typename PART>
__device__ __forceinline__ row_numbers numbers_of(const PART &part, int columns)
{
    float sum = 0, rest = 0, squares = 0;
    part.each([&](float v, int, int) { sum += v; });
    float mean = group_sum<P::threads>(sum) / (float)columns;
    part.each([&](float v, int, int) {
        rest += v - mean;
        if (SQUARES) squares += (v - mean) * (v - mean);
    });
    rest = group_sum<P::threads>(rest) / (float)columns;
    if (SQUARES) squares = group_sum<P::threads>(squares) - rest * rest * (float)columns;
    return {mean, rest, fmaxf(squares, 0)};
}

template <typename T, typename P>
__global__ __launch_bounds__(P::block) void layer_norm_rows(T *y, float *rstds, const T *x, weights w, weights bias,
                                                            int64_t rows, int columns, float eps)
{
    wait_for_inputs();
    int64_t row = row_of_thread<P::threads>();
    if (row >= rows) return;
    row_part<T, P::threads, P::packs, P::width> part(columns);
    part.load(x + row * columns);
    row_numbers r = numbers_of<P, true>(part, columns);
    float rstd = rsqrtf(r.squares / (float)columns + eps);
    if (rstds && threadIdx.x % P::threads == 0) rstds[row] = rstd;
    float scale[P::width], shift[P::width] = {};
    part.store(y + row * columns, [&](float v, int p, int i) {
        if (i == 0) load_weights<T>(scale, w, part.column(p));
        if (i == 0 && bias.at) load_weights<T>(shift, bias, part.column(p));
        return (v - r.mean - r.rest) * rstd * scale[i] + shift[i];
    });
}

// dx may lie over dy: a thread reads its elements before it writes them.
template <typename T, typename P>
__global__ __launch_bounds__(P::block) void layer_norm_grad_rows(T *dx, float *partial, const T *dy, const T *x,
                                                                 weights w, const float *rstds, int64_t rows,
                                                                 int columns)
{
    wait_for_inputs();
    float dw[P::packs][P::width] = {}, dbias[P::packs][P::width] = {};
    int64_t groups = gridDim.x * (int64_t)(blockDim.x / P::threads);
    for (int64_t row = row_of_thread<P::threads>(); row < rows; row += groups) {
        row_part<T, P::threads, P::packs, P::width> d(columns), v(columns);
        d.load(dy + row * columns);
        v.load(x + row * columns);
        row_numbers r = numbers_of<P, false>(v, columns);
        float rstd = rstds[row], level = 0, along = 0, scale[P::width];
        d.each([&](float g, int p, int i) {
            if (i == 0) load_weights<T>(scale, w, d.column(p));
            float unit = (to_float(v.at[p].at[i]) - r.mean - r.rest) * rstd;
            level += g * scale[i];
            along += g * scale[i] * unit;
            dw[p][i] += g * unit;
            dbias[p][i] += g;
        });
        level = group_sum<P::threads>(level) / (float)columns;
        along = group_sum<P::threads>(along) / (float)columns;
        d.store(dx + row * columns, [&](float g, int p, int i) {
            if (i == 0) load_weights<T>(scale, w, d.column(p));
            float unit = (to_float(v.at[p].at[i]) - r.mean - r.rest) * rstd;
            return rstd * (g * scale[i] - level - unit * along);
        });
    }
    if (!partial) return;
    write_partial<P>(partial, dw, columns);
    write_partial<P>(partial + (int64_t)gridDim.x * columns, dbias, columns);
}

static status launch(const step *s, queue *q)
{
    const tensor *x = &s->in[0];
    int64_t columns = x->shape.dim[x->shape.rank - 1], rows = shape_count(x->shape) / columns;
    float eps = (float)ATTRS_OF(layer_norm_attrs, s->node)->eps;
    weights bias = s->inputs > 2 ? weights_of(&s->in[2]) : weights{};
    by_dtype(x->dtype, [&](auto t) {
        using T = decltype(t);
        by_columns<T>(columns, [&](auto plan) {
            using P = decltype(plan);
            rows_launch l = rows_launch_of(rows, P::threads);
            layer_norm_rows<T, P><<<l.blocks, l.threads, 0, q->stream>>>(
                (T *)s->out[LAYER_NORM_Y].data, (float *)s->out[LAYER_NORM_RSTD].data, (const T *)x->data,
                weights_of(&s->in[1]), bias, rows, (int)columns, eps);
        });
    });
    return INGOT_OK;
}

static status launch_grad(const step *s, queue *q)
{
    const tensor *x = &s->in[1], *dw = &s->out[LAYER_NORM_GRAD_DW], *dbias = &s->out[LAYER_NORM_GRAD_DBIAS];
    int64_t columns = x->shape.dim[x->shape.rank - 1], rows = shape_count(x->shape) / columns, blocks = 0;
    float *partial = dw->data || dbias->data ? (float *)s->scratch : nullptr;
    by_dtype(x->dtype, [&](auto t) {
        using T = decltype(t);
        by_columns<T>(columns, [&](auto plan) {
            using P = decltype(plan);
            blocks = partial_blocks(rows, P::threads, q->caps);
            layer_norm_grad_rows<T, P><<<(unsigned)blocks, P::block, 0, q->stream>>>(
                (T *)s->out[LAYER_NORM_GRAD_DX].data, partial, (const T *)s->in[0].data, (const T *)x->data,
                weights_of(&s->in[2]), (const float *)s->in[3].data, rows, (int)columns);
        });
    });
    if (partial) launch_add_partials(s->in[2].dtype, dw->data, dbias->data, partial, blocks, columns, q);
    return INGOT_OK;
}

static bool fits(const node *n, int x)
{
    const value *v = n->in[x];
    return cuda_match_like(n, x) && rows_fit(v->shape.dim[v->shape.rank - 1], v->dtype);
}

static bool match(const node *n, const device_caps *)
{
    return fits(n, 0) && n->out[LAYER_NORM_Y]->dtype == n->in[0]->dtype;
}

static bool match_grad(const node *n, const device_caps *)
{
    return fits(n, 1) && n->in[0]->dtype == n->in[1]->dtype && n->in[3]->dtype == INGOT_F32;
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    bool sums = n->out[LAYER_NORM_GRAD_DW] || n->out[LAYER_NORM_GRAD_DBIAS];
    return sums ? 2 * most_partials(caps) * shape_count(n->in[2]->shape) * (int64_t)sizeof(float) : 0;
}

extern "C" const kernel_def layer_norm_cuda[] = {
    {.op = &op_layer_norm_def,
     .name = "layer_norm.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match,
     .launch = launch,
     .error = ERROR_SUM},
    {.op = &op_layer_norm_grad_def,
     .name = "layer_norm_grad.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match_grad,
     .scratch = scratch,
     .launch = launch_grad,
     .error = ERROR_SUM},
    {},
};
