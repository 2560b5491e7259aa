/* Rounding to 16 bits by chance: up or down so that the mean is the number itself (Gupta et al. 2015). What is too small to
 * change a rounded weight in one step changes it in some of many.
 */
#include "ops/stochastic_round/stochastic_round.h"

static status infer(build *b, const node *n, inferred *out)
{
    const value *rng = n->in[1];
    dtype to = (dtype)ATTRS_OF(stochastic_round_attrs, n)->dtype;
    char dims[128];
    if (!dtype_is_narrow(to)) return infer_fail(b, n, "rounds to bfloat16 or float16, not to %s", ingot_dtype_name(to));
    if (rng->dtype != INGOT_I32 || rng->shape.rank != 1 || rng->shape.dim[0] != 4)
        return infer_fail(b, n, "rng is %s%s, not int32 (4): seed's low half, its high half, step, micro-batch",
                          ingot_dtype_name(rng->dtype), shape_print(dims, rng->shape));
    out[0] = (inferred){.dtype = to, .shape = n->in[0]->shape};
    return INGOT_OK;
}

static op_cost cost(const node *n)
{
    return (op_cost){.flops = 25.0 * (double)shape_count(n->out[0]->shape),
                     .bytes = (double)(value_bytes(n->in[0]) + value_bytes(n->out[0]))};
}

bool stochastic_round_match(const node *n, const device_caps *caps)
{
    (void)caps;
    return n->in[0]->dtype == INGOT_F32 && dtype_is_narrow(n->out[0]->dtype);
}

#define A(...)                                                                                                         \
    .attrs = &(const stochastic_round_attrs)                                                                           \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
const op_def op_stochastic_round_def = {
    .name = "stochastic_round",
    .doc = "y = one of the two 16-bit numbers next to x, the upper one with probability (x - lower) / (upper - lower): "
           "the "
           "mean of y is x. Decided by Philox at (seed, step, micro-batch, stream, element): x (...) float32, rng "
           "int32 (4) "
           "as in random_uniform. Finite numbers stay finite up to the format's largest. Gupta et al. 2015.",
    .inputs = {{"x", FLOAT, .wide = true}, {"rng", INTEGER}},
    .outputs = {{"y"}},
    ATTRS(stochastic_round_attrs, ATTR(stochastic_round_attrs, dtype, ATTR_I64),
          ATTR(stochastic_round_attrs, stream, ATTR_I64)),
    .traits = OP_PRIMITIVE | OP_RANDOM | OP_NOT_DIFFERENTIABLE,
    .infer = infer,
    .cost = cost,
    BENCH({.in = {S(16777216), S(4)}, A(INGOT_BF16, 1)}),
    SAMPLES({.in = {S(2, 3, 5), S(4)}, A(INGOT_BF16, 1)}, {.in = {S(1), S(4)}, A(INGOT_F16, 0)},
            {.in = {S(31, 33), S(4)}, A(INGOT_F16, 2), .values = VALUES_WIDE},
            {.in = {S(5, 4099), S(4)}, A(INGOT_BF16, 7), .values = VALUES_WIDE, .below = {[1] = 1 << 30}},
            {.in = {S(65), S(4)}, A(INGOT_F16, 3), .values = VALUES_TINY},
            {.in = {S(32), S(4)}, A(INGOT_BF16, 9), .values = VALUES_MASKED}),
};

ingot_value *ingot_stochastic_round(ingot_build *b, ingot_value *x, ingot_value *rng, ingot_dtype to, int64_t stream)
{
    return APPLY(b, &op_stochastic_round_def, &((stochastic_round_attrs){to, stream}), x, rng);
}
