/* The gradients of conv2d, as products over windows. */
#include "ops/conv2d/conv2d.h"

static status no_window(build *b, const node *n, const shape *dy, int64_t oh, int64_t ow)
{
    char dims[128];
    return infer_fail(b, n, "dy is %s, the windows give images of (%lld, %lld)", shape_print(dims, *dy), (long long)oh,
                      (long long)ow);
}

/* ---- dw ---- */

static status w_infer(build *b, const node *n, inferred *out)
{
    const window_attrs *a = n->attrs;
    shape x = n->in[0]->shape, dy = n->in[1]->shape;
    int64_t oh, ow;
    if (x.rank != 4 || dy.rank != 4 || x.dim[0] != dy.dim[0])
        return infer_fail(b, n, "takes x (N, H, W, C) and dy (N, OH, OW, O)");
    if (!window_outputs(b, n, x.dim[1], x.dim[2], &oh, &ow)) return INGOT_ERROR_SHAPE;
    if (dy.dim[1] != oh || dy.dim[2] != ow) return no_window(b, n, &dy, oh, ow);
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = INGOT_SHAPE(dy.dim[3], a->kernel_h, a->kernel_w, x.dim[3])};
    return INGOT_OK;
}

static void w_lower(build *b, const node *n, value **out)
{
    value *d = ingot_reshape(b, n->in[1], INGOT_SHAPE(-1, n->in[1]->shape.dim[3]));
    value *dw = ingot_matmul_with(b, d, conv2d_window_rows(b, n->in[0], n->attrs), NULL, 1, 0);
    out[0] = dw ? ingot_reshape(b, dw, n->out[0]->shape) : NULL;
}

static op_cost w_cost(const node *n)
{
    return conv2d_cost(n, &n->in[1]->shape, &n->out[0]->shape);
}

const op_def op_conv2d_grad_w_def = {
    .name = "conv2d_grad_w",
    .doc =
        "dw of conv2d: dw[o, p, q, c] = sum of dy[n, i, j, o] x[n, i stride + p - pad, j stride + q - pad, c]; x (N, "
        "H, W, C), dy (N, OH, OW, O).",
    .inputs = {{"x", FLOAT}, {"dy", FLOAT}},
    .outputs = {{"dw"}},
    WINDOW_ATTRS,
    .traits = OP_INTERNAL | OP_NOT_DIFFERENTIABLE | OP_NARROW,
    .infer = w_infer,
    .lower = w_lower,
    .cost = w_cost,
    BENCH({.in = {S(32, 32, 32, 32), S(32, 32, 32, 64)}, WINDOW(3, 3, 1, 1, 1, 1)}),
    SAMPLES({.in = {S(2, 5, 7, 3), S(2, 3, 6, 4)}, WINDOW(3, 2, 1, 1, 0, 0)},
            {.in = {S(2, 6, 5, 4), S(2, 3, 5, 5)}, WINDOW(3, 3, 2, 1, 1, 1)},
            {.in = {S(1, 1, 1, 1), S(1, 1, 1, 1)}, WINDOW(1, 1, 1, 1, 0, 0)},
            {.in = {S(3, 16, 16, 33), S(3, 16, 16, 31)}, WINDOW(3, 3, 1, 1, 1, 1), .values = VALUES_WIDE},
            {.in = {S(2, 4, 9, 2), S(2, 3, 5, 40)}, WINDOW(3, 5, 2, 2, 2, 2)}),
};

/* ---- dx ---- */

static status x_infer(build *b, const node *n, inferred *out)
{
    const window_attrs *a = n->attrs;
    shape w = n->in[0]->shape, dy = n->in[1]->shape;
    int64_t oh, ow;
    if (w.rank != 4 || dy.rank != 4 || w.dim[0] != dy.dim[3] || w.dim[1] != a->kernel_h || w.dim[2] != a->kernel_w)
        return infer_fail(b, n, "takes w (O, KH, KW, C) and dy (N, OH, OW, O)");
    if (a->height < 1 || a->width < 1) return infer_fail(b, n, "takes the image's height and width");
    if (!window_outputs(b, n, a->height, a->width, &oh, &ow)) return INGOT_ERROR_SHAPE;
    if (dy.dim[1] != oh || dy.dim[2] != ow) return no_window(b, n, &dy, oh, ow);
    out[0] = (inferred){.dtype = n->in[1]->dtype, .shape = INGOT_SHAPE(dy.dim[0], a->height, a->width, w.dim[3])};
    return INGOT_OK;
}

static void x_lower(build *b, const node *n, value **out)
{
    shape w = n->in[0]->shape, dy = n->in[1]->shape;
    value *d = ingot_reshape(b, n->in[1], INGOT_SHAPE(-1, dy.dim[3]));
    value *taps = ingot_matmul(b, d, conv2d_filter_rows(b, n->in[0]));
    if (!taps) return;
    taps = ingot_reshape(b, taps, INGOT_SHAPE(dy.dim[0], dy.dim[1], dy.dim[2], w.dim[1], w.dim[2], w.dim[3]));
    out[0] = APPLY(b, &op_windows_add_def, n->attrs, taps);
}

static op_cost x_cost(const node *n)
{
    return conv2d_cost(n, &n->in[1]->shape, &n->in[0]->shape);
}

const op_def op_conv2d_grad_x_def = {
    .name = "conv2d_grad_x",
    .doc = "dx of conv2d: each dy[n, i, j, o] w[o, p, q, c] is added to dx[n, i stride + p - pad, j stride + q - pad, "
           "c]; w (O, KH, KW, C), dy (N, OH, OW, O), dx (N, height, width, C).",
    .inputs = {{"w", FLOAT}, {"dy", FLOAT}},
    .outputs = {{"dx"}},
    WINDOW_ATTRS,
    .traits = OP_INTERNAL | OP_NOT_DIFFERENTIABLE | OP_NARROW,
    .infer = x_infer,
    .lower = x_lower,
    .cost = x_cost,
    BENCH({.in = {S(64, 3, 3, 32), S(32, 32, 32, 64)}, WINDOW(3, 3, 1, 1, 1, 1, 32, 32)}),
    SAMPLES({.in = {S(4, 3, 2, 3), S(2, 3, 6, 4)}, WINDOW(3, 2, 1, 1, 0, 0, 5, 7)},
            {.in = {S(5, 3, 3, 4), S(2, 3, 5, 5)}, WINDOW(3, 3, 2, 1, 1, 1, 6, 5)},
            {.in = {S(1, 1, 1, 1), S(1, 1, 1, 1)}, WINDOW(1, 1, 1, 1, 0, 0, 1, 1)},
            {.in = {S(31, 3, 3, 33), S(3, 8, 8, 31)}, WINDOW(3, 3, 1, 1, 1, 1, 8, 8), .values = VALUES_WIDE},
            {.in = {S(70, 3, 5, 40), S(1, 6, 4, 70)}, WINDOW(3, 5, 1, 1, 2, 1, 4, 6)},
            {.in = {S(3, 2, 2, 2), S(1, 5, 5, 3)}, WINDOW(2, 2, 1, 1, 2, 2, 2, 2)}),
};
