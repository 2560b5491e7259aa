/* AdamW (Loshchilov & Hutter 2019) and Adam (Kingma & Ba 2015), one update of a flat group. */
#include "ops/adamw/adamw.h"

#include <math.h>
#include <stdio.h>

enum { W, G, M, V, LR, SCALE, STEP, APPLY_ };

static status infer(build *b, const node *n, inferred *out)
{
    char one[128], other[128];
    int64_t copy = ATTRS_OF(adamw_attrs, n)->copy;
    out[3] = (inferred){.dtype = copy ? (dtype)copy : INGOT_BF16, .shape = n->in[W]->shape};
    for (int i = G; i <= V; i++)
        if (!shape_equal(n->in[i]->shape, n->in[W]->shape) || n->in[i]->dtype != n->in[W]->dtype)
            return infer_fail(b, n, "%s is %s, w is %s", n->op->inputs[i].name, shape_print(one, n->in[i]->shape),
                              shape_print(other, n->in[W]->shape));
    for (int i = LR; i <= APPLY_; i++)
        if (n->in[i]->shape.rank)
            return infer_fail(b, n, "%s is %s, not a scalar", n->op->inputs[i].name, shape_print(one, n->in[i]->shape));
    return INGOT_OK;
}

/* where(apply, formula, old): what is not applied has no influence, not even as NaN. */
static value *when(build *b, value *apply, value *old, const char *formula, value *x, value *y, value *z)
{
    char whole[256];
    value *in[] = {old, x, y, z, apply};
    int count = z ? 5 : 4;
    if (!z) in[3] = apply;
    snprintf(whole, sizeof whole, "where(%c, %s, a)", z ? 'e' : 'd', formula);
    return ingot_pointwise(b, whole, in, count);
}

/* 1 - beta^step, a scalar. */
static value *bias_correction(build *b, value *step, double beta)
{
    if (beta == 0) return ingot_constant(b, 1, step->dtype, INGOT_SCALAR);
    char formula[64];
    snprintf(formula, sizeof formula, "1 - exp(a * -%.17g)", -log(beta));
    return ingot_pointwise(b, formula, &step, 1);
}

static void lower(build *b, const node *n, value **out)
{
    const adamw_attrs *a = n->attrs;
    value *const *in = n->in, *g;
    char formula[160];
    value *step = ingot_cast(b, in[STEP], in[W]->dtype);
    value *c1 = bias_correction(b, step, a->beta1), *c2 = bias_correction(b, step, a->beta2);
    value *rate = ingot_div(b, in[LR], c1), *root = ingot_rsqrt(b, c2);
    snprintf(formula, sizeof formula, "a * c + b * %.17g", a->decoupled ? 0 : a->weight_decay);
    g = ingot_pointwise(b, formula, (value *[]){in[G], in[W], in[SCALE]}, 3);
    snprintf(formula, sizeof formula, "a + (b - a) * %.17g", 1 - a->beta1);
    out[1] = when(b, in[APPLY_], in[M], formula, g, g, NULL);
    snprintf(formula, sizeof formula, "a * %.17g + b * b * %.17g", a->beta2, 1 - a->beta2);
    out[2] = when(b, in[APPLY_], in[V], formula, g, g, NULL);
    snprintf(formula, sizeof formula, "1 - a * %.17g", a->decoupled ? a->weight_decay : 0);
    value *decay = ingot_pointwise(b, formula, (value *[]){in[LR]}, 1);
    snprintf(formula, sizeof formula, "where(e, a * f - d * b / (sqrt(c) * g + %.17g), a)", a->eps);
    out[0] = ingot_pointwise(b, formula, (value *[]){in[W], out[1], out[2], rate, in[APPLY_], decay, root}, 7);
    if (n->out[3]) out[3] = ingot_cast(b, out[0], n->out[3]->dtype);
}

static op_cost cost(const node *n)
{
    double count = (double)shape_count(n->out[0]->shape);
    return (op_cost){.flops = 15 * count, .bytes = 7.0 * (double)value_bytes(n->out[0])};
}

#define SHAPES(...) S(__VA_ARGS__), S(__VA_ARGS__), S(__VA_ARGS__), S(__VA_ARGS__), S0, S0, S0, S0
#define POSITIVE                                                                                                       \
    .values_of = {[V] = VALUES_POSITIVE,                                                                               \
                  [LR] = VALUES_POSITIVE,                                                                              \
                  [SCALE] = VALUES_POSITIVE,                                                                           \
                  [STEP] = VALUES_POSITIVE,                                                                            \
                  [APPLY_] = VALUES_POSITIVE}
#define A(...)                                                                                                         \
    .attrs = &(const adamw_attrs)                                                                                      \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

const op_def op_adamw_def = {
    .name = "adamw",
    .doc =
        "One step of AdamW (Loshchilov & Hutter 2019) or, not decoupled, of Adam with L2 (Kingma & Ba 2015): g' = "
        "scale g (+ weight_decay w); m' = beta1 m + (1 - beta1) g'; v' = beta2 v + (1 - beta2) g'^2; w' = w (1 - lr "
        "weight_decay) - lr / (1 - beta1^step) m' / (sqrt(v') / sqrt(1 - beta2^step) + eps). w, g, m, v one shape; lr, "
        "scale, step (1 in the first step) and apply are scalars; with apply 0 nothing changes. low: w' in 16 bits, "
        "the "
        "dtype that `copy` says.",
    .inputs = {{"w", FLOAT, .wide = true},
               {"g", FLOAT, .wide = true},
               {"m", FLOAT, .wide = true},
               {"v", FLOAT, .wide = true},
               {"lr", FLOAT, .wide = true},
               {"scale", FLOAT, .wide = true},
               {"step", ANY},
               {"apply", FLOAT, .wide = true}},
    .outputs = {{"new_w", .like = INPUT(W), .may_reuse = INPUT(W)},
                {"new_m", .like = INPUT(M), .may_reuse = INPUT(M)},
                {"new_v", .like = INPUT(V), .may_reuse = INPUT(V)},
                {"low", .optional = true}},
    ATTRS(adamw_attrs, ATTR(adamw_attrs, beta1, ATTR_F64, .minimum = 0, .maximum = 0.9999999),
          ATTR(adamw_attrs, beta2, ATTR_F64, .minimum = 0, .maximum = 0.9999999),
          ATTR(adamw_attrs, eps, ATTR_F64, .minimum = 0, .maximum = 1),
          ATTR(adamw_attrs, weight_decay, ATTR_F64, .minimum = 0, .maximum = 1e6),
          ATTR(adamw_attrs, decoupled, ATTR_I64, .minimum = 0, .maximum = 1),
          ATTR(adamw_attrs, copy, ATTR_I64, .minimum = 0, .maximum = INGOT_BF16)),
    .traits = OP_NOT_DIFFERENTIABLE,
    .infer = infer,
    .lower = lower,
    .cost = cost,
    BENCH({.in = {SHAPES(16777216)}, POSITIVE, A(0.9, 0.95, 1e-8, 0.1, 1)}),
    SAMPLES({.in = {SHAPES(2, 3, 5)}, POSITIVE, A(0.9, 0.999, 1e-8, 0.01, 1)},
            {.in = {SHAPES(4099)}, POSITIVE, A(0.9, 0.95, 1e-8, 0.1, 1)},
            {.in = {SHAPES(33)}, POSITIVE, A(0.8, 0.9, 1e-6, 0.05, 0)},
            {.in = {SHAPES(1)}, POSITIVE, A(0, 0, 1e-8, 0, 1)},
            {.in = {SHAPES(5003)}, POSITIVE, A(0.9, 0.95, 1e-8, 0.1, 1, INGOT_F16)},
            {.in = {SHAPES(40000)}, POSITIVE, A(0.9, 0.999, 1e-8, 0, 0), .values = VALUES_WIDE},
            {.in = {SHAPES(31)},
             .values_of = {[V] = VALUES_POSITIVE, [STEP] = VALUES_POSITIVE, [APPLY_] = VALUES_ZERO},
             A(0.9, 0.999, 1e-8, 0.01, 1)}),
};

void ingot_adamw(ingot_build *b, ingot_value *w, ingot_value *g, ingot_value *m, ingot_value *v, ingot_value *lr,
                 ingot_value *scale, ingot_value *step, ingot_value *apply, const ingot_adamw_options *o,
                 ingot_value **out)
{
    adamw_attrs attrs = {o->beta1, o->beta2, o->eps, o->weight_decay, !!o->decoupled, o->copy};
    node *n = node_new(b, &op_adamw_def, (value *[]){w, g, m, v, lr, scale, step, apply}, 8, &attrs);
    for (int i = 0; i < 3; i++) out[i] = n ? n->out[i] : NULL;
    if (o->copy) out[3] = n ? node_output(b, n, 3) : NULL;
}

bool adamw_match(const node *n, const device_caps *caps)
{
    node masters = *n;
    masters.out[3] = NULL;
    return match_f32(&masters, caps) && (!n->out[3] || dtype_is_narrow(n->out[3]->dtype));
}

adamw_step adamw_step_of(const step *s)
{
    const adamw_attrs *a = s->node->attrs;
    double lr = dtype_load(s->in[LR].dtype, s->in[LR].data, 0), t = dtype_load(s->in[STEP].dtype, s->in[STEP].data, 0);
    adamw_step u = {.scale = dtype_load(s->in[SCALE].dtype, s->in[SCALE].data, 0),
                    .decay = a->decoupled ? 1 - lr * a->weight_decay : 1,
                    .l2 = a->decoupled ? 0 : a->weight_decay,
                    .rate = lr / (1 - pow(a->beta1, t)),
                    .root_scale = 1 / sqrt(1 - pow(a->beta2, t)),
                    .apply = dtype_load(s->in[APPLY_].dtype, s->in[APPLY_].data, 0) != 0};
    return u;
}
