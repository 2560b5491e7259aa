/* Softmax and its logarithm over the last dim. */
#include "ops/table.h"

static status infer(build *b, const node *n, inferred *out)
{
    (void)out;
    char one[128], other[128];
    if (n->in[0]->shape.rank < 1) return infer_fail(b, n, "takes at least one dim, got a scalar");
    if (n->inputs > 1 && !shape_equal(n->in[0]->shape, n->in[1]->shape))
        return infer_fail(b, n, "dy is %s, y is %s", shape_print(one, n->in[0]->shape),
                          shape_print(other, n->in[1]->shape));
    return INGOT_OK;
}

static op_cost cost(const node *n)
{
    return (op_cost){.flops = 5.0 * (double)shape_count(n->in[0]->shape),
                     .bytes = (double)(n->inputs + 1) * (double)value_bytes(n->in[0])};
}

static void softmax_lower(build *b, const node *n, value **out)
{
    value *e = ingot_exp(b, ingot_sub(b, n->in[0], ingot_max(b, n->in[0], -1, 1)));
    out[0] = ingot_div(b, e, ingot_sum(b, e, -1, 1));
}

static void softmax_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = APPLY(b, &op_softmax_grad_def, NULL, dout[0], n->out[0]);
}

static void softmax_grad_lower(build *b, const node *n, value **out)
{
    value *dy = n->in[0], *y = n->in[1];
    value *along = ingot_sum(b, ingot_mul(b, dy, y), -1, 1);
    out[0] = ingot_pointwise(b, "b * (a - c)", (value *const[]){dy, y, along}, 3);
}

static void log_softmax_lower(build *b, const node *n, value **out)
{
    value *centred = ingot_sub(b, n->in[0], ingot_max(b, n->in[0], -1, 1));
    out[0] = ingot_sub(b, centred, ingot_log(b, ingot_sum(b, ingot_exp(b, centred), -1, 1)));
}

static void log_softmax_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = APPLY(b, &op_log_softmax_grad_def, NULL, dout[0], n->out[0]);
}

static void log_softmax_grad_lower(build *b, const node *n, value **out)
{
    value *dy = n->in[0], *y = n->in[1], *sum = ingot_sum(b, dy, -1, 1);
    out[0] = ingot_pointwise(b, "a - exp(b) * c", (value *const[]){dy, y, sum}, 3);
}

const op_def op_softmax_def = {
    .name = "softmax",
    .doc = "y = e^x / sum(e^x) over the last dim. A row whose elements are all -inf gives NaN.",
    .inputs = {{"x", FLOAT}},
    .outputs = {{"y", .like = INPUT(0), .may_reuse = INPUT(0)}},
    .traits = OP_WIDE,
    .infer = infer,
    .lower = softmax_lower,
    .grad = softmax_grad,
    .cost = cost,
    BENCH({.in = {S(128, 1024)}}, {.in = {S(4096, 4096)}}),
    SAMPLES({.in = {S(2, 3, 5)}}, {.in = {S(1)}}, {.in = {S(31, 33)}, .values = VALUES_WIDE, .no_gradient = true},
            {.in = {S(4, 4099)}}, {.in = {S(3, 32)}, .values = VALUES_ALL_EQUAL},
            {.in = {S(3, 31)}, .values = VALUES_ONE_DOMINANT}, {.in = {S(3, 257)}, .values = VALUES_TINY},
            {.in = {S(5, 33)}, .values = VALUES_MASKED, .no_gradient = true},
            {.in = {S(4, 4099)}, .values = VALUES_LARGE_OFFSET, .no_gradient = true}),
};

const op_def op_softmax_grad_def = {
    .name = "softmax_grad",
    .doc = "The gradient of softmax from its result: dx = y (dy - sum(dy y)).",
    .inputs = {{"dy", FLOAT}, {"y", FLOAT}},
    .outputs = {{"dx", .like = INPUT(1), .may_reuse = INPUT(0)}},
    .traits = OP_WIDE | OP_INTERNAL,
    .infer = infer,
    .lower = softmax_grad_lower,
    .cost = cost,
    BENCH({.in = {S(128, 1024), S(128, 1024)}}, {.in = {S(4096, 4096), S(4096, 4096)}}),
    SAMPLES({.in = {S(2, 3, 5), S(2, 3, 5)}}, {.in = {S(1), S(1)}}, {.in = {S(31, 33), S(31, 33)}},
            {.in = {S(4, 4099), S(4, 4099)}, .values_of = {[1] = VALUES_POSITIVE}}),
};

const op_def op_log_softmax_def = {
    .name = "log_softmax",
    .doc = "y = x - log(sum(e^x)) over the last dim.",
    .inputs = {{"x", FLOAT}},
    .outputs = {{"y", .like = INPUT(0), .may_reuse = INPUT(0)}},
    .traits = OP_WIDE,
    .infer = infer,
    .lower = log_softmax_lower,
    .grad = log_softmax_grad,
    .cost = cost,
    BENCH({.in = {S(128, 1024)}}, {.in = {S(4096, 4096)}}),
    SAMPLES({.in = {S(2, 3, 5)}}, {.in = {S(1)}}, {.in = {S(31, 33)}, .values = VALUES_WIDE, .no_gradient = true},
            {.in = {S(4, 4099)}}, {.in = {S(3, 32)}, .values = VALUES_ALL_EQUAL},
            {.in = {S(3, 31)}, .values = VALUES_ONE_DOMINANT}, {.in = {S(3, 257)}, .values = VALUES_TINY},
            {.in = {S(4, 4099)}, .values = VALUES_LARGE_OFFSET, .no_gradient = true}),
};

const op_def op_log_softmax_grad_def = {
    .name = "log_softmax_grad",
    .doc = "The gradient of log_softmax from its result: dx = dy - e^y sum(dy).",
    .inputs = {{"dy", FLOAT}, {"y", FLOAT}},
    .outputs = {{"dx", .like = INPUT(1), .may_reuse = INPUT(0)}},
    .traits = OP_WIDE | OP_INTERNAL,
    .infer = infer,
    .lower = log_softmax_grad_lower,
    .cost = cost,
    BENCH({.in = {S(128, 1024), S(128, 1024)}}, {.in = {S(4096, 4096), S(4096, 4096)}}),
    SAMPLES({.in = {S(2, 3, 5), S(2, 3, 5)}}, {.in = {S(1), S(1)}}, {.in = {S(31, 33), S(31, 33)}},
            {.in = {S(4, 4099), S(4, 4099)}}, {.in = {S(5, 65), S(5, 65)}, .values_of = {VALUES_WIDE}}),
};

ingot_value *ingot_softmax(ingot_build *b, ingot_value *x)
{
    return APPLY(b, &op_softmax_def, NULL, x);
}

ingot_value *ingot_log_softmax(ingot_build *b, ingot_value *x)
{
    return APPLY(b, &op_log_softmax_def, NULL, x);
}
