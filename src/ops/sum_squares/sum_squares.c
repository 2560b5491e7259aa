/* The sum of squares of a flat group: what a global norm is made of. */
#include "ops/table.h"

static status infer(build *b, const node *n, inferred *out)
{
    (void)b;
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = {.rank = 0}};
    return INGOT_OK;
}

static void lower(build *b, const node *n, value **out)
{
    out[0] = ingot_sum_all(b, ingot_square(b, n->in[0]));
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = ingot_pointwise(b, "2 * a * b", (value *[]){n->in[0], dout[0]}, 2);
}

static op_cost cost(const node *n)
{
    return (op_cost){.flops = 2.0 * (double)shape_count(n->in[0]->shape), .bytes = (double)value_bytes(n->in[0])};
}

const op_def op_sum_squares_def = {
    .name = "sum_squares",
    .doc = "y = sum of x^2 over all elements; x any shape, y a scalar. Kernels add blocks of a fixed length in "
           "float64, so "
           "that the result depends on neither length nor threads.",
    .inputs = {{"x", FLOAT}},
    .outputs = {{"y"}},
    .traits = OP_WIDE,
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(16777216)}}),
    SAMPLES({.in = {S(2, 3, 5)}}, {.in = {S(1)}}, {.in = {S(31, 33)}, .values = VALUES_WIDE}, {.in = {S(4096)}},
            {.in = {S(4099)}, .values = VALUES_LARGE_OFFSET}, {.in = {S(70001)}, .values = VALUES_LARGE},
            {.in = {S(33)}, .values = VALUES_TINY}, {.in = {S(5000)}, .values = VALUES_ALL_EQUAL},
            {.in = {S(4, 1030)}, .values = VALUES_ONE_DOMINANT}),
};

ingot_value *ingot_sum_squares(ingot_build *b, ingot_value *x)
{
    return APPLY(b, &op_sum_squares_def, NULL, x);
}
