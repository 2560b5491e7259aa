/* Two-dimensional convolution of NHWC images (LeCun et al. 1989), as one product over windows; its gradients are in conv2d_grad.c. */
#include "ops/conv2d/conv2d.h"
#include "ops/reduce/reduce.h"

enum { X, W, BIAS };

static status infer(build *b, const node *n, inferred *out)
{
    const window_attrs *a = n->attrs;
    shape x = n->in[X]->shape, w = n->in[W]->shape;
    char one[128], other[128];
    int64_t oh, ow;
    if (x.rank != 4 || w.rank != 4)
        return infer_fail(b, n, "takes x (N, H, W, C) and w (O, KH, KW, C), got %s and %s", shape_print(one, x),
                          shape_print(other, w));
    if (w.dim[3] != x.dim[3])
        return infer_fail(b, n, "w %s has %lld channels, x %s has %lld", shape_print(one, w), (long long)w.dim[3],
                          shape_print(other, x), (long long)x.dim[3]);
    if (w.dim[1] != a->kernel_h || w.dim[2] != a->kernel_w)
        return infer_fail(b, n, "w is %s, the window (%lld, %lld)", shape_print(one, w), (long long)a->kernel_h,
                          (long long)a->kernel_w);
    if (n->inputs > BIAS && n->in[BIAS] && !shape_equal(n->in[BIAS]->shape, INGOT_SHAPE(w.dim[0])))
        return infer_fail(b, n, "bias is %s, w %s has %lld outputs", shape_print(one, n->in[BIAS]->shape),
                          shape_print(other, w), (long long)w.dim[0]);
    if (!window_outputs(b, n, x.dim[1], x.dim[2], &oh, &ow)) return INGOT_ERROR_SHAPE;
    out[0] = (inferred){.dtype = n->in[X]->dtype, .shape = INGOT_SHAPE(x.dim[0], oh, ow, w.dim[0])};
    return INGOT_OK;
}

value *conv2d_window_rows(build *b, value *x, const window_attrs *a)
{
    value *p = APPLY(b, &op_windows_def, a, x);
    return p ? ingot_reshape(b, p, INGOT_SHAPE(-1, a->kernel_h * a->kernel_w * x->shape.dim[3])) : NULL;
}

value *conv2d_filter_rows(build *b, value *w)
{
    return ingot_reshape(b, w, INGOT_SHAPE(w->shape.dim[0], -1));
}

static void lower(build *b, const node *n, value **out)
{
    value *y =
        ingot_matmul_with(b, conv2d_window_rows(b, n->in[X], n->attrs), conv2d_filter_rows(b, n->in[W]), NULL, 0, 1);
    if (n->inputs > BIAS && n->in[BIAS]) y = ingot_add(b, y, n->in[BIAS]);
    out[0] = y ? ingot_reshape(b, y, n->out[0]->shape) : NULL;
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    window_attrs a = *(const window_attrs *)n->attrs;
    a.height = n->in[X]->shape.dim[1];
    a.width = n->in[X]->shape.dim[2];
    if (need[X]) din[X] = APPLY(b, &op_conv2d_grad_x_def, &a, n->in[W], dout[0]);
    if (need[W]) din[W] = APPLY(b, &op_conv2d_grad_w_def, n->attrs, n->in[X], dout[0]);
    if (n->inputs <= BIAS || !need[BIAS]) return;
    value *d = ingot_reshape(b, dout[0], INGOT_SHAPE(-1, n->out[0]->shape.dim[3]));
    din[BIAS] = ingot_cast(b, sum_wide(b, d, 0, 0), n->in[BIAS]->dtype);
}

op_cost conv2d_cost(const node *n, const shape *y, const shape *w)
{
    return (op_cost){.flops = 2.0 * (double)shape_count(*y) * (double)(w->dim[1] * w->dim[2] * w->dim[3]),
                     .bytes = (double)(value_bytes(n->in[0]) + value_bytes(n->in[1]) + value_bytes(n->out[0]))};
}

static op_cost cost(const node *n)
{
    return conv2d_cost(n, &n->out[0]->shape, &n->in[W]->shape);
}

const op_def op_conv2d_def = {
    .name = "conv2d",
    .doc =
        "y[n, i, j, o] = sum of x[n, i stride + p - pad, j stride + q - pad, c] w[o, p, q, c] (+ bias[o]): x (N, H, W, "
        "C), w (O, KH, KW, C), bias (O), y (N, OH, OW, O); zeros outside. LeCun et al. 1989.",
    .inputs = {{"x", FLOAT}, {"w", FLOAT}, {"bias", FLOAT, .optional = true, .wide = true}},
    .outputs = {{"y"}},
    WINDOW_ATTRS,
    .traits = OP_NARROW,
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(32, 32, 32, 32), S(64, 3, 3, 32), S(64)}, WINDOW(3, 3, 1, 1, 1, 1)}),
    SAMPLES({.in = {S(2, 5, 7, 3), S(4, 3, 2, 3), S(4)}, WINDOW(3, 2, 1, 1, 0, 0)},
            {.in = {S(2, 6, 5, 4), S(5, 3, 3, 4), NOT_GIVEN}, WINDOW(3, 3, 2, 1, 1, 1)},
            {.in = {S(1, 1, 1, 1), S(1, 1, 1, 1), S(1)}, WINDOW(1, 1, 1, 1, 0, 0)},
            {.in = {S(3, 8, 8, 33), S(31, 3, 3, 33), S(31)}, WINDOW(3, 3, 1, 1, 1, 1), .values = VALUES_WIDE},
            {.in = {S(1, 4, 4, 2), S(32, 2, 2, 2), S(32)}, WINDOW(2, 2, 2, 2, 0, 0), .values = VALUES_LARGE_OFFSET}),
};

ingot_value *ingot_conv2d(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *bias, int stride, int padding)
{
    if (!x || !w) return NULL;
    window_attrs a = {.kernel_h = w->shape.rank == 4 ? w->shape.dim[1] : 1,
                      .kernel_w = w->shape.rank == 4 ? w->shape.dim[2] : 1,
                      .stride_h = stride,
                      .stride_w = stride,
                      .pad_h = padding,
                      .pad_w = padding};
    return APPLY(b, &op_conv2d_def, &a, x, w, bias);
}
