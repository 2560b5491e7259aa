/* Uniform random numbers as a pure function of where and when they are drawn: nothing has to be kept to draw them again. */
#include "ops/random_uniform/random_uniform.h"

static status infer(build *b, const node *n, inferred *out)
{
    const value *rng = n->in[0];
    char dims[128];
    if (rng->dtype != INGOT_I32 || rng->shape.rank != 1 || rng->shape.dim[0] != 4)
        return infer_fail(b, n, "rng is %s%s, not int32 (4): seed's low half, its high half, step, micro-batch",
                          ingot_dtype_name(rng->dtype), shape_print(dims, rng->shape));
    out[0] = (inferred){.dtype = INGOT_F32, .shape = ATTRS_OF(random_attrs, n)->shape};
    return INGOT_OK;
}

static op_cost cost(const node *n)
{
    double elements = (double)shape_count(n->out[0]->shape);
    return (op_cost){.flops = 20 * elements, .bytes = (double)value_bytes(n->out[0])};
}

#define A(stream, ...)                                                                                                 \
    &(const random_attrs)                                                                                              \
    {                                                                                                                  \
        stream, S(__VA_ARGS__)                                                                                         \
    }
const op_def op_random_uniform_def = {
    .name = "random_uniform",
    .doc = "y uniform in [0, 1) from Philox4x32-10 (Salmon et al. 2011) at counter (seed, step, micro-batch, stream, "
           "element): rng int32 (4) holds seed's low and high half, step and micro-batch.",
    .inputs = {{"rng", INTEGER}},
    .outputs = {{"y"}},
    ATTRS(random_attrs, ATTR(random_attrs, stream, ATTR_I64), ATTR(random_attrs, shape, ATTR_SHAPE)),
    .traits = OP_PRIMITIVE | OP_RANDOM | OP_NOT_DIFFERENTIABLE,
    .infer = infer,
    .cost = cost,
    SAMPLES({.in = {S(4)}, .attrs = A(0, 2, 3, 5)}, {.in = {S(4)}, .attrs = A(7, 1)},
            {.in = {S(4)}, .attrs = A(1, 33, 31)}, {.in = {S(4)}, .attrs = A(2, 4099), .below = {1 << 30}}),
};

ingot_value *ingot_random_uniform(ingot_build *b, ingot_value *rng, int64_t stream, ingot_shape shape)
{
    return APPLY(b, &op_random_uniform_def, &((random_attrs){stream, shape}), rng);
}
