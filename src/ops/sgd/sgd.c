/* Stochastic gradient descent, one update of a flat group: plain, with momentum (Polyak 1964), Nesterov's (Sutskever et
 * al. 2013), as torch.optim.SGD with dampening 0. */
#include "ops/sgd/sgd.h"

#include <stdio.h>

enum { W, G, LR, SCALE, APPLY_, BUFFER };

static status infer(build *b, const node *n, inferred *out)
{
    const sgd_attrs *a = n->attrs;
    char one[128], other[128];
    (void)out;
    if ((a->momentum != 0) != (n->inputs > BUFFER && n->in[BUFFER]))
        return infer_fail(b, n, "momentum %g %s a buffer", a->momentum, a->momentum != 0 ? "needs" : "takes no");
    for (int i = G; i < n->inputs; i++) {
        if (!n->in[i]) continue;
        bool scalar = i >= LR && i <= APPLY_;
        if (scalar ? n->in[i]->shape.rank != 0
                   : !shape_equal(n->in[i]->shape, n->in[W]->shape) || n->in[i]->dtype != n->in[W]->dtype)
            return infer_fail(b, n, "%s is %s, %s %s", n->op->inputs[i].name, shape_print(one, n->in[i]->shape),
                              scalar ? "not a scalar, w is" : "w is", shape_print(other, n->in[W]->shape));
    }
    return INGOT_OK;
}

static void lower(build *b, const node *n, value **out)
{
    const sgd_attrs *a = n->attrs;
    char formula[128];
    value *const *in = n->in;
    snprintf(formula, sizeof formula, "a * c + b * %.17g", a->weight_decay);
    value *g = ingot_pointwise(b, formula, (value *[]){in[G], in[W], in[SCALE]}, 3), *move = g;
    if (a->momentum != 0) {
        snprintf(formula, sizeof formula, "a * %.17g + b", a->momentum);
        value *buffer = ingot_pointwise(b, formula, (value *[]){in[BUFFER], g}, 2);
        snprintf(formula, sizeof formula, "b + a * %.17g", a->momentum);
        move = a->nesterov ? ingot_pointwise(b, formula, (value *[]){buffer, g}, 2) : buffer;
        if (n->out[1]) out[1] = ingot_pointwise(b, "where(c, b, a)", (value *[]){in[BUFFER], buffer, in[APPLY_]}, 3);
    }
    out[0] = ingot_pointwise(b, "where(d, a - c * b, a)", (value *[]){in[W], move, in[LR], in[APPLY_]}, 4);
}

static op_cost cost(const node *n)
{
    double count = (double)shape_count(n->out[0]->shape);
    return (op_cost){.flops = 7 * count, .bytes = (n->out[1] ? 5.0 : 3.0) * (double)value_bytes(n->out[0])};
}

#define SHAPES(...)      S(__VA_ARGS__), S(__VA_ARGS__), S0, S0, S0, NOT_GIVEN
#define WITH_BUFFER(...) S(__VA_ARGS__), S(__VA_ARGS__), S0, S0, S0, S(__VA_ARGS__)
#define POSITIVE         .values_of = {[LR] = VALUES_POSITIVE, [SCALE] = VALUES_POSITIVE, [APPLY_] = VALUES_POSITIVE}
#define A(...)                                                                                                         \
    .attrs = &(const sgd_attrs)                                                                                        \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

const op_def op_sgd_def = {
    .name = "sgd",
    .doc =
        "One step of gradient descent: g' = scale g + weight_decay w; without momentum w' = w - lr g'; with it buffer' "
        "= momentum buffer + g' and w' = w - lr buffer', or nesterov: w' = w - lr (g' + momentum buffer'). Start from "
        "buffer 0. w, g, buffer one shape; lr, scale, apply scalars; with apply 0 nothing changes. Sutskever et al. "
        "2013.",
    .inputs = {{"w", FLOAT, .wide = true},
               {"g", FLOAT, .wide = true},
               {"lr", FLOAT, .wide = true},
               {"scale", FLOAT, .wide = true},
               {"apply", FLOAT, .wide = true},
               {"buffer", FLOAT, .wide = true, .optional = true}},
    .outputs = {{"new_w", .like = INPUT(W), .may_reuse = INPUT(W)},
                {"new_buffer", .like = INPUT(W), .may_reuse = INPUT(BUFFER), .optional = true}},
    ATTRS(sgd_attrs, ATTR(sgd_attrs, momentum, ATTR_F64, .minimum = 0, .maximum = 1),
          ATTR(sgd_attrs, weight_decay, ATTR_F64, .minimum = 0, .maximum = 1e6),
          ATTR(sgd_attrs, nesterov, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_NOT_DIFFERENTIABLE,
    .infer = infer,
    .lower = lower,
    .cost = cost,
    BENCH({.in = {WITH_BUFFER(16777216)}, POSITIVE, A(0.9, 0, 0)}),
    SAMPLES({.in = {SHAPES(2, 3, 5)}, POSITIVE, A(0, 0, 0), .outputs = 1},
            {.in = {SHAPES(4099)}, POSITIVE, A(0, 0.1, 0), .outputs = 1},
            {.in = {WITH_BUFFER(33)}, POSITIVE, A(0.9, 0, 0)}, {.in = {WITH_BUFFER(1)}, POSITIVE, A(0.9, 0.01, 1)},
            {.in = {WITH_BUFFER(40000)}, POSITIVE, A(0.5, 0.01, 1), .values = VALUES_WIDE},
            {.in = {WITH_BUFFER(31)}, .values_of = {[APPLY_] = VALUES_ZERO}, A(0.9, 0.01, 0)}),
};

void ingot_sgd(ingot_build *b, ingot_value *w, ingot_value *g, ingot_value *buffer, ingot_value *lr, ingot_value *scale,
               ingot_value *apply, const ingot_sgd_options *o, ingot_value *out[2])
{
    sgd_attrs attrs = {o->momentum, o->weight_decay, !!o->nesterov};
    node *n = node_new(b, &op_sgd_def, (value *[]){w, g, lr, scale, apply, buffer}, 6, &attrs);
    out[0] = n ? n->out[0] : NULL;
    out[1] = n && buffer ? node_output(b, n, 1) : NULL;
}
