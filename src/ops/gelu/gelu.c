/* GELU in its tanh form, with (1 + tanh u) / 2 as sigmoid(2 u). A pointwise op whose gradient is an op as well, so that
 * passes can find both beside the products around them (ops/linear_gelu).
 */
#include "ops/gelu/gelu.h"
#include "ops/pointwise/pointwise.h"

#define DOUBLE_U "a * (1.5957691216057308 + 0.07135481627260025 * a * a)"

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = gelu_grad(b, n->in[0], dout[0]);
}

static op_cost cost(const node *n)
{
    op_cost c = {.flops = 8 * (double)shape_count(n->out[0]->shape), .bytes = (double)value_bytes(n->out[0])};
    for (int i = 0; i < n->inputs; i++) c.bytes += (double)value_bytes(n->in[i]);
    return c;
}

#define GELU_SAMPLES                                                                                                   \
    BENCH({.in = {S(2048, 3072), S(2048, 3072)}}),                                                                     \
        SAMPLES({.in = {S(2, 3, 5), S(2, 3, 5)}}, {.in = {S(1), S(1)}}, {.in = {S(4099), S(4099)}},                    \
                {.in = {S(31, 33), S(31, 33)}, .values = VALUES_WIDE, .no_gradient = true},                            \
                {.in = {S(257), S(257)}, .values = VALUES_LARGE, .no_gradient = true})

const op_def op_gelu_def = {
    .name = "gelu",
    .doc = "y = a Phi(a) in its tanh form, gelu_new of GPT-2. Hendrycks & Gimpel 2016.",
    .formula = "a * sigmoid(" DOUBLE_U ")",
    .inputs = {{"a", ANY}},
    .outputs = {{"y", .may_reuse = INPUT(0)}},
    .infer = formula_infer,
    .lower = formula_lower,
    .grad = grad,
    .cost = cost,
    GELU_SAMPLES,
};

const op_def op_gelu_grad_def = {
    .name = "gelu_grad",
    .doc = "The gradient of gelu: y = b gelu'(a).",
    .formula = "b * (sigmoid(" DOUBLE_U ") + a * sigmoid(" DOUBLE_U ") * (1 - sigmoid(" DOUBLE_U
               ")) * (1.5957691216057308 + 0.21406444881780074 * a * a))",
    .inputs = {{"a", ANY}, {"b", ANY}},
    .outputs = {{"y", .may_reuse = INPUT(0)}},
    .traits = OP_INTERNAL,
    .infer = formula_infer,
    .lower = formula_lower,
    .cost = cost,
    GELU_SAMPLES,
};

ingot_value *ingot_gelu(ingot_build *b, ingot_value *x)
{
    return APPLY(b, &op_gelu_def, NULL, x);
}

value *gelu_grad(build *b, value *x, value *dy)
{
    return APPLY(b, &op_gelu_grad_def, NULL, x, dy);
}
