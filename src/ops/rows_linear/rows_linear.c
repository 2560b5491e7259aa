/* A linear layer of a few rows with what stands before and behind it, as decoding has it: made by the match pass where a
 * device has a kernel for it, else never seen. There every launch waits for the one before; five of them make a layer of llama.
 */
#include "ops/rows_linear/rows_linear.h"
#include "ops/matmul/matmul.h"
#include "ops/rms_norm/rms_norm.h"

static const rows_linear_attrs *attrs(const node *n)
{
    return n->attrs;
}

static value *input(const node *n, int i)
{
    return i < n->inputs ? n->in[i] : NULL;
}

static status infer(build *b, const node *n, inferred *out)
{
    shape x = n->in[ROWS_LINEAR_X]->shape, w = n->in[ROWS_LINEAR_W]->shape;
    const value *gain = input(n, ROWS_LINEAR_GAIN), *c = input(n, ROWS_LINEAR_C);
    const dtype d = n->in[ROWS_LINEAR_X]->dtype;
    char one[128], other[128];
    if (x.rank < 1 || w.rank != 2 || w.dim[1] != x.dim[x.rank - 1] || (attrs(n)->swiglu && w.dim[0] % 2))
        return infer_fail(b, n, "w %s does not take rows of x %s; it must be (out, in), out even for swiglu",
                          shape_print(one, w), shape_print(other, x));
    if (n->in[ROWS_LINEAR_W]->dtype != d)
        return infer_fail(b, n, "x is %s, w is %s; cast one", ingot_dtype_name(d),
                          ingot_dtype_name(n->in[ROWS_LINEAR_W]->dtype));
    if (gain && (gain->shape.rank != 1 || gain->shape.dim[0] != w.dim[1]))
        return infer_fail(b, n, "gain is %s, the inputs are %lld", shape_print(one, gain->shape), (long long)w.dim[1]);
    x.dim[x.rank - 1] = attrs(n)->swiglu ? w.dim[0] / 2 : w.dim[0];
    out[0] = (inferred){.dtype = attrs(n)->wide && dtype_is_narrow(d) ? INGOT_F32 : d, .shape = x};
    if (c && (!shape_equal(c->shape, x) || c->dtype != out[0].dtype))
        return infer_fail(b, n, "c is %s, the product %s", shape_print(one, c->shape), shape_print(other, x));
    return INGOT_OK;
}

static void lower(build *b, const node *n, value **out)
{
    value *x = n->in[ROWS_LINEAR_X], *w = n->in[ROWS_LINEAR_W], *gain = input(n, ROWS_LINEAR_GAIN),
          *c = input(n, ROWS_LINEAR_C);
    int64_t outputs = w->shape.dim[0];
    if (gain) x = ingot_rms_norm(b, x, gain, attrs(n)->eps);
    x = ingot_reshape(b, x, INGOT_SHAPE(-1, w->shape.dim[1]));
    value *y = attrs(n)->wide ? matmul_wide(b, x, w, NULL, 0, 1) : ingot_matmul_with(b, x, w, NULL, 0, 1);
    if (attrs(n)->swiglu)
        y = ingot_swiglu(b, ingot_slice(b, y, 1, 0, outputs / 2), ingot_slice(b, y, 1, outputs / 2, outputs / 2));
    y = ingot_reshape(b, y, n->out[0]->shape);
    out[0] = c ? ingot_add(b, c, y) : y;
}

static op_cost cost(const node *n)
{
    const value *x = n->in[ROWS_LINEAR_X], *w = n->in[ROWS_LINEAR_W];
    double rows = (double)shape_count(x->shape) / (double)w->shape.dim[1];
    op_cost c = {.flops = 2 * rows * (double)shape_count(w->shape), .bytes = (double)value_bytes(n->out[0])};
    if (input(n, ROWS_LINEAR_GAIN)) c.flops += 4 * (double)shape_count(x->shape);
    if (attrs(n)->swiglu) c.flops += 4 * (double)shape_count(n->out[0]->shape);
    if (input(n, ROWS_LINEAR_C)) c.flops += (double)shape_count(n->out[0]->shape);
    for (int i = 0; i < n->inputs; i++) c.bytes += n->in[i] ? (double)value_bytes(n->in[i]) : 0;
    return c;
}

#define END(...)                                                                                                       \
    &(const rows_linear_attrs)                                                                                         \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
const op_def op_rows_linear_def = {
    .name = "rows_linear",
    .doc = "y = (c +) end(h w^T), h = x or, with a gain, rms_norm(x, gain): x (..., K), w (N, K), gain (K), end "
           "nothing or "
           "swiglu of the product's halves, y and c (..., N or N / 2). wide: y and c are float32 where x and w are "
           "16-bit. A few rows, as in decoding.",
    .inputs = {{"x", FLOAT},
               {"w", FLOAT},
               {"gain", FLOAT, .optional = true, .wide = true},
               {"c", FLOAT, .optional = true}},
    .outputs = {{"y", .may_reuse = INPUT(ROWS_LINEAR_C)}},
    ATTRS(rows_linear_attrs, ATTR(rows_linear_attrs, eps, ATTR_F64, .minimum = 0, .maximum = 1),
          ATTR(rows_linear_attrs, swiglu, ATTR_I64, .minimum = 0, .maximum = 1),
          ATTR(rows_linear_attrs, wide, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_INTERNAL,
    .infer = infer,
    .lower = lower,
    .cost = cost,
    BENCH({.in = {S(1, 576), S(960, 576), S(576), NOT_GIVEN}, .attrs = END(1e-5)},
          {.in = {S(1, 576), S(576, 576), NOT_GIVEN, S(1, 576)}, .attrs = END(0)},
          {.in = {S(1, 576), S(3072, 576), S(576), NOT_GIVEN}, .attrs = END(1e-5, 1)},
          {.in = {S(1, 1536), S(576, 1536), NOT_GIVEN, S(1, 576)}, .attrs = END(0)},
          {.in = {S(1, 2048), S(3072, 2048), S(2048), NOT_GIVEN}, .attrs = END(1e-5)},
          {.in = {S(1, 2048), S(2048, 2048), NOT_GIVEN, S(1, 2048)}, .attrs = END(0)},
          {.in = {S(1, 2048), S(16384, 2048), S(2048), NOT_GIVEN}, .attrs = END(1e-5, 1)},
          {.in = {S(1, 8192), S(2048, 8192), NOT_GIVEN, S(1, 2048)}, .attrs = END(0)}),
    SAMPLES(
        {.in = {S(2, 3, 5), S(7, 5), S(5), S(2, 3, 7)}, .attrs = END(1e-5)},
        {.in = {S(1, 1), S(1, 1), NOT_GIVEN, NOT_GIVEN}, .attrs = END(0)},
        {.in = {S(1, 64), S(96, 64), S(64), NOT_GIVEN}, .attrs = END(1e-5)},
        {.in = {S(1, 576), S(76, 576), S(576), NOT_GIVEN}, .attrs = END(1e-6, 1)},
        {.in = {S(3, 136), S(34, 136), NOT_GIVEN, S(3, 17)}, .attrs = END(0, 1)},
        {.in = {S(1, 1536), S(577, 1536), NOT_GIVEN, S(1, 577)}, .attrs = END(0)},
        {.in = {S(8, 72), S(41, 72), S(72), S(8, 41)}, .attrs = END(1e-5)},
        {.in = {S(2, 4, 256), S(50, 256), S(256), NOT_GIVEN}, .attrs = END(1e-5, 1)},
        {.in = {S(1, 8200), S(40, 8200), NOT_GIVEN, S(1, 40)}, .attrs = END(0)},
        {.in = {S(5, 2048), S(39, 2048), S(2048), NOT_GIVEN}, .attrs = END(1e-5, 0, 1)},
        {.in = {S(1, 40), S(9002, 40), S(40), NOT_GIVEN}, .attrs = END(1e-5, 1)},
        {.in = {S(1, 4096), S(70, 4096), NOT_GIVEN, NOT_GIVEN}, .attrs = END(0), .values = VALUES_WIDE},
        {.in = {S(4, 768), S(33, 768), S(768), NOT_GIVEN}, .attrs = END(1e-5), .values_of = {VALUES_TINY}},
        {.in = {S(2, 768), S(33, 768), S(768), NOT_GIVEN}, .attrs = END(1e-5), .values_of = {VALUES_ALL_EQUAL}},
        {.in = {S(2, 768), S(34, 768), S(768), NOT_GIVEN}, .attrs = END(1e-5, 1), .values_of = {VALUES_ONE_DOMINANT}},
        {.in = {S(12, 64), S(24, 64), S(64), S(12, 24)}, .attrs = END(1e-5)}),
};
