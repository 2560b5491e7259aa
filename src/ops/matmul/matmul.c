/* Matrix products, batched; the op that everything else waits for. The kernels beside this file are the ladder. */
#include "ops/matmul/matmul.h"

static status infer(build *b, const node *n, inferred *out)
{
    const matmul_attrs *t = n->attrs;
    shape x = n->in[0]->shape, y = n->in[1]->shape, s;
    char one[128], other[128];
    if (x.rank < 2 || y.rank < 2)
        return infer_fail(b, n, "takes at least two dims on each side, got %s and %s", shape_print(one, x),
                          shape_print(other, y));
    if (n->in[0]->dtype != n->in[1]->dtype)
        return infer_fail(b, n, "a is %s, b is %s; cast one", ingot_dtype_name(n->in[0]->dtype),
                          ingot_dtype_name(n->in[1]->dtype));
    int64_t m = x.dim[x.rank - (t->trans_a ? 1 : 2)], k = x.dim[x.rank - (t->trans_a ? 2 : 1)];
    int64_t k2 = y.dim[y.rank - (t->trans_b ? 1 : 2)], cols = y.dim[y.rank - (t->trans_b ? 2 : 1)];
    if (k != k2)
        return infer_fail(b, n, "inner dims differ: a %s%s gives %lld, b %s%s gives %lld", shape_print(one, x),
                          t->trans_a ? " transposed" : "", (long long)k, shape_print(other, y),
                          t->trans_b ? " transposed" : "", (long long)k2);
    x.rank -= 2, y.rank -= 2;
    if (!shape_broadcast(x, y, &s) || s.rank > INGOT_MAX_RANK - 2)
        return infer_fail(b, n, "leading dims %s and %s do not broadcast", shape_print(one, x), shape_print(other, y));
    s.dim[s.rank++] = m;
    s.dim[s.rank++] = cols;
    if (n->inputs > 2 && n->in[2] && !shape_equal(n->in[2]->shape, s))
        return infer_fail(b, n, "c is %s, the product is %s", shape_print(one, n->in[2]->shape), shape_print(other, s));
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = s};
    if (t->wide && dtype_is_narrow(out[0].dtype)) out[0].dtype = INGOT_F32;
    if (n->inputs > 2 && n->in[2] && n->in[2]->dtype != out[0].dtype)
        return infer_fail(b, n, "c is %s, the product is %s; cast one", ingot_dtype_name(n->in[2]->dtype),
                          ingot_dtype_name(out[0].dtype));
    return INGOT_OK;
}

/* Sums the leading dims of `d` that `s` does not have, or has as 1. */
static value *sum_batch(build *b, value *d, shape s)
{
    if (!d || shape_equal(d->shape, s)) return d;
    int64_t extra = d->shape.rank - s.rank;
    for (int64_t i = 0; i < d->shape.rank - 2; i++)
        if (i < extra || s.dim[i - extra] == 1) d = ingot_sum(b, d, (int)i, 1);
    return ingot_reshape(b, d, s);
}

static value *product(build *b, value *x, value *y, int64_t trans_x, int64_t trans_y)
{
    return ingot_matmul_with(b, x, y, NULL, (int)trans_x, (int)trans_y);
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    const matmul_attrs *t = n->attrs;
    value *x = n->in[0], *y = n->in[1], *d = ingot_cast(b, dout[0], x->dtype);
    if (need[0]) {
        value *dx = t->trans_a ? product(b, y, d, t->trans_b, 1) : product(b, d, y, 0, !t->trans_b);
        din[0] = sum_batch(b, dx, x->shape);
    }
    if (need[1]) {
        /* A weight under a batch: the batch is rows of one product, not a sum of many. */
        if (y->shape.rank == 2 && x->shape.rank > 2 && !t->trans_a) {
            x = ingot_reshape(b, x, INGOT_SHAPE(-1, x->shape.dim[x->shape.rank - 1]));
            d = ingot_reshape(b, d, INGOT_SHAPE(-1, d->shape.dim[d->shape.rank - 1]));
        }
        value *dy = t->trans_b ? product(b, d, x, 1, t->trans_a) : product(b, x, d, !t->trans_a, 0);
        din[1] = sum_batch(b, dy, y->shape);
    }
    if (n->inputs > 2 && need[2]) din[2] = dout[0];
}

static op_cost cost(const node *n)
{
    const matmul_attrs *t = n->attrs;
    shape x = n->in[0]->shape;
    double k = (double)x.dim[x.rank - (t->trans_a ? 2 : 1)];
    op_cost c = {.flops = 2 * k * (double)shape_count(n->out[0]->shape), .bytes = (double)value_bytes(n->out[0])};
    for (int i = 0; i < n->inputs; i++)
        if (n->in[i]) c.bytes += (double)value_bytes(n->in[i]);
    return c;
}

#define T(...)                                                                                                         \
    &(const matmul_attrs)                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
const op_def op_matmul_def = {
    .name = "matmul",
    .doc =
        "y = op(a) op(b) (+ c): a (..., M, K), b (..., K, N), c and y (..., M, N); leading dims broadcast. trans_a and "
        "trans_b say that a side is stored transposed in its last two dims. wide: c and y are float32 where a and b "
        "have 16 "
        "bits; sums are float32 anyway.",
    .inputs = {{"a", FLOAT}, {"b", FLOAT}, {"c", FLOAT, .optional = true}},
    .outputs = {{"y", .may_reuse = INPUT(2)}},
    ATTRS(matmul_attrs, ATTR(matmul_attrs, trans_a, ATTR_I64, .minimum = 0, .maximum = 1),
          ATTR(matmul_attrs, trans_b, ATTR_I64, .minimum = 0, .maximum = 1),
          ATTR(matmul_attrs, wide, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_PRIMITIVE,
    .infer = infer,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(64, 64), S(64, 64), NOT_GIVEN}, .attrs = T(0, 0)},
          {.in = {S(1024, 1024), S(1024, 1024), NOT_GIVEN}, .attrs = T(0, 0)},
          {.in = {S(256, 768), S(2304, 768), NOT_GIVEN}, .attrs = T(0, 1)},
          {.in = {S(256, 2304), S(256, 768), S(2304, 768)}, .attrs = T(1, 0)},
          {.in = {S(1, 768), S(3072, 768), NOT_GIVEN}, .attrs = T(0, 1)},
          {.in = {S(48, 256, 64), S(48, 256, 64), NOT_GIVEN}, .attrs = T(0, 1)}),
    SAMPLES({.in = {S(3, 5), S(5, 7), NOT_GIVEN}, .attrs = T(0, 0)},
            {.in = {S(5, 3), S(5, 7), NOT_GIVEN}, .attrs = T(1, 0)},
            {.in = {S(3, 5), S(7, 5), S(3, 7)}, .attrs = T(0, 1)},
            {.in = {S(5, 3), S(7, 5), NOT_GIVEN}, .attrs = T(1, 1)},
            {.in = {S(2, 3, 4, 5), S(2, 3, 5, 6), NOT_GIVEN}, .attrs = T(0, 0)},
            {.in = {S(2, 3, 4, 5), S(5, 6), NOT_GIVEN}, .attrs = T(0, 0)},
            {.in = {S(2, 3, 4, 5), S(3, 6, 5), NOT_GIVEN}, .attrs = T(0, 1)},
            {.in = {S(1, 1), S(1, 1), S(1, 1)}, .attrs = T(0, 0)},
            {.in = {S(31, 33), S(33, 32), NOT_GIVEN}, .attrs = T(0, 0)},
            {.in = {S(1, 4099), S(4099, 33), NOT_GIVEN}, .attrs = T(0, 0)},
            {.in = {S(1, 131), S(139, 131), NOT_GIVEN}, .attrs = T(0, 1)},
            {.in = {S(2, 3, 70), S(150, 70), S(2, 3, 150)}, .attrs = T(0, 1)},
            {.in = {S(7, 130), S(130, 167), S(7, 167)}, .attrs = T(0, 0), .values = VALUES_WIDE},
            {.in = {S(65, 130), S(130, 67), S(65, 67)}, .attrs = T(0, 0), .values = VALUES_WIDE},
            {.in = {S(130, 65), S(130, 67), NOT_GIVEN}, .attrs = T(1, 0), .values = VALUES_LARGE_OFFSET},
            {.in = {S(33, 70), S(33, 131), NOT_GIVEN}, .attrs = T(1, 0, 1)},
            {.in = {S(39, 1160), S(48, 1160), S(39, 48)}, .attrs = T(0, 1)},
            {.in = {S(1160, 40), S(1160, 72), NOT_GIVEN}, .attrs = T(1, 0, 1)},
            {.in = {S(130, 72), S(72, 40), NOT_GIVEN}, .attrs = T(0, 0)},
            {.in = {S(72, 136), S(48, 72), NOT_GIVEN}, .attrs = T(1, 1)}),
};

ingot_value *ingot_matmul_with(ingot_build *b, ingot_value *x, ingot_value *y, ingot_value *c, int trans_x, int trans_y)
{
    matmul_attrs t = {!!trans_x, !!trans_y, 0};
    return c ? APPLY(b, &op_matmul_def, &t, x, y, c) : APPLY(b, &op_matmul_def, &t, x, y);
}

value *matmul_wide(build *b, value *x, value *y, value *c, int64_t trans_x, int64_t trans_y)
{
    matmul_attrs t = {trans_x, trans_y, 1};
    return c ? APPLY(b, &op_matmul_def, &t, x, y, c) : APPLY(b, &op_matmul_def, &t, x, y);
}

ingot_value *ingot_matmul(ingot_build *b, ingot_value *x, ingot_value *y)
{
    return ingot_matmul_with(b, x, y, NULL, 0, 0);
}

matmul_shape matmul_shape_of(const step *s)
{
    const matmul_attrs *t = s->node->attrs;
    const tensor *x = &s->in[0], *y = &s->in[1];
    int64_t xr = x->shape.rank, yr = y->shape.rank;
    matmul_shape p = {.batch = 1};
    p.m = s->out[0].shape.dim[s->out[0].shape.rank - 2];
    p.n = s->out[0].shape.dim[s->out[0].shape.rank - 1];
    p.k = x->shape.dim[xr - (t->trans_a ? 2 : 1)];
    p.a_row = x->stride[xr - (t->trans_a ? 1 : 2)];
    p.a_col = x->stride[xr - (t->trans_a ? 2 : 1)];
    p.b_row = y->stride[yr - (t->trans_b ? 1 : 2)];
    p.b_col = y->stride[yr - (t->trans_b ? 2 : 1)];
    for (int64_t i = 0; i < s->out[0].shape.rank - 2; i++) p.batch *= s->out[0].shape.dim[i];
    bool rows_follow = !t->trans_a && xr == s->out[0].shape.rank;
    for (int64_t i = 0; i < yr - 2; i++) rows_follow &= y->shape.dim[i] == 1;
    for (int64_t i = 0; i < xr - 2; i++) rows_follow &= x->stride[i] == x->stride[i + 1] * x->shape.dim[i + 1];
    if (rows_follow) {
        p.m *= p.batch;
        p.batch = 1;
    }
    return p;
}

void matmul_offsets(const step *s, int64_t i, int64_t *a, int64_t *b)
{
    const tensor *x = &s->in[0], *y = &s->in[1];
    const shape *to = &s->out[0].shape;
    *a = *b = 0;
    for (int64_t axis = 3; axis <= to->rank; axis++) {
        int64_t at = i % to->dim[to->rank - axis];
        i /= to->dim[to->rank - axis];
        if (axis <= x->shape.rank && x->shape.dim[x->shape.rank - axis] != 1)
            *a += at * x->stride[x->shape.rank - axis];
        if (axis <= y->shape.rank && y->shape.dim[y->shape.rank - axis] != 1)
            *b += at * y->stride[y->shape.rank - axis];
    }
}
