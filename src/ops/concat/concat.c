/* Values one after the other along an axis. */
#include "ops/concat/concat.h"

static status infer(build *b, const node *n, inferred *out)
{
    const concat_attrs *a = n->attrs;
    shape s = n->in[0]->shape;
    char one[128], other[128];
    if (a->axis < 0 || a->axis >= s.rank) return infer_fail(b, n, "there is no such axis in %s", shape_print(one, s));
    for (int i = 1; i < n->inputs; i++) {
        shape next = n->in[i]->shape;
        if (next.rank != s.rank) return infer_fail(b, n, "%s beside %s", shape_print(one, next), shape_print(other, s));
        s.dim[a->axis] += next.dim[a->axis];
        next.dim[a->axis] = s.dim[a->axis];
        if (!shape_equal(next, s) || n->in[i]->dtype != n->in[0]->dtype)
            return infer_fail(b, n, "input %d, %s, does not fit the ones before it", i,
                              shape_print(one, n->in[i]->shape));
    }
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = s};
    return INGOT_OK;
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    const concat_attrs *a = n->attrs;
    int64_t start = 0;
    for (int i = 0; i < n->inputs; i++) {
        int64_t length = n->in[i]->shape.dim[a->axis];
        if (need[i]) din[i] = ingot_slice(b, dout[0], (int)a->axis, start, length);
        start += length;
    }
}

const op_def op_concat_def = {
    .name = "concat",
    .doc = "The inputs one after the other along `axis`; the other dims are equal.",
    .inputs = {{"x", ANY, .variadic = true}},
    .outputs = {{"y"}},
    ATTRS(concat_attrs, ATTR(concat_attrs, axis, ATTR_I64)),
    .traits = OP_PRIMITIVE,
    .infer = infer,
    .grad = grad,
    SAMPLES({.in = {S(2, 3, 5), S(2, 4, 5)}, .attrs = &(const concat_attrs){1}, .inputs = 2},
            {.in = {S(1), S(33), S(4099)}, .attrs = &(const concat_attrs){0}, .inputs = 3},
            {.in = {S(5, 32), S(5, 16), S(5, 8)}, .attrs = &(const concat_attrs){1}, .inputs = 3},
            {.in = {S(3, 31), S(3, 33)}, .attrs = &(const concat_attrs){1}, .inputs = 2, .values = VALUES_WIDE}),
};

ingot_value *ingot_concat(ingot_build *b, ingot_value *const *in, int count, int axis)
{
    if (count < 1 || !in[0]) return NULL;
    return op_apply(b, &op_concat_def, in, count, &((concat_attrs){axis_of(axis, in[0]->shape.rank)}));
}
