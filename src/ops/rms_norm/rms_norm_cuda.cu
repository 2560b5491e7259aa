// RMS norm on CUDA: a row is read once, kept in registers, written once.
#include "kit/cuda/norm.cuh"
#include "kit/cuda/stage.h"
#include "ops/rms_norm/rms_norm.h"

template <typename T, typename P>
__global__ __launch_bounds__(P::block) void rms_norm_rows(T *y, float *rstds, const T *x, weights w, int64_t rows,
                                                          int columns, float eps)
{
    wait_for_inputs();
    int64_t row = row_of_thread<P::threads>();
    if (row >= rows) return;
    row_part<T, P::threads, P::packs, P::width> part(columns);
    part.load(x + row * columns);
    float squares = 0;
    part.each([&](float v, int, int) { squares += v * v; });
    float rstd = rsqrtf(group_sum<P::threads>(squares) / (float)columns + eps);
    if (rstds && threadIdx.x % P::threads == 0) rstds[row] = rstd;
    float scale[P::width];
    part.store(y + row * columns, [&](float v, int p, int i) {
        if (i == 0) load_weights<T>(scale, w, part.column(p));
        return v * rstd * scale[i];
    });
}

// dx may lie over dy: a thread reads its elements before it writes them.
template <typename T, typename P>
__global__ __launch_bounds__(P::block) void rms_norm_grad_rows(T *dx, float *partial, const T *dy, const T *x,
                                                               weights w, const float *rstds, int64_t rows, int columns)
{
    wait_for_inputs();
    float dw[P::packs][P::width] = {};
    int64_t groups = gridDim.x * (int64_t)(blockDim.x / P::threads);
    for (int64_t row = row_of_thread<P::threads>(); row < rows; row += groups) {
        row_part<T, P::threads, P::packs, P::width> d(columns), v(columns);
        d.load(dy + row * columns);
        v.load(x + row * columns);
        float rstd = rstds[row], along = 0, scale[P::width];
        d.each([&](float g, int p, int i) {
            if (i == 0) load_weights<T>(scale, w, d.column(p));
            float unit = to_float(v.at[p].at[i]) * rstd;
            along += g * scale[i] * unit;
            dw[p][i] += g * unit;
        });
        along = group_sum<P::threads>(along) / (float)columns;
        d.store(dx + row * columns, [&](float g, int p, int i) {
            if (i == 0) load_weights<T>(scale, w, d.column(p));
            return rstd * (g * scale[i] - to_float(v.at[p].at[i]) * rstd * along);
        });
    }
    if (partial) write_partial<P>(partial, dw, columns);
}

static status launch(const step *s, queue *q)
{
    const tensor *x = &s->in[0];
    int64_t columns = x->shape.dim[x->shape.rank - 1], rows = shape_count(x->shape) / columns;
    float eps = (float)ATTRS_OF(rms_norm_attrs, s->node)->eps;
    by_dtype(x->dtype, [&](auto t) {
        using T = decltype(t);
        by_columns<T>(columns, [&](auto plan) {
            using P = decltype(plan);
            rows_launch l = rows_launch_of(rows, P::threads);
            rms_norm_rows<T, P><<<l.blocks, l.threads, 0, q->stream>>>(
                (T *)s->out[RMS_NORM_Y].data, (float *)s->out[RMS_NORM_RSTD].data, (const T *)x->data,
                weights_of(&s->in[1]), rows, (int)columns, eps);
        });
    });
    return INGOT_OK;
}

static status launch_grad(const step *s, queue *q)
{
    const tensor *x = &s->in[1], *dw = &s->out[RMS_NORM_GRAD_DW];
    int64_t columns = x->shape.dim[x->shape.rank - 1], rows = shape_count(x->shape) / columns, blocks = 0;
    float *partial = dw->data ? (float *)s->scratch : nullptr;
    by_dtype(x->dtype, [&](auto t) {
        using T = decltype(t);
        by_columns<T>(columns, [&](auto plan) {
            using P = decltype(plan);
            blocks = partial_blocks(rows, P::threads, q->caps);
            rms_norm_grad_rows<T, P><<<(unsigned)blocks, P::block, 0, q->stream>>>(
                (T *)s->out[RMS_NORM_GRAD_DX].data, partial, (const T *)s->in[0].data, (const T *)x->data,
                weights_of(&s->in[2]), (const float *)s->in[3].data, rows, (int)columns);
        });
    });
    if (partial) launch_add_partials(dw->dtype, dw->data, nullptr, partial, blocks, columns, q);
    return INGOT_OK;
}

static bool fits(const node *n, int x)
{
    const value *v = n->in[x];
    return cuda_match_like(n, x) && rows_fit(v->shape.dim[v->shape.rank - 1], v->dtype);
}

static bool match(const node *n, const device_caps *)
{
    return fits(n, 0) && n->out[RMS_NORM_Y]->dtype == n->in[0]->dtype;
}

static bool match_grad(const node *n, const device_caps *)
{
    return fits(n, 1) && n->in[0]->dtype == n->in[1]->dtype && n->in[3]->dtype == INGOT_F32;
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    return n->out[RMS_NORM_GRAD_DW] ? most_partials(caps) * shape_count(n->in[2]->shape) * (int64_t)sizeof(float) : 0;
}

static bool stage_of(const step *s, const device_caps *, stage_offer *o)
{
    int64_t columns = s->in[1].shape.dim[0];
    if (shape_count(s->in[0].shape) != columns || columns > STAGE_NORM || columns % 8 || s->out[RMS_NORM_RSTD].data) return false;
    o->stage.kind = STAGE_RMS_NORM;
    o->stage.inputs = 2, o->stage.outputs = 1;
    o->stage.count = (int32_t)columns;
    o->stage.scale = (float)ATTRS_OF(rms_norm_attrs, s->node)->eps;
    o->spread = STAGE_WHOLE;
    return true;
}

extern "C" const kernel_def rms_norm_cuda[] = {
    {.op = &op_rms_norm_def,
     .name = "rms_norm.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match,
     .launch = launch,
     .error = ERROR_SUM,
     .stage = stage_of},
    {.op = &op_rms_norm_grad_def,
     .name = "rms_norm_grad.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match_grad,
     .scratch = scratch,
     .launch = launch_grad,
     .error = ERROR_SUM},
    {},
};
