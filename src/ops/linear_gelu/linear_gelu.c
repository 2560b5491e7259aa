/* A linear layer that ends with gelu, and the two steps back through what follows it: made by the match pass where a device
 * has a kernel for them (a product whose last step is gelu, or gelu's gradient), else never seen.
 */
#include "ops/linear_gelu/linear_gelu.h"
#include "ops/gelu/gelu.h"
#include "ops/reduce/reduce.h"

static status infer(build *b, const node *n, inferred *out)
{
    TRY(op_linear_def.infer(b, n, out));
    out[LINEAR_GELU_H] = out[LINEAR_GELU_Y];
    return INGOT_OK;
}

static void lower(build *b, const node *n, value **out)
{
    value *bias = n->inputs > 2 ? n->in[2] : NULL;
    out[LINEAR_GELU_H] = ingot_linear_with(b, n->in[0], n->in[1], bias, (int)ATTRS_OF(linear_attrs, n)->in_out);
    out[LINEAR_GELU_Y] = ingot_gelu(b, out[LINEAR_GELU_H]);
}

const op_def op_linear_gelu_def = {
    .name = "linear_gelu",
    .doc =
        "y = gelu(h), h = x w^T (+ bias) as linear has it: x (..., K), w (N, K) or with in_out (K, N), bias (N), y and "
        "h (..., N).",
    .inputs = {{"x", FLOAT}, {"w", FLOAT}, {"bias", FLOAT, .optional = true, .wide = true}},
    .outputs = {{"y"}, {"h", .optional = true}},
    ATTRS(linear_attrs, ATTR(linear_attrs, in_out, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_INTERNAL,
    .infer = infer,
    .lower = lower,
    .cost = linear_cost,
    BENCH({.in = {S(2048, 768), S(3072, 768), S(3072)}, .attrs = OUT_IN}),
    SAMPLES({.in = {S(2, 3, 5), S(7, 5), S(7)}, .attrs = OUT_IN}, {.in = {S(2, 3, 5), S(5, 7), S(7)}, .attrs = IN_OUT},
            {.in = {S(31, 33), S(32, 33), NOT_GIVEN}, .attrs = OUT_IN},
            {.in = {S(5, 7, 64), S(40, 64), S(40)}, .attrs = OUT_IN},
            {.in = {S(33, 72), S(72, 136), S(136)}, .attrs = IN_OUT},
            {.in = {S(130, 256), S(256, 384), S(384)}, .attrs = IN_OUT},
            {.in = {S(2, 550, 456), S(456, 200), S(200)}, .attrs = IN_OUT},
            {.in = {S(40, 64), S(48, 64), S(48)}, .attrs = OUT_IN, .values = VALUES_TINY}),
};

/* linear_gelu_grad */

static status grad_infer(build *b, const node *n, inferred *out)
{
    shape dy = n->in[0]->shape, w = n->in[1]->shape, h = n->in[2]->shape;
    bool in_out = ATTRS_OF(linear_attrs, n)->in_out;
    char one[128], other[128];
    if (dy.rank != 2 || w.rank != 2 || w.dim[in_out ? 1 : 0] != dy.dim[1] || h.rank != 2 || h.dim[0] != dy.dim[0] ||
        h.dim[1] != w.dim[in_out ? 0 : 1])
        return infer_fail(b, n, "dy is %s, w %s: h must be (rows, inputs of w)", shape_print(one, dy),
                          shape_print(other, w));
    if (n->in[0]->dtype != n->in[1]->dtype || n->in[2]->dtype != n->in[0]->dtype)
        return infer_fail(b, n, "dy is %s, w %s; cast one", ingot_dtype_name(n->in[0]->dtype),
                          ingot_dtype_name(n->in[1]->dtype));
    out[LINEAR_GELU_GRAD_DH] = (inferred){.dtype = n->in[0]->dtype, .shape = h};
    out[LINEAR_GELU_GRAD_SUMS] = (inferred){.dtype = dtype_statistic(n->in[0]->dtype), .shape = INGOT_SHAPE(h.dim[1])};
    return INGOT_OK;
}

static void grad_lower(build *b, const node *n, value **out)
{
    int in_out = (int)ATTRS_OF(linear_attrs, n)->in_out;
    value *dy = ingot_matmul_with(b, n->in[0], n->in[1], NULL, 0, in_out);
    out[LINEAR_GELU_GRAD_DH] = gelu_grad(b, n->in[2], dy);
    if (n->out[LINEAR_GELU_GRAD_SUMS]) out[LINEAR_GELU_GRAD_SUMS] = sum_wide(b, out[LINEAR_GELU_GRAD_DH], 0, 0);
}

const op_def op_linear_gelu_grad_def = {
    .name = "linear_gelu_grad",
    .doc =
        "Back through a linear layer and the gelu before it: dh = gelu'(h) (dy w), dy (M, N), w (N, K) or with in_out "
        "(K, N), h and dh (M, K). sums (K): of the rows of dh.",
    .inputs = {{"dy", FLOAT}, {"w", FLOAT}, {"h", FLOAT}},
    .outputs = {{"dh"}, {"sums", .optional = true}}, /* not over h: it is read after the product */
    ATTRS(linear_attrs, ATTR(linear_attrs, in_out, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_INTERNAL | OP_NOT_DIFFERENTIABLE,
    .infer = grad_infer,
    .lower = grad_lower,
    .cost = linear_cost,
    BENCH({.in = {S(2048, 768), S(768, 3072), S(2048, 3072)}, .attrs = OUT_IN}),
    SAMPLES({.in = {S(3, 5), S(5, 7), S(3, 7)}, .attrs = OUT_IN}, {.in = {S(3, 5), S(7, 5), S(3, 7)}, .attrs = IN_OUT},
            {.in = {S(33, 72), S(72, 136), S(33, 136)}, .attrs = OUT_IN},
            {.in = {S(130, 64), S(40, 64), S(130, 40)}, .attrs = IN_OUT},
            {.in = {S(300, 256), S(384, 256), S(300, 384)}, .attrs = IN_OUT},
            {.in = {S(1300, 456), S(200, 456), S(1300, 200)}, .attrs = IN_OUT},
            {.in = {S(40, 64), S(64, 48), S(40, 48)}, .attrs = OUT_IN, .values = VALUES_TINY}),
};
