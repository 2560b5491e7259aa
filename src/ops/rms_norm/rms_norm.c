/* Root-mean-square normalisation, the norm of the Llama family. The forward pass keeps one number a row. */
#include "ops/rms_norm/rms_norm.h"
#include "ops/layer_norm/norm.h"

static status infer(build *b, const node *n, inferred *out)
{
    const value *x = n->in[0];
    TRY(norm_check(b, n, x, "w", n->in[1]));
    out[RMS_NORM_RSTD] = (inferred){.dtype = dtype_statistic(x->dtype), .shape = norm_rows(x->shape)};
    return INGOT_OK;
}

static void lower(build *b, const node *n, value **out)
{
    value *x = n->in[0], *w = n->in[1];
    value *mean = ingot_mean(b, ingot_square(b, x), -1, 1); /* (..., 1) */
    value *rstd = ingot_rsqrt(b, ingot_add_scalar(b, mean, ATTRS_OF(rms_norm_attrs, n)->eps));
    out[RMS_NORM_Y] = ingot_mul(b, ingot_mul(b, x, rstd), w);
    if (n->out[RMS_NORM_RSTD])
        out[RMS_NORM_RSTD] = ingot_cast(b, ingot_reshape(b, rstd, norm_rows(x->shape)), dtype_statistic(x->dtype));
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (dout[RMS_NORM_RSTD]) {
        build_fail(b, INGOT_ERROR_UNSUPPORTED, "[rms_norm] rstd is kept for the gradient and has none itself");
        return;
    }
    node *g = node_new(b, &op_rms_norm_grad_def,
                       (value *const[]){dout[0], n->in[0], n->in[1], node_output(b, n, RMS_NORM_RSTD)}, 4, NULL);
    if (!g) return;
    if (need[0]) din[0] = g->out[RMS_NORM_GRAD_DX];
    if (need[1]) din[1] = node_output(b, g, RMS_NORM_GRAD_DW);
}

static op_cost cost(const node *n)
{
    double elements = (double)shape_count(n->in[0]->shape);
    return (op_cost){.flops = 4 * elements,
                     .bytes = 2.0 * (double)value_bytes(n->in[0]) + (double)value_bytes(n->in[1])};
}

#define EPS(e)                                                                                                         \
    &(const rms_norm_attrs)                                                                                            \
    {                                                                                                                  \
        e                                                                                                              \
    }
const op_def op_rms_norm_def = {
    .name = "rms_norm",
    .doc = "y = w x / sqrt(mean(x^2) + eps) over the last dim: x (..., C), w (C). rstd (...) is what x was multiplied "
           "with. "
           "Zhang & Sennrich 2019.",
    .inputs = {{"x", FLOAT}, {"w", FLOAT, .wide = true}},
    .outputs = {{"y", .like = INPUT(0), .may_reuse = INPUT(0)}, {"rstd", .optional = true, .no_gradient = true}},
    ATTRS(rms_norm_attrs, ATTR(rms_norm_attrs, eps, ATTR_F64, .minimum = 0, .maximum = 1)),
    .traits = OP_WIDE,
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(128, 1024), S(1024)}, .attrs = EPS(1e-5)}, {.in = {S(4096, 4096), S(4096)}, .attrs = EPS(1e-5)}),
    SAMPLES({.in = {S(2, 3, 5), S(5)}, .attrs = EPS(1e-5)}, {.in = {S(1, 1), S(1)}, .attrs = EPS(1e-5)},
            {.in = {S(31, 32), S(32)}, .attrs = EPS(1e-6)}, {.in = {S(33, 4099), S(4099)}, .attrs = EPS(1e-5)},
            {.in = {S(4, 3, 2, 31), S(31)}, .attrs = EPS(1e-5), .values = VALUES_WIDE},
            {.in = {S(4, 768), S(768)}, .attrs = EPS(1e-5), .values_of = {VALUES_TINY}},
            {.in = {S(4, 768), S(768)}, .attrs = EPS(1e-5), .values_of = {VALUES_ALL_EQUAL}},
            {.in = {S(4, 768), S(768)}, .attrs = EPS(1e-5), .values_of = {VALUES_ONE_DOMINANT}},
            {.in = {S(4, 16384), S(16384)}, .attrs = EPS(1e-5), .values_of = {VALUES_LARGE_OFFSET}}),
};

ingot_value *ingot_rms_norm(ingot_build *b, ingot_value *x, ingot_value *w, double eps)
{
    return APPLY(b, &op_rms_norm_def, &((rms_norm_attrs){eps}), x, w);
}

/* rms_norm_grad */

static status grad_infer(build *b, const node *n, inferred *out)
{
    const value *dy = n->in[0], *x = n->in[1], *rstd = n->in[3];
    char one[128], other[128];
    TRY(norm_check(b, n, x, "w", n->in[2]));
    TRY(norm_check_residual(b, n, x, n->inputs > 4 ? n->in[4] : NULL));
    if (!shape_equal(dy->shape, x->shape) || shape_count(rstd->shape) != shape_count(norm_rows(x->shape)))
        return infer_fail(b, n, "dy is %s, x is %s", shape_print(one, dy->shape), shape_print(other, x->shape));
    out[RMS_NORM_GRAD_DW] = (inferred){.dtype = n->in[2]->dtype, .shape = n->in[2]->shape};
    return INGOT_OK;
}

static void grad_lower(build *b, const node *n, value **out)
{
    value *dy = n->in[0], *x = n->in[1], *w = n->in[2];
    shape kept = x->shape;
    kept.dim[kept.rank - 1] = 1;
    value *rstd = ingot_cast(b, ingot_reshape(b, n->in[3], kept), x->dtype);
    value *unit = ingot_mul(b, x, rstd), *g = ingot_mul(b, dy, w);
    value *along = ingot_mean(b, ingot_mul(b, g, unit), -1, 1);
    out[RMS_NORM_GRAD_DX] = ingot_pointwise(b, "a * (b - c * d)", (value *const[]){rstd, g, unit, along}, 4);
    if (n->inputs > 4 && n->in[4]) out[RMS_NORM_GRAD_DX] = ingot_add(b, out[RMS_NORM_GRAD_DX], n->in[4]);
    if (!n->out[RMS_NORM_GRAD_DW]) return;
    value *dw = ingot_reshape(b, ingot_mul(b, dy, unit), INGOT_SHAPE(-1, w->shape.dim[0]));
    out[RMS_NORM_GRAD_DW] = ingot_cast(b, ingot_sum(b, dw, 0, 0), w->dtype);
}

static op_cost grad_cost(const node *n)
{
    double elements = (double)shape_count(n->in[1]->shape);
    return (op_cost){.flops = 8 * elements, .bytes = (n->inputs > 4 ? 4.0 : 3.0) * (double)value_bytes(n->in[1])};
}

const op_def op_rms_norm_grad_def = {
    .name = "rms_norm_grad",
    .doc = "The gradient of rms_norm: u = x rstd, g = dy w, dx = rstd (g - u mean(g u)) (+ residual), dw = sum over "
           "rows of dy u.",
    .inputs = {{"dy", FLOAT},
               {"x", FLOAT},
               {"w", FLOAT, .wide = true},
               {"rstd", FLOAT, .wide = true},
               {"residual", FLOAT, .optional = true}},
    .outputs = {{"dx", .like = INPUT(1), .may_reuse = INPUT(0)}, {"dw", .optional = true}},
    .traits = OP_WIDE | OP_INTERNAL,
    .infer = grad_infer,
    .lower = grad_lower,
    .cost = grad_cost,
    BENCH({.in = {S(128, 1024), S(128, 1024), S(1024), S(128), NOT_GIVEN}},
          {.in = {S(4096, 4096), S(4096, 4096), S(4096), S(4096), NOT_GIVEN}}),
    NORM_GRAD_SAMPLES,
};
