/* Layer normalisation, the norm of GPT-2. The forward pass keeps one number a row. */
#include "ops/layer_norm/layer_norm.h"
#include "ops/layer_norm/norm.h"
#include "ops/reduce/reduce.h"

static shape kept(shape s)
{
    s.dim[s.rank - 1] = 1;
    return s;
}

static status infer(build *b, const node *n, inferred *out)
{
    const value *x = n->in[0];
    TRY(norm_check(b, n, x, "w", n->in[1]));
    TRY(norm_check(b, n, x, "bias", n->inputs > 2 ? n->in[2] : NULL));
    out[LAYER_NORM_RSTD] = (inferred){.dtype = dtype_statistic(x->dtype), .shape = norm_rows(x->shape)};
    return INGOT_OK;
}

static void lower(build *b, const node *n, value **out)
{
    value *x = n->in[0], *w = n->in[1], *bias = n->inputs > 2 ? n->in[2] : NULL;
    value *mean = ingot_mean(b, x, -1, 1), *centred = ingot_sub(b, x, mean); /* (..., 1), (..., C) */
    value *variance = ingot_mean(b, ingot_square(b, centred), -1, 1);
    value *rstd = ingot_rsqrt(b, ingot_add_scalar(b, variance, ATTRS_OF(layer_norm_attrs, n)->eps));
    value *y = ingot_mul(b, ingot_mul(b, centred, rstd), w);
    out[LAYER_NORM_Y] = bias ? ingot_add(b, y, bias) : y;
    if (n->out[LAYER_NORM_RSTD])
        out[LAYER_NORM_RSTD] = ingot_cast(b, ingot_reshape(b, rstd, norm_rows(x->shape)), dtype_statistic(x->dtype));
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (dout[LAYER_NORM_RSTD]) {
        build_fail(b, INGOT_ERROR_UNSUPPORTED, "[layer_norm] rstd is kept for the gradient and has none itself");
        return;
    }
    value *rstd = node_output(b, n, LAYER_NORM_RSTD);
    node *g = node_new(b, &op_layer_norm_grad_def, (value *const[]){dout[0], n->in[0], n->in[1], rstd}, 4, NULL);
    if (!g) return;
    if (need[0]) din[0] = g->out[LAYER_NORM_GRAD_DX];
    if (need[1]) din[1] = node_output(b, g, LAYER_NORM_GRAD_DW);
    if (n->inputs > 2 && need[2]) din[2] = node_output(b, g, LAYER_NORM_GRAD_DBIAS);
}

static op_cost cost(const node *n)
{
    double elements = (double)shape_count(n->in[0]->shape);
    return (op_cost){.flops = 7 * elements, .bytes = 2.0 * (double)(value_bytes(n->in[0]) + value_bytes(n->in[1]))};
}

#define EPS(e)                                                                                                         \
    &(const layer_norm_attrs)                                                                                          \
    {                                                                                                                  \
        e                                                                                                              \
    }
const op_def op_layer_norm_def = {
    .name = "layer_norm",
    .doc = "y = w (x - mean(x)) / sqrt(var(x) + eps) + bias over the last dim: x (..., C), w (C), bias (C) or none. "
           "rstd "
           "(...) is the reciprocal deviation of the rows. Ba, Kiros & Hinton 2016.",
    .inputs = {{"x", FLOAT}, {"w", FLOAT, .wide = true}, {"bias", FLOAT, .optional = true, .wide = true}},
    .outputs = {{"y", .like = INPUT(0), .may_reuse = INPUT(0)}, {"rstd", .optional = true, .no_gradient = true}},
    ATTRS(layer_norm_attrs, ATTR(layer_norm_attrs, eps, ATTR_F64, .minimum = 0, .maximum = 1)),
    .traits = OP_WIDE,
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(128, 1024), S(1024), S(1024)}, .attrs = EPS(1e-5)},
          {.in = {S(4096, 4096), S(4096), S(4096)}, .attrs = EPS(1e-5)}),
    SAMPLES({.in = {S(2, 3, 5), S(5), S(5)}, .attrs = EPS(1e-5)}, {.in = {S(1, 1), S(1), S(1)}, .attrs = EPS(1e-5)},
            {.in = {S(31, 32), S(32), NOT_GIVEN}, .attrs = EPS(1e-5)},
            {.in = {S(33, 4099), S(4099), S(4099)}, .attrs = EPS(1e-5)},
            {.in = {S(4, 3, 2, 31), S(31), S(31)}, .attrs = EPS(1e-5), .values = VALUES_WIDE},
            {.in = {S(4, 768), S(768), S(768)}, .attrs = EPS(1e-5), .values_of = {VALUES_TINY}},
            {.in = {S(4, 768), S(768), S(768)}, .attrs = EPS(1e-5), .values_of = {VALUES_ALL_EQUAL}},
            {.in = {S(4, 768), S(768), S(768)}, .attrs = EPS(1e-5), .values_of = {VALUES_ONE_DOMINANT}},
            {.in = {S(4, 16384), S(16384), S(16384)}, .attrs = EPS(1e-5), .values_of = {VALUES_LARGE_OFFSET}}),
};

ingot_value *ingot_layer_norm(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *bias, double eps)
{
    layer_norm_attrs a = {eps};
    return bias ? APPLY(b, &op_layer_norm_def, &a, x, w, bias) : APPLY(b, &op_layer_norm_def, &a, x, w);
}

/* layer_norm_grad */

static status grad_infer(build *b, const node *n, inferred *out)
{
    const value *dy = n->in[0], *x = n->in[1];
    char one[128], other[128];
    TRY(norm_check(b, n, x, "w", n->in[2]));
    TRY(norm_check_residual(b, n, x, n->inputs > 4 ? n->in[4] : NULL));
    int64_t rows = shape_count(norm_rows(x->shape));
    if (!shape_equal(dy->shape, x->shape) || shape_count(n->in[3]->shape) != rows)
        return infer_fail(b, n, "dy is %s, x is %s", shape_print(one, dy->shape), shape_print(other, x->shape));
    out[LAYER_NORM_GRAD_DW] = (inferred){.dtype = n->in[2]->dtype, .shape = n->in[2]->shape};
    out[LAYER_NORM_GRAD_DBIAS] = out[LAYER_NORM_GRAD_SUMS] = out[LAYER_NORM_GRAD_DW];
    out[LAYER_NORM_GRAD_SUMS].dtype = dtype_statistic(x->dtype);
    return INGOT_OK;
}

static value *sum_rows(build *b, value *v, const value *like)
{
    v = ingot_reshape(b, v, INGOT_SHAPE(-1, like->shape.dim[0]));
    return ingot_cast(b, ingot_sum(b, v, 0, 0), like->dtype);
}

static void grad_lower(build *b, const node *n, value **out)
{
    value *dy = n->in[0], *x = n->in[1], *w = n->in[2];
    value *rstd = ingot_cast(b, ingot_reshape(b, n->in[3], kept(x->shape)), x->dtype);
    value *unit = ingot_mul(b, ingot_sub(b, x, ingot_mean(b, x, -1, 1)), rstd), *g = ingot_mul(b, dy, w);
    value *level = ingot_mean(b, g, -1, 1), *along = ingot_mean(b, ingot_mul(b, g, unit), -1, 1);
    out[LAYER_NORM_GRAD_DX] =
        ingot_pointwise(b, "a * (b - e - c * d)", (value *const[]){rstd, g, unit, along, level}, 5);
    if (n->inputs > 4 && n->in[4]) out[LAYER_NORM_GRAD_DX] = ingot_add(b, out[LAYER_NORM_GRAD_DX], n->in[4]);
    if (n->out[LAYER_NORM_GRAD_DW]) out[LAYER_NORM_GRAD_DW] = sum_rows(b, ingot_mul(b, dy, unit), w);
    if (n->out[LAYER_NORM_GRAD_DBIAS]) out[LAYER_NORM_GRAD_DBIAS] = sum_rows(b, dy, w);
    if (n->out[LAYER_NORM_GRAD_SUMS]) {
        value *rows = ingot_reshape(b, out[LAYER_NORM_GRAD_DX], INGOT_SHAPE(-1, w->shape.dim[0]));
        out[LAYER_NORM_GRAD_SUMS] = ingot_cast(b, sum_wide(b, rows, 0, 0), dtype_statistic(x->dtype));
    }
}

static op_cost grad_cost(const node *n)
{
    double elements = (double)shape_count(n->in[1]->shape);
    return (op_cost){.flops = 12 * elements, .bytes = (n->inputs > 4 ? 4.0 : 3.0) * (double)value_bytes(n->in[1])};
}

const op_def op_layer_norm_grad_def = {
    .name = "layer_norm_grad",
    .doc = "The gradient of layer_norm: u = (x - mean(x)) rstd, g = dy w, dx = rstd (g - mean(g) - u mean(g u)) (+ "
           "residual), dw = sum over rows of dy u, dbias = sum over rows of dy, sums = sum over rows of dx: of a bias "
           "before the norm.",
    .inputs = {{"dy", FLOAT},
               {"x", FLOAT},
               {"w", FLOAT, .wide = true},
               {"rstd", FLOAT, .wide = true},
               {"residual", FLOAT, .optional = true}},
    .outputs = {{"dx", .like = INPUT(1), .may_reuse = INPUT(0)},
                {"dw", .optional = true},
                {"dbias", .optional = true},
                {"sums", .optional = true}},
    .traits = OP_WIDE | OP_INTERNAL,
    .infer = grad_infer,
    .lower = grad_lower,
    .cost = grad_cost,
    BENCH({.in = {S(128, 1024), S(128, 1024), S(1024), S(128), NOT_GIVEN}},
          {.in = {S(4096, 4096), S(4096, 4096), S(4096), S(4096), NOT_GIVEN}},
          {.in = {S(65536, 768), S(65536, 768), S(768), S(65536), S(65536, 768)}}),
    NORM_GRAD_SAMPLES,
};
