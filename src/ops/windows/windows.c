/* Windows of an image side by side (im2col), and its transpose: convolution and pooling are products and sums of them. */
#include "ops/windows/windows.h"

window_attrs window_attrs_of(const ingot_window *w)
{
    return (window_attrs){.kernel_h = w->kernel_h,
                          .kernel_w = w->kernel_w,
                          .stride_h = w->stride_h,
                          .stride_w = w->stride_w,
                          .pad_h = w->pad_h,
                          .pad_w = w->pad_w};
}

bool window_outputs(build *b, const node *n, int64_t height, int64_t width, int64_t *oh, int64_t *ow)
{
    const window_attrs *a = n->attrs;
    int64_t free_h = height + 2 * a->pad_h - a->kernel_h, free_w = width + 2 * a->pad_w - a->kernel_w;
    if (free_h < 0 || free_w < 0) {
        infer_fail(b, n, "a window of (%lld, %lld) does not fit an image of (%lld, %lld) with padding (%lld, %lld)",
                   (long long)a->kernel_h, (long long)a->kernel_w, (long long)height, (long long)width,
                   (long long)a->pad_h, (long long)a->pad_w);
        return false;
    }
    *oh = free_h / a->stride_h + 1;
    *ow = free_w / a->stride_w + 1;
    return true;
}

status window_pool_infer(build *b, const node *n, inferred *out)
{
    shape x = n->in[0]->shape;
    char dims[128];
    int64_t oh, ow;
    if (x.rank != 4) return infer_fail(b, n, "takes an image (N, H, W, C), got %s", shape_print(dims, x));
    if (!window_outputs(b, n, x.dim[1], x.dim[2], &oh, &ow)) return INGOT_ERROR_SHAPE;
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = INGOT_SHAPE(x.dim[0], oh, ow, x.dim[3])};
    return INGOT_OK;
}

op_cost window_pool_cost(const node *n)
{
    const window_attrs *a = n->attrs;
    return (op_cost){.flops = (double)(shape_count(n->out[0]->shape) * a->kernel_h * a->kernel_w),
                     .bytes = (double)(value_bytes(n->in[0]) + value_bytes(n->out[0]))};
}

value *window_taps(build *b, const node *n, double pad_value)
{
    window_attrs a = *(const window_attrs *)n->attrs;
    a.pad_value = pad_value;
    value *p = APPLY(b, &op_windows_def, &a, n->in[0]);
    if (!p) return NULL;
    shape s = p->shape;
    return ingot_reshape(b, p, INGOT_SHAPE(s.dim[0], s.dim[1], s.dim[2], s.dim[3] * s.dim[4], s.dim[5]));
}

window_sizes window_sizes_of(const step *s, const tensor *image, const tensor *out)
{
    return (window_sizes){.n = image->shape.dim[0],
                          .h = image->shape.dim[1],
                          .w = image->shape.dim[2],
                          .c = image->shape.dim[3],
                          .oh = out->shape.dim[1],
                          .ow = out->shape.dim[2],
                          .a = *(const window_attrs *)s->node->attrs};
}

static status windows_infer(build *b, const node *n, inferred *out)
{
    const window_attrs *a = n->attrs;
    TRY(window_pool_infer(b, n, out));
    shape y = out[0].shape;
    out[0].shape = INGOT_SHAPE(y.dim[0], y.dim[1], y.dim[2], a->kernel_h, a->kernel_w, y.dim[3]);
    return INGOT_OK;
}

static void windows_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (!need[0]) return;
    window_attrs a = *(const window_attrs *)n->attrs;
    a.height = n->in[0]->shape.dim[1];
    a.width = n->in[0]->shape.dim[2];
    a.pad_value = 0;
    din[0] = APPLY(b, &op_windows_add_def, &a, dout[0]);
}

const op_def op_windows_def = {
    .name = "windows",
    .doc =
        "y[n, i, j, p, q] = x[n, i stride + p - pad, j stride + q - pad], or pad_value outside: x (N, H, W, C), y (N, "
        "OH, OW, KH, KW, C), OH = (H + 2 pad - KH) / stride + 1.",
    .inputs = {{"x", FLOAT}},
    .outputs = {{"y"}},
    WINDOW_ATTRS,
    .traits = OP_PRIMITIVE,
    .infer = windows_infer,
    .grad = windows_grad,
    SAMPLES({.in = {S(2, 5, 7, 3)}, WINDOW(3, 2, 1, 1, 0, 0)},
            {.in = {S(2, 6, 5, 4)}, WINDOW(3, 3, 2, 1, 1, 1, .pad_value = -1.5)},
            {.in = {S(1, 1, 1, 1)}, WINDOW(1, 1, 1, 1, 0, 0)}, {.in = {S(1, 2, 3, 33)}, WINDOW(3, 5, 1, 2, 1, 2)},
            {.in = {S(3, 8, 8, 2)}, WINDOW(2, 2, 3, 3, 0, 0), .values = VALUES_WIDE}),
};

static status add_infer(build *b, const node *n, inferred *out)
{
    const window_attrs *a = n->attrs;
    shape y = n->in[0]->shape;
    char dims[128];
    int64_t oh, ow;
    if (y.rank != 6 || a->height < 1 || a->width < 1)
        return infer_fail(b, n, "takes windows (N, OH, OW, KH, KW, C), got %s", shape_print(dims, y));
    if (!window_outputs(b, n, a->height, a->width, &oh, &ow)) return INGOT_ERROR_SHAPE;
    if (y.dim[1] != oh || y.dim[2] != ow || y.dim[3] != a->kernel_h || y.dim[4] != a->kernel_w)
        return infer_fail(b, n, "windows %s are not those of an image of (%lld, %lld)", shape_print(dims, y),
                          (long long)a->height, (long long)a->width);
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = INGOT_SHAPE(y.dim[0], a->height, a->width, y.dim[5])};
    return INGOT_OK;
}

static void add_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (!need[0]) return;
    window_attrs a = *(const window_attrs *)n->attrs;
    a.height = a.width = 0;
    din[0] = APPLY(b, &op_windows_def, &a, dout[0]);
}

const op_def op_windows_add_def = {
    .name = "windows_add",
    .doc =
        "The transpose of windows: each element of the windows y (N, OH, OW, KH, KW, C) is added to the place of x (N, "
        "H, W, C) that it was read from; padding is dropped.",
    .inputs = {{"y", FLOAT}},
    .outputs = {{"x"}},
    WINDOW_ATTRS,
    .traits = OP_PRIMITIVE,
    .infer = add_infer,
    .grad = add_grad,
    SAMPLES({.in = {S(2, 3, 6, 3, 2, 3)}, WINDOW(3, 2, 1, 1, 0, 0, 5, 7)},
            {.in = {S(2, 3, 5, 3, 3, 4)}, WINDOW(3, 3, 2, 1, 1, 1, 6, 5)},
            {.in = {S(1, 1, 1, 1, 1, 1)}, WINDOW(1, 1, 1, 1, 0, 0, 1, 1)},
            {.in = {S(1, 2, 2, 3, 5, 33)}, WINDOW(3, 5, 1, 2, 1, 2, 2, 3)},
            {.in = {S(3, 3, 3, 2, 2, 2)}, WINDOW(2, 2, 3, 3, 0, 0, 8, 8), .values = VALUES_WIDE}),
};

ingot_value *ingot_windows(ingot_build *b, ingot_value *x, const ingot_window *window, double pad_value)
{
    window_attrs a = window_attrs_of(window);
    a.pad_value = pad_value;
    return APPLY(b, &op_windows_def, &a, x);
}

ingot_value *ingot_windows_add(ingot_build *b, ingot_value *y, const ingot_window *window, int64_t height,
                               int64_t width)
{
    window_attrs a = window_attrs_of(window);
    a.height = height;
    a.width = width;
    return APPLY(b, &op_windows_add_def, &a, y);
}
