/* Where the largest element of a row is: greedy sampling, accuracy. */
#include "ops/table.h"

static status infer(build *b, const node *n, inferred *out)
{
    shape s = n->in[0]->shape;
    if (s.rank < 1) return infer_fail(b, n, "takes at least one dim, got a scalar");
    s.rank--;
    out[0] = (inferred){.dtype = INGOT_I32, .shape = s};
    return INGOT_OK;
}

const op_def op_argmax_def = {
    .name = "argmax",
    .doc = "y = index of the largest element along the last dim, the first of equal ones: x (..., C), y (...) int32. "
           "NaN is "
           "never the largest. Not differentiable.",
    .inputs = {{"x", FLOAT}},
    .outputs = {{"y"}},
    .traits = OP_PRIMITIVE | OP_NOT_DIFFERENTIABLE,
    .infer = infer,
    SAMPLES({.in = {S(2, 3, 5)}}, {.in = {S(1)}}, {.in = {S(31, 33)}, .values = VALUES_WIDE},
            {.in = {S(4, 4099)}, .values = VALUES_ONE_DOMINANT}, {.in = {S(3, 32)}, .values = VALUES_ALL_EQUAL},
            {.in = {S(5, 31)}, .values = VALUES_MASKED}),
};

ingot_value *ingot_argmax(ingot_build *b, ingot_value *x)
{
    return APPLY(b, &op_argmax_def, NULL, x);
}
