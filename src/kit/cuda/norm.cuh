// Norms over rows: layer norm takes the mean away first (CENTRED), RMS norm does not. A row is read once, kept in registers,
// written once. Their gradients: norm_grad.cuh.
#ifndef KIT_CUDA_NORM_CUH
#define KIT_CUDA_NORM_CUH

#include "kit/cuda/rows.cuh"

template <typename T> struct norm_rows {
    T *y;
    float *rstds; // or NULL
    const T *x;
    weights w, bias; // bias.at may be NULL
    int64_t rows;
    int columns;
    float eps;
};

// What rounding left of the mean is taken away as well: more than the deviations, where a row has a large offset.
template <typename P, bool CENTRED, typename PART>
__device__ __forceinline__ float mean_and_rstd(const PART &part, int columns, float eps, float *mean)
{
    float n = (float)columns, sum = 0, sums[2] = {0, 0}; // of deviations, of their squares
    if constexpr (!CENTRED) {
        part.each([&](float v, int, int) { sum += v * v; });
        return rsqrtf(sum_row<P>(sum) / n + eps);
    }
    part.each([&](float v, int, int) { sum += v; });
    float from = sum_row<P>(sum) / n;
    part.each([&](float v, int, int) {
        sums[0] += v - from;
        sums[1] += (v - from) * (v - from);
    });
    join_row<P, add_floats, 1>(sums);
    float rest = sums[0] / n;
    *mean = from + rest;
    return rsqrtf(fmaxf(sums[1] / n - rest * rest, 0) + eps);
}

template <bool CENTRED, typename P, typename T> __global__ __launch_bounds__(P::block) void norm(norm_rows<T> k)
{
    wait_for_inputs();
    int64_t row = row_of_thread<P>();
    if (row >= k.rows) return;
    row_part<T, P::threads, P::packs, P::width> part(k.columns);
    part.load(k.x + row * k.columns);
    constexpr bool EARLY =
        P::packs * P::width <= (CENTRED ? 16 : 32) && P::threads < 512; // there are registers for them
    float scale[P::packs][P::width], shift[P::packs][P::width], mean = 0;
    if (EARLY) part.load_weights_to(scale, k.w, 1); // asked for before the sums are there
    if (EARLY && CENTRED) part.load_weights_to(shift, k.bias, 0);
    float rstd = mean_and_rstd<P, CENTRED>(part, k.columns, k.eps, &mean);
    if (k.rstds && threadIdx.x % P::threads == 0) k.rstds[row] = rstd;
    part.store(k.y + row * k.columns, [&](float v, int p, int i) {
        if (!EARLY && i == 0) load_weights<T>(scale[p], k.w, part.column(p));
        if (!EARLY && CENTRED && i == 0 && k.bias.at) load_weights<T>(shift[p], k.bias, part.column(p));
        if (!CENTRED) return v * rstd * scale[p][i];
        return (v - mean) * rstd * scale[p][i] + (k.bias.at ? shift[p][i] : 0);
    });
}

// The inputs, outputs and attributes of both norms lie in the same places.
enum { NORM_Y, NORM_RSTD };

template <bool CENTRED> static status launch_norm(const step *s, queue *q, double eps)
{
    const tensor *x = &s->in[0];
    int64_t columns = x->shape.dim[x->shape.rank - 1], rows = shape_count(x->shape) / columns;
    by_dtype(x->dtype, [&](auto t) {
        using T = decltype(t);
        norm_rows<T> k = {(T *)s->out[NORM_Y].data,
                          (float *)s->out[NORM_RSTD].data,
                          (const T *)x->data,
                          weights_of(&s->in[1]),
                          s->inputs > 2 ? weights_of(&s->in[2]) : weights{},
                          rows,
                          (int)columns,
                          (float)eps};
        by_columns<T>(columns, [&](auto plan) {
            using P = decltype(plan);
            rows_launch l = rows_launch_of<P>(rows);
            norm<CENTRED, P><<<l.blocks, l.threads, 0, q->stream>>>(k);
        });
    });
    return INGOT_OK;
}

static inline bool norm_fits(const node *n, int x)
{
    const value *v = n->in[x];
    return cuda_match_like(n, x) && rows_fit(v->shape.dim[v->shape.rank - 1], v->dtype);
}

static inline bool match_norm(const node *n, const device_caps *)
{
    return norm_fits(n, 0) && n->out[NORM_Y]->dtype == n->in[0]->dtype;
}

#endif
