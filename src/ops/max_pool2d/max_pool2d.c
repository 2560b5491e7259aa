/* The largest element of each window, channel by channel; and where its gradient goes. */
#include "ops/windows/windows.h"

#include <math.h>

static status infer(build *b, const node *n, inferred *out)
{
    const window_attrs *a = n->attrs;
    if (2 * a->pad_h > a->kernel_h || 2 * a->pad_w > a->kernel_w)
        return infer_fail(b, n, "padding (%lld, %lld) is more than half the window (%lld, %lld)", (long long)a->pad_h,
                          (long long)a->pad_w, (long long)a->kernel_h, (long long)a->kernel_w);
    return window_pool_infer(b, n, out);
}

static void lower(build *b, const node *n, value **out)
{
    out[0] = ingot_max(b, window_taps(b, n, -INFINITY), 3, 0);
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = APPLY(b, &op_max_pool2d_grad_def, n->attrs, n->in[0], dout[0]);
}

const op_def op_max_pool2d_def = {
    .name = "max_pool2d",
    .doc = "y = the largest element of each window of x, by channel: x (N, H, W, C), y (N, OH, OW, C); nothing outside "
           "counts. The gradient of a tie goes to its first element in rows from the top left.",
    .inputs = {{"x", FLOAT}},
    .outputs = {{"y"}},
    WINDOW_ATTRS,
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = window_pool_cost,
    BENCH({.in = {S(32, 32, 32, 64)}, WINDOW(2, 2, 2, 2, 0, 0)}),
    SAMPLES({.in = {S(2, 6, 8, 3)}, WINDOW(2, 2, 2, 2, 0, 0)}, {.in = {S(2, 5, 7, 4)}, WINDOW(3, 3, 2, 1, 1, 1)},
            {.in = {S(1, 1, 1, 1)}, WINDOW(1, 1, 1, 1, 0, 0)}, {.in = {S(1, 9, 9, 33)}, WINDOW(3, 2, 3, 2, 0, 1)},
            {.in = {S(2, 8, 8, 5)}, WINDOW(3, 3, 1, 1, 1, 1), .values = VALUES_ALL_EQUAL, .no_gradient = true}),
};

static status grad_infer(build *b, const node *n, inferred *out)
{
    shape x = n->in[0]->shape, d = n->in[1]->shape;
    char one[128], other[128];
    TRY(infer(b, n, out));
    if (!shape_equal(out[0].shape, d))
        return infer_fail(b, n, "dy is %s, the windows give %s", shape_print(one, d), shape_print(other, out[0].shape));
    out[0].shape = x;
    return INGOT_OK;
}

/* 1 at the first largest tap of each window: a hit before which a lower triangle of ones counts no other hit. */
static value *first_hits(build *b, const node *n)
{
    value *p = window_taps(b, n, -INFINITY), *largest = ingot_max(b, p, 3, 1), *hit = ingot_equal(b, p, largest);
    if (!hit) return NULL;
    int64_t k = p->shape.dim[3];
    value *column = ingot_iota(b, p->dtype, INGOT_SHAPE(k, k), 1), *row = ingot_iota(b, p->dtype, INGOT_SHAPE(k, k), 0);
    value *before = ingot_matmul(b, ingot_less(b, column, row), hit);
    return ingot_pointwise(b, "where(b, 0, a)", (value *[]){hit, before}, 2);
}

static void grad_lower(build *b, const node *n, value **out)
{
    const window_attrs *a = n->attrs;
    shape x = n->in[0]->shape, y = n->in[1]->shape;
    value *d = ingot_reshape(b, n->in[1], INGOT_SHAPE(y.dim[0], y.dim[1], y.dim[2], 1, y.dim[3]));
    value *moved = ingot_mul(b, first_hits(b, n), d);
    if (!moved) return;
    moved = ingot_reshape(b, moved, INGOT_SHAPE(y.dim[0], y.dim[1], y.dim[2], a->kernel_h, a->kernel_w, y.dim[3]));
    window_attrs add = *a;
    add.height = x.dim[1];
    add.width = x.dim[2];
    out[0] = APPLY(b, &op_windows_add_def, &add, moved);
}

const op_def op_max_pool2d_grad_def = {
    .name = "max_pool2d_grad",
    .doc =
        "dx of max_pool2d: each dy is added where its window's first largest element lies; x (N, H, W, C), dy (N, OH, "
        "OW, C).",
    .inputs = {{"x", FLOAT}, {"dy", FLOAT}},
    .outputs = {{"dx"}},
    WINDOW_ATTRS,
    .traits = OP_INTERNAL | OP_NOT_DIFFERENTIABLE,
    .infer = grad_infer,
    .lower = grad_lower,
    SAMPLES({.in = {S(2, 6, 8, 3), S(2, 3, 4, 3)}, WINDOW(2, 2, 2, 2, 0, 0)},
            {.in = {S(2, 5, 7, 4), S(2, 3, 7, 4)}, WINDOW(3, 3, 2, 1, 1, 1)},
            {.in = {S(1, 1, 1, 1), S(1, 1, 1, 1)}, WINDOW(1, 1, 1, 1, 0, 0)},
            {.in = {S(2, 8, 8, 33), S(2, 8, 8, 33)}, WINDOW(3, 3, 1, 1, 1, 1), .values_of = {VALUES_ALL_EQUAL}}),
};

ingot_value *ingot_max_pool2d(ingot_build *b, ingot_value *x, const ingot_window *window)
{
    window_attrs a = window_attrs_of(window);
    return APPLY(b, &op_max_pool2d_def, &a, x);
}
