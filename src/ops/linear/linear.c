/* A product with a weight: the op that layers are written with. It lowers to matmul, whose kernels do the work. */
#include "ops/linear/linear.h"
#include "ops/reduce/reduce.h"

static status infer(build *b, const node *n, inferred *out)
{
    bool in_out = ATTRS_OF(linear_attrs, n)->in_out;
    shape x = n->in[0]->shape, w = n->in[1]->shape;
    const value *bias = n->inputs > 2 ? n->in[2] : NULL;
    char one[128], other[128];
    if (x.rank < 1 || w.rank != 2 || w.dim[in_out ? 0 : 1] != x.dim[x.rank - 1])
        return infer_fail(b, n, "w %s does not take rows of x %s; it must be %s", shape_print(one, w),
                          shape_print(other, x), in_out ? "(in, out)" : "(out, in)");
    if (n->in[0]->dtype != n->in[1]->dtype)
        return infer_fail(b, n, "x is %s, w is %s; cast one", ingot_dtype_name(n->in[0]->dtype),
                          ingot_dtype_name(n->in[1]->dtype));
    x.dim[x.rank - 1] = w.dim[in_out ? 1 : 0];
    if (bias && (bias->shape.rank != 1 || bias->shape.dim[0] != x.dim[x.rank - 1]))
        return infer_fail(b, n, "bias is %s, the outputs are %lld", shape_print(one, bias->shape),
                          (long long)x.dim[x.rank - 1]);
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = x};
    return INGOT_OK;
}

/* All leading dims as rows of one product. */
static value *flat(build *b, value *v)
{
    return ingot_reshape(b, v, INGOT_SHAPE(-1, v->shape.dim[v->shape.rank - 1]));
}

static void lower(build *b, const node *n, value **out)
{
    int in_out = (int)ATTRS_OF(linear_attrs, n)->in_out;
    value *y = ingot_matmul_with(b, flat(b, n->in[0]), n->in[1], NULL, 0, !in_out);
    if (n->inputs > 2 && n->in[2]) y = ingot_add(b, y, n->in[2]);
    out[0] = ingot_reshape(b, y, n->out[0]->shape);
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    int in_out = (int)ATTRS_OF(linear_attrs, n)->in_out;
    value *x = flat(b, n->in[0]), *w = n->in[1], *dy = flat(b, dout[0]);
    if (need[0]) din[0] = ingot_reshape(b, ingot_matmul_with(b, dy, w, NULL, 0, in_out), n->in[0]->shape);
    if (need[1]) din[1] = in_out ? ingot_matmul_with(b, x, dy, NULL, 1, 0) : ingot_matmul_with(b, dy, x, NULL, 1, 0);
    if (n->inputs > 2 && need[2]) din[2] = ingot_cast(b, sum_wide(b, dy, 0, 0), n->in[2]->dtype);
}

op_cost linear_cost(const node *n)
{
    shape x = n->in[0]->shape;
    op_cost c = {.flops = 2.0 * (double)x.dim[x.rank - 1] * (double)shape_count(n->out[0]->shape)};
    for (int i = 0; i < n->inputs; i++) c.bytes += n->in[i] ? (double)value_bytes(n->in[i]) : 0;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) c.bytes += n->out[i] ? (double)value_bytes(n->out[i]) : 0;
    return c;
}

const op_def op_linear_def = {
    .name = "linear",
    .doc = "y = x w^T (+ bias): x (..., K), w (N, K), bias (N), y (..., N). in_out: w is (K, N) and y = x w (+ bias).",
    .inputs = {{"x", FLOAT}, {"w", FLOAT}, {"bias", FLOAT, .optional = true, .wide = true}},
    .outputs = {{"y"}},
    ATTRS(linear_attrs, ATTR(linear_attrs, in_out, ATTR_I64, .minimum = 0, .maximum = 1)),
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = linear_cost,
    BENCH({.in = {S(1, 768), S(3072, 768), S(3072)}, .attrs = OUT_IN},
          {.in = {S(2048, 768), S(3072, 768), S(3072)}, .attrs = OUT_IN}),
    SAMPLES({.in = {S(2, 3, 5), S(7, 5), S(7)}, .attrs = OUT_IN}, {.in = {S(2, 3, 5), S(5, 7), S(7)}, .attrs = IN_OUT},
            {.in = {S(1), S(1, 1), NOT_GIVEN}, .attrs = OUT_IN}, {.in = {S(31, 33), S(32, 33), S(32)}, .attrs = OUT_IN},
            {.in = {S(33, 130), S(130, 65), NOT_GIVEN}, .attrs = IN_OUT},
            {.in = {S(1, 4099), S(31, 4099), S(31)}, .attrs = OUT_IN, .values = VALUES_WIDE},
            {.in = {S(4, 65), S(4099, 65), S(4099)}, .attrs = OUT_IN, .values = VALUES_TINY},
            {.in = {S(5, 7, 64), S(40, 64), S(40)}, .attrs = OUT_IN},
            {.in = {S(33, 72), S(72, 136), S(136)}, .attrs = IN_OUT}),
};

/* linear_add: made by the match pass where a device has a kernel for it. */

static status add_infer(build *b, const node *n, inferred *out)
{
    char one[128], other[128];
    TRY(infer(b, n, out));
    if (!shape_equal(out[0].shape, n->in[LINEAR_ADD_C]->shape) || out[0].dtype != n->in[LINEAR_ADD_C]->dtype)
        return infer_fail(b, n, "c is %s%s, the product %s", ingot_dtype_name(n->in[LINEAR_ADD_C]->dtype),
                          shape_print(one, n->in[LINEAR_ADD_C]->shape), shape_print(other, out[0].shape));
    return INGOT_OK;
}

static void add_lower(build *b, const node *n, value **out)
{
    value *y = ingot_linear_with(b, n->in[0], n->in[1], n->in[2], (int)ATTRS_OF(linear_attrs, n)->in_out);
    out[0] = ingot_add(b, n->in[LINEAR_ADD_C], y);
}

const op_def op_linear_add_def = {
    .name = "linear_add",
    .doc = "y = c + x w^T (+ bias) as linear has it, c and y (..., N): a layer and the residual stream behind it.",
    .inputs = {{"x", FLOAT}, {"w", FLOAT}, {"bias", FLOAT, .optional = true, .wide = true}, {"c", FLOAT}},
    .outputs = {{"y", .may_reuse = INPUT(LINEAR_ADD_C)}},
    ATTRS(linear_attrs, ATTR(linear_attrs, in_out, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_INTERNAL,
    .infer = add_infer,
    .lower = add_lower,
    .cost = linear_cost,
    BENCH({.in = {S(2048, 3072), S(768, 3072), S(768), S(2048, 768)}, .attrs = OUT_IN}),
    SAMPLES({.in = {S(2, 3, 5), S(7, 5), S(7), S(2, 3, 7)}, .attrs = OUT_IN},
            {.in = {S(31, 33), S(32, 33), NOT_GIVEN, S(31, 32)}, .attrs = OUT_IN},
            {.in = {S(5, 7, 64), S(40, 64), S(40), S(5, 7, 40)}, .attrs = OUT_IN},
            {.in = {S(33, 72), S(72, 136), S(136), S(33, 136)}, .attrs = IN_OUT},
            {.in = {S(130, 256), S(384, 256), NOT_GIVEN, S(130, 384)}, .attrs = OUT_IN, .values = VALUES_WIDE}),
};

ingot_value *ingot_linear_with(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *bias, int in_out)
{
    linear_attrs a = {!!in_out};
    return bias ? APPLY(b, &op_linear_def, &a, x, w, bias) : APPLY(b, &op_linear_def, &a, x, w);
}

ingot_value *ingot_linear(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *bias)
{
    return ingot_linear_with(b, x, w, bias, 0);
}
