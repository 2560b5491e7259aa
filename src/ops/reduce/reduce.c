/* Sums and maxima over one axis. */
#include "ops/reduce/reduce.h"

static status infer(build *b, const node *n, inferred *out)
{
    const reduce_attrs *a = n->attrs;
    shape from = n->in[0]->shape, to = {0};
    char dims[128];
    if (a->axis < 0 || a->axis >= from.rank)
        return infer_fail(b, n, "there is no such axis in %s", shape_print(dims, from));
    for (int64_t i = 0; i < from.rank; i++) {
        if (i != a->axis)
            to.dim[to.rank++] = from.dim[i];
        else if (a->keep)
            to.dim[to.rank++] = 1;
    }
    bool wide = a->wide && dtype_is_narrow(n->in[0]->dtype);
    out[0] = (inferred){.dtype = wide ? INGOT_F32 : n->in[0]->dtype, .shape = to};
    return INGOT_OK;
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    const reduce_attrs *a = n->attrs;
    if (!need[0]) return;
    value *x = n->in[0];
    shape kept = x->shape;
    kept.dim[a->axis] = 1;
    value *d = ingot_reshape(b, ingot_cast(b, dout[0], x->dtype), kept);
    if (a->kind == REDUCE_SUM) {
        din[0] = ingot_expand(b, d, x->shape);
        return;
    }
    /* The gradient of a maximum is shared by the elements that reach it. */
    value *hit = ingot_equal(b, x, ingot_reshape(b, n->out[0], kept));
    value *hits = ingot_sum(b, hit, (int)a->axis, 1);
    din[0] = ingot_mul(b, hit, ingot_div(b, d, hits));
}

static op_cost cost(const node *n)
{
    return (op_cost){.flops = (double)shape_count(n->in[0]->shape),
                     .bytes = (double)(value_bytes(n->in[0]) + value_bytes(n->out[0]))};
}

const op_def op_reduce_def = {
    .name = "reduce",
    .doc = "y = sum (kind 0) or maximum (kind 1) of x over one axis; keep: the axis stays with size 1; wide: "
           "the sum of 16-bit x is float32.",
    .inputs = {{"x", ANY}},
    .outputs = {{"y"}},
    ATTRS(reduce_attrs, ATTR(reduce_attrs, kind, ATTR_I64, .minimum = 0, .maximum = 1),
          ATTR(reduce_attrs, axis, ATTR_I64), ATTR(reduce_attrs, keep, ATTR_I64),
          ATTR(reduce_attrs, wide, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_PRIMITIVE,
    .infer = infer,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(4096, 4096)}, .attrs = &(const reduce_attrs){REDUCE_SUM, 1, 0, 0}},
          {.in = {S(4096, 4096)}, .attrs = &(const reduce_attrs){REDUCE_SUM, 0, 0, 0}}),
    SAMPLES({.in = {S(2, 3, 5)}, .attrs = &(const reduce_attrs){REDUCE_SUM, 2, 0, 0}},
            {.in = {S(2, 3, 5)}, .attrs = &(const reduce_attrs){REDUCE_SUM, 0, 1, 0}},
            {.in = {S(2, 3, 5)}, .attrs = &(const reduce_attrs){REDUCE_MAX, 1, 0, 0}},
            {.in = {S(31, 33)}, .attrs = &(const reduce_attrs){REDUCE_SUM, 0, 0, 0}, .values = VALUES_WIDE},
            {.in = {S(4, 4099)}, .attrs = &(const reduce_attrs){REDUCE_SUM, 1, 0, 0}, .values = VALUES_LARGE_OFFSET},
            {.in = {S(4, 4099)}, .attrs = &(const reduce_attrs){REDUCE_MAX, 1, 1, 0}, .values = VALUES_ONE_DOMINANT},
            {.in = {S(67, 31)}, .attrs = &(const reduce_attrs){REDUCE_SUM, 0, 0, 1}},
            {.in = {S(4100, 40)}, .attrs = &(const reduce_attrs){REDUCE_SUM, 0, 0, 0}},
            {.in = {S(4133, 8)}, .attrs = &(const reduce_attrs){REDUCE_MAX, 0, 0, 0}},
            {.in = {S(1)}, .attrs = &(const reduce_attrs){REDUCE_SUM, 0, 0, 0}}),
};

static value *reduce(build *b, value *x, int axis, int keep, reduce_kind kind)
{
    if (!x) return NULL;
    return APPLY(b, &op_reduce_def, &((reduce_attrs){kind, axis_of(axis, x->shape.rank), keep, 0}), x);
}

value *sum_wide(build *b, value *x, int axis, int keep)
{
    if (!x) return NULL;
    return APPLY(b, &op_reduce_def, &((reduce_attrs){REDUCE_SUM, axis_of(axis, x->shape.rank), keep, 1}), x);
}

ingot_value *ingot_sum(ingot_build *b, ingot_value *x, int axis, int keep)
{
    return reduce(b, x, axis, keep, REDUCE_SUM);
}

ingot_value *ingot_max(ingot_build *b, ingot_value *x, int axis, int keep)
{
    return reduce(b, x, axis, keep, REDUCE_MAX);
}

ingot_value *ingot_mean(ingot_build *b, ingot_value *x, int axis, int keep)
{
    value *sum = ingot_sum(b, x, axis, keep);
    return sum ? ingot_mul_scalar(b, sum, 1.0 / (double)x->shape.dim[axis_of(axis, x->shape.rank)]) : NULL;
}

ingot_value *ingot_sum_all(ingot_build *b, ingot_value *x)
{
    if (!x) return NULL;
    return ingot_sum(b, ingot_reshape(b, x, ingot_shape_of(1, &(int64_t){shape_count(x->shape)})), 0, 0);
}
