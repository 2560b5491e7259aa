/* Dropout (Srivastava et al. 2014). No mask is kept: the gradient draws the same numbers again. */
#include "ops/dropout/dropout.h"

#include <stdio.h>

static status infer(build *b, const node *n, inferred *out)
{
    (void)out;
    const value *rng = n->in[1];
    char dims[128];
    if (rng->dtype != INGOT_I32 || rng->shape.rank != 1 || rng->shape.dim[0] != 4)
        return infer_fail(b, n, "rng is %s%s, not int32 (4): seed's low half, its high half, step, micro-batch",
                          ingot_dtype_name(rng->dtype), shape_print(dims, rng->shape));
    return INGOT_OK;
}

static void lower(build *b, const node *n, value **out)
{
    const dropout_attrs *a = n->attrs;
    char formula[96];
    snprintf(formula, sizeof formula, "where(b < %.17g, 0, a * %.17g)", a->p, 1 / (1 - a->p));
    value *u = ingot_cast(b, ingot_random_uniform(b, n->in[1], a->stream, n->in[0]->shape), n->in[0]->dtype);
    out[0] = ingot_pointwise(b, formula, (value *const[]){n->in[0], u}, 2);
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = APPLY(b, &op_dropout_def, n->attrs, dout[0], n->in[1]);
}

static op_cost cost(const node *n)
{
    return (op_cost){.flops = 22.0 * (double)shape_count(n->out[0]->shape),
                     .bytes = 2.0 * (double)value_bytes(n->out[0])};
}

#define A(p, stream)                                                                                                   \
    &(const dropout_attrs)                                                                                             \
    {                                                                                                                  \
        p, stream                                                                                                      \
    }
const op_def op_dropout_def = {
    .name = "dropout",
    .doc = "y = x / (1 - p) with probability 1 - p, else 0: kept where random_uniform(rng, stream) >= p. x (...), rng "
           "int32 "
           "(4) as in random_uniform. Srivastava et al. 2014.",
    .inputs = {{"x", FLOAT}, {"rng", INTEGER}},
    .outputs = {{"y", .like = INPUT(0), .may_reuse = INPUT(0)}},
    ATTRS(dropout_attrs, ATTR(dropout_attrs, p, ATTR_F64, .minimum = 0, .maximum = 0.999),
          ATTR(dropout_attrs, stream, ATTR_I64)),
    .traits = OP_WIDE | OP_RANDOM,
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(2048, 3072), S(4)}, .attrs = A(0.1, 3)}),
    SAMPLES({.in = {S(2, 3, 5), S(4)}, .attrs = A(0.5, 3)}, {.in = {S(1), S(4)}, .attrs = A(0.25, 0)},
            {.in = {S(31, 33), S(4)}, .attrs = A(0, 1)},
            {.in = {S(5, 4099), S(4)}, .attrs = A(0.0999755859375, 2), .values = VALUES_WIDE, .below = {[1] = 1 << 30}},
            {.in = {S(32), S(4)}, .attrs = A(0.75, 9), .values = VALUES_MASKED, .no_gradient = true}),
};

ingot_value *ingot_dropout(ingot_build *b, ingot_value *x, ingot_value *rng, double p, int64_t stream)
{
    if (p == 0) return x;
    return APPLY(b, &op_dropout_def, &((dropout_attrs){(float)p, stream}), x, rng);
}
