/* Cross-entropy of rows of logits with one target each. Probabilities are never kept: the gradient makes them again from
 * the logits and one number a row.
 */
#include "ops/cross_entropy/cross_entropy.h"

#include <stdio.h>

static status check(build *b, const node *n, const value *logits, const value *targets)
{
    char one[128], other[128];
    shape s = logits->shape;
    if (s.rank != 2 || targets->shape.rank != 1 || targets->shape.dim[0] != s.dim[0] || targets->dtype != INGOT_I32)
        return infer_fail(b, n, "logits %s and targets %s%s do not fit: they must be (N, V) and int32 (N)",
                          shape_print(one, s), ingot_dtype_name(targets->dtype), shape_print(other, targets->shape));
    return INGOT_OK;
}

static status infer(build *b, const node *n, inferred *out)
{
    TRY(check(b, n, n->in[0], n->in[1]));
    out[CROSS_ENTROPY_LOSSES] = (inferred){.dtype = dtype_statistic(n->in[0]->dtype), .shape = n->in[1]->shape};
    out[CROSS_ENTROPY_LSE] = out[CROSS_ENTROPY_LOSSES];
    return INGOT_OK;
}

/* Targets as a column of floats: they are below 2^24. */
static value *column(build *b, value *v, dtype d)
{
    return ingot_cast(b, ingot_reshape(b, v, INGOT_SHAPE(-1, 1)), d);
}

/* "(0 <= b) * (b < V)" */
static const char *counted(char formula[96], const char *format, int64_t columns)
{
    snprintf(formula, 96, format, (long long)columns);
    return formula;
}

static void lower(build *b, const node *n, value **out)
{
    dtype d = dtype_statistic(n->in[0]->dtype);
    int64_t columns = n->in[0]->shape.dim[1];
    char formula[96];
    value *x = ingot_cast(b, n->in[0], d), *target = column(b, n->in[1], d);
    value *max = ingot_max(b, x, -1, 1);
    value *lse = ingot_add(b, max, ingot_log(b, ingot_sum(b, ingot_exp(b, ingot_sub(b, x, max)), -1, 1))); /* (N, 1) */
    lse = ingot_pointwise(b, counted(formula, "where((0 <= b) * (b < %lld), a, 0)", columns),
                          (value *const[]){lse, target}, 2);
    value *index = ingot_iota(b, d, INGOT_SHAPE(columns), 0);
    value *hit = ingot_pointwise(b, "where(b == c, a, 0)", (value *const[]){x, index, target}, 3);
    value *losses = ingot_sub(b, lse, ingot_sum(b, hit, -1, 1));
    out[CROSS_ENTROPY_LOSSES] = ingot_reshape(b, losses, n->in[1]->shape);
    if (n->out[CROSS_ENTROPY_LSE]) out[CROSS_ENTROPY_LSE] = ingot_reshape(b, lse, n->in[1]->shape);
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (dout[CROSS_ENTROPY_LSE]) {
        build_fail(b, INGOT_ERROR_UNSUPPORTED, "[cross_entropy] lse is kept for the gradient and has none itself");
        return;
    }
    value *lse = node_output(b, n, CROSS_ENTROPY_LSE);
    if (need[0]) din[0] = APPLY(b, &op_cross_entropy_grad_def, NULL, n->in[0], n->in[1], lse, dout[0]);
}

static op_cost cost(const node *n)
{
    return (op_cost){.flops = 4.0 * (double)shape_count(n->in[0]->shape), .bytes = (double)value_bytes(n->in[0])};
}

const op_def op_cross_entropy_def = {
    .name = "cross_entropy",
    .doc = "losses[i] = lse[i] - logits[i, targets[i]], lse = log(sum(e^logits)) of the row: logits (N, V), targets "
           "int32 (N), "
           "losses (N). A target outside [0, V), such as -1, masks its row: loss and lse are 0.",
    .inputs = {{"logits", FLOAT}, {"targets", INTEGER}},
    .outputs = {{"losses"}, {"lse", .optional = true, .no_gradient = true}},
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(256, 50257), S(256)}, .below = {[1] = 50257}}),
    SAMPLES({.in = {S(3, 5), S(3)}, .below = {[1] = 5}}, {.in = {S(1, 1), S(1)}, .below = {[1] = 1}},
            {.in = {S(31, 33), S(31)}, .below = {[1] = 44}}, {.in = {S(5, 4099), S(5)}, .below = {[1] = 4099}},
            {.in = {S(33, 257), S(33)}, .values = VALUES_TINY, .below = {[1] = 257}},
            {.in = {S(4, 32), S(4)}, .values = VALUES_ALL_EQUAL, .below = {[1] = 32}},
            {.in = {S(9, 65), S(9)}, .values = VALUES_ONE_DOMINANT, .below = {[1] = 65}},
            {.in = {S(9, 65), S(9)}, .values = VALUES_WIDE, .below = {[1] = 65}, .no_gradient = true},
            {.in = {S(4, 4099), S(4)}, .values = VALUES_LARGE_OFFSET, .below = {[1] = 4099}, .no_gradient = true}),
};

ingot_value *ingot_cross_entropy(ingot_build *b, ingot_value *logits, ingot_value *targets)
{
    return APPLY(b, &op_cross_entropy_def, NULL, logits, targets);
}

/* cross_entropy_grad */

static status grad_infer(build *b, const node *n, inferred *out)
{
    (void)out;
    TRY(check(b, n, n->in[0], n->in[1]));
    char one[128], other[128];
    shape rows = n->in[1]->shape;
    if (!shape_equal(n->in[2]->shape, rows) || !shape_equal(n->in[3]->shape, rows))
        return infer_fail(b, n, "lse is %s, dlosses are %s", shape_print(one, n->in[2]->shape),
                          shape_print(other, n->in[3]->shape));
    return INGOT_OK;
}

static void grad_lower(build *b, const node *n, value **out)
{
    value *logits = n->in[0];
    dtype d = dtype_statistic(logits->dtype);
    int64_t columns = logits->shape.dim[1];
    char formula[96];
    value *index = ingot_iota(b, d, INGOT_SHAPE(columns), 0), *target = column(b, n->in[1], d);
    value *in[] = {ingot_cast(b, logits, d), target, column(b, n->in[2], d), index, column(b, n->in[3], d)};
    value *dx = ingot_pointwise(
        b, counted(formula, "where((0 <= b) * (b < %lld), (exp(a - c) - (d == b)) * e, 0)", columns), in, 5);
    out[0] = ingot_cast(b, dx, logits->dtype);
}

const op_def op_cross_entropy_grad_def = {
    .name = "cross_entropy_grad",
    .doc = "The gradient of cross_entropy: dlogits[i, j] = (e^(logits[i, j] - lse[i]) - (j == targets[i])) dlosses[i], "
           "0 in "
           "masked rows.",
    .inputs = {{"logits", FLOAT}, {"targets", INTEGER}, {"lse", FLOAT, .wide = true}, {"dlosses", FLOAT, .wide = true}},
    .outputs = {{"dlogits", .like = INPUT(0), .may_reuse = INPUT(0)}},
    .traits = OP_INTERNAL,
    .infer = grad_infer,
    .lower = grad_lower,
    .cost = cost,
    BENCH({.in = {S(256, 50257), S(256), S(256), S(256)}, .below = {[1] = 50257}}),
    SAMPLES({.in = {S(3, 5), S(3), S(3), S(3)}, .below = {[1] = 5}, .no_gradient = true},
            {.in = {S(1, 1), S(1), S(1), S(1)}, .below = {[1] = 1}, .no_gradient = true},
            {.in = {S(31, 33), S(31), S(31), S(31)}, .below = {[1] = 44}, .no_gradient = true},
            {.in = {S(5, 4099), S(5), S(5), S(5)}, .below = {[1] = 4099}, .no_gradient = true},
            {.in = {S(9, 65), S(9), S(9), S(9)},
             .below = {[1] = 65},
             .values_of = {VALUES_TINY, [3] = VALUES_WIDE},
             .no_gradient = true}),
};
