/* The mean of each window, channel by channel. */
#include "ops/windows/windows.h"

static double share(const node *n)
{
    const window_attrs *a = n->attrs;
    return 1.0 / (double)(a->kernel_h * a->kernel_w);
}

static void lower(build *b, const node *n, value **out)
{
    out[0] = ingot_mul_scalar(b, ingot_sum(b, window_taps(b, n, 0), 3, 0), share(n));
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (!need[0]) return;
    window_attrs a = *(const window_attrs *)n->attrs;
    a.height = n->in[0]->shape.dim[1];
    a.width = n->in[0]->shape.dim[2];
    din[0] = APPLY(b, &op_avg_pool2d_grad_def, &a, dout[0]);
}

const op_def op_avg_pool2d_def = {
    .name = "avg_pool2d",
    .doc =
        "y = the sum of each window of x over KH KW, by channel: x (N, H, W, C), y (N, OH, OW, C); what lies outside "
        "counts as zeros, as in torch's default.",
    .inputs = {{"x", FLOAT}},
    .outputs = {{"y"}},
    WINDOW_ATTRS,
    .infer = window_pool_infer,
    .lower = lower,
    .grad = grad,
    .cost = window_pool_cost,
    SAMPLES({.in = {S(2, 6, 8, 3)}, WINDOW(2, 2, 2, 2, 0, 0)}, {.in = {S(2, 5, 7, 4)}, WINDOW(3, 3, 2, 1, 1, 1)},
            {.in = {S(1, 1, 1, 1)}, WINDOW(1, 1, 1, 1, 0, 0)},
            {.in = {S(1, 9, 9, 33)}, WINDOW(3, 2, 3, 2, 0, 1), .values = VALUES_WIDE},
            {.in = {S(2, 7, 7, 5)}, WINDOW(7, 7, 1, 1, 0, 0), .values = VALUES_LARGE_OFFSET}),
};

static status grad_infer(build *b, const node *n, inferred *out)
{
    const window_attrs *a = n->attrs;
    shape y = n->in[0]->shape;
    char dims[128];
    int64_t oh, ow;
    if (y.rank != 4 || a->height < 1 || a->width < 1)
        return infer_fail(b, n, "takes dy (N, OH, OW, C), got %s", shape_print(dims, y));
    if (!window_outputs(b, n, a->height, a->width, &oh, &ow)) return INGOT_ERROR_SHAPE;
    if (y.dim[1] != oh || y.dim[2] != ow)
        return infer_fail(b, n, "dy %s is not of an image of (%lld, %lld)", shape_print(dims, y), (long long)a->height,
                          (long long)a->width);
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = INGOT_SHAPE(y.dim[0], a->height, a->width, y.dim[3])};
    return INGOT_OK;
}

static void grad_lower(build *b, const node *n, value **out)
{
    const window_attrs *a = n->attrs;
    shape y = n->in[0]->shape;
    value *d = ingot_mul_scalar(b, n->in[0], share(n));
    d = ingot_reshape(b, d, INGOT_SHAPE(y.dim[0], y.dim[1], y.dim[2], 1, 1, y.dim[3]));
    d = ingot_expand(b, d, INGOT_SHAPE(y.dim[0], y.dim[1], y.dim[2], a->kernel_h, a->kernel_w, y.dim[3]));
    out[0] = APPLY(b, &op_windows_add_def, a, d);
}

const op_def op_avg_pool2d_grad_def = {
    .name = "avg_pool2d_grad",
    .doc = "dx of avg_pool2d: each dy / (KH KW) is added to its window's places; dy (N, OH, OW, C), dx (N, H, W, C).",
    .inputs = {{"dy", FLOAT}},
    .outputs = {{"dx"}},
    WINDOW_ATTRS,
    .traits = OP_INTERNAL,
    .infer = grad_infer,
    .lower = grad_lower,
    SAMPLES({.in = {S(2, 3, 4, 3)}, WINDOW(2, 2, 2, 2, 0, 0, 6, 8)},
            {.in = {S(2, 3, 7, 4)}, WINDOW(3, 3, 2, 1, 1, 1, 5, 7)},
            {.in = {S(1, 1, 1, 1)}, WINDOW(1, 1, 1, 1, 0, 0, 1, 1)},
            {.in = {S(1, 2, 2, 33)}, WINDOW(3, 5, 1, 2, 1, 2, 2, 3)},
            {.in = {S(2, 4, 4, 31)}, WINDOW(2, 2, 2, 2, 0, 0, 8, 8), .values = VALUES_WIDE}),
};

ingot_value *ingot_avg_pool2d(ingot_build *b, ingot_value *x, const ingot_window *window)
{
    window_attrs a = window_attrs_of(window);
    return APPLY(b, &op_avg_pool2d_def, &a, x);
}

ingot_value *ingot_flatten(ingot_build *b, ingot_value *x)
{
    return x && x->shape.rank ? ingot_reshape(b, x, INGOT_SHAPE(x->shape.dim[0], -1)) : x;
}
