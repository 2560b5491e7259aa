/* The update program: the step's gradient sums become new weights and moments, if all of it is finite.
 *
 * It reads "train.sums" (loss, count, metric) and the flat groups "grad.*", and gives one output, "result" (7): loss,
 * count and metric of the step, norm of the mean gradient, learning rate, whether it was applied, steps applied so far.
 * Everything is predicated on `apply`, so that a bad step changes nothing.
 */
#include "train/schedule.h"
#include "train/step.h"
#include "ingot/ops.h"

#include <math.h>
#include <stdio.h>

static const char *const names[] = {"adamw", "adam", "sgd", NULL};
const char *const group_suffix[GROUP_COUNT] = {".decay", ".no_decay"};

const char *const *ingot_optimizer_names(void)
{
    return names;
}

ingot_optimizer ingot_optimizer_defaults(double lr, int64_t steps)
{
    return (ingot_optimizer){
        .kind = INGOT_ADAMW,
        .beta1 = 0.9,
        .beta2 = 0.95,
        .eps = 1e-8,
        .momentum = 0.9,
        .weight_decay = 0.1,
        .clip = 1,
        .schedule = {.kind = INGOT_COSINE, .lr = lr, .final_ratio = 0.1, .steps = steps},
    };
}

static status check_share(context *ctx, const char *what, double x)
{
    if (x >= 0 && x < 1) return INGOT_OK;
    return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%s is %g; it must be from 0 to below 1", what, x);
}

status optimizer_check(context *ctx, const ingot_optimizer *o)
{
    if ((unsigned)o->kind > INGOT_SGD)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "there is no optimizer %d", (int)o->kind);
    TRY(check_share(ctx, "beta1", o->beta1));
    TRY(check_share(ctx, "beta2", o->beta2));
    TRY(check_share(ctx, "momentum", o->momentum));
    if (!(o->eps > 0) && o->kind != INGOT_SGD)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "eps is %g; it must be more than 0", o->eps);
    if (!(o->weight_decay >= 0) || !(o->clip >= 0))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "weight decay (%g) and clip (%g) cannot be negative",
                          o->weight_decay, o->clip);
    if (o->nesterov && o->kind == INGOT_SGD && o->momentum == 0)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "nesterov needs a momentum above 0");
    return schedule_check(ctx, &o->schedule);
}

int optimizer_moments(const ingot_optimizer *o, const char *out[2])
{
    if (o->kind == INGOT_SGD) {
        out[0] = "sgd.momentum";
        return o->momentum > 0;
    }
    out[0] = "adam.m";
    out[1] = "adam.v";
    return 2;
}

/* Scalars of the step, shared by both groups. */
typedef struct step_scalars {
    value *rate;  /* learning rate */
    value *scale; /* gradient sums to the clipped mean */
    value *apply; /* 1 or 0 */
    value *step;  /* of this step, from 1 */
} step_scalars;

static value *formula(build *b, const char *text, value *a, value *c, value *d, value *e)
{
    value *const in[] = {a, c, d, e};
    return ingot_pointwise(b, text, in, e ? 4 : d ? 3 : c ? 2 : 1);
}

static value *flat(build *b, ingot_store *store, const char *kind, int group)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", kind, group_suffix[group]);
    return ingot_state_group(b, store, name);
}

/* 1 / (1 - beta^t). Kingma & Ba 2015. */
static value *bias_correction(build *b, double beta, value *step)
{
    char text[64];
    snprintf(text, sizeof text, "1 / (1 - exp(a * %.17g))", log(beta));
    return beta > 0 ? formula(b, text, step, NULL, NULL, NULL) : ingot_constant(b, 1, INGOT_F32, INGOT_SCALAR);
}

/* w -= lr (m^ / (sqrt(v^) + eps) + decay w), with the decay in the gradient for `adam`. Loshchilov & Hutter 2019. */
static void adam(build *b, ingot_store *store, const ingot_optimizer *o, int group, const step_scalars *x)
{
    double decay = group == GROUP_DECAY ? o->weight_decay : 0;
    value *w = flat(b, store, "weight", group), *g = flat(b, store, "grad", group);
    value *m = flat(b, store, "adam.m", group), *v = flat(b, store, "adam.v", group);
    char text[256];
    snprintf(text, sizeof text, "a * c + %.17g * b", o->kind == INGOT_ADAM ? decay : 0);
    value *mean = formula(b, text, g, w, x->scale, NULL);
    snprintf(text, sizeof text, "where(c, %.17g * a + %.17g * b, a)", o->beta1, 1 - o->beta1);
    value *m_new = formula(b, text, m, mean, x->apply, NULL);
    snprintf(text, sizeof text, "where(c, %.17g * a + %.17g * b * b, a)", o->beta2, 1 - o->beta2);
    value *v_new = formula(b, text, v, mean, x->apply, NULL);
    snprintf(text, sizeof text, "where(f, a - g * (b * d / (sqrt(c * e) + %.17g) + %.17g * a), a)", o->eps,
             o->kind == INGOT_ADAMW ? decay : 0);
    value *const in[] = {
        w,        m_new,  v_new, bias_correction(b, o->beta1, x->step), bias_correction(b, o->beta2, x->step),
        x->apply, x->rate};
    value *w_new = ingot_pointwise(b, text, in, (int)COUNT(in));
    ingot_state_update(b, m, m_new);
    ingot_state_update(b, v, v_new);
    ingot_state_update(b, w, w_new);
}

/* u = momentum u + g, w -= lr u; with Nesterov w -= lr (g + momentum u): as PyTorch has it. */
static void sgd(build *b, ingot_store *store, const ingot_optimizer *o, int group, const step_scalars *x)
{
    value *w = flat(b, store, "weight", group), *g = flat(b, store, "grad", group);
    char text[256];
    snprintf(text, sizeof text, "a * c + %.17g * b", group == GROUP_DECAY ? o->weight_decay : 0);
    value *mean = formula(b, text, g, w, x->scale, NULL), *by = mean;
    if (o->momentum > 0) {
        value *u = flat(b, store, "sgd.momentum", group);
        snprintf(text, sizeof text, "where(c, %.17g * a + b, a)", o->momentum);
        value *u_new = formula(b, text, u, mean, x->apply, NULL);
        snprintf(text, sizeof text, "a + %.17g * b", o->momentum);
        by = o->nesterov ? formula(b, text, mean, u_new, NULL, NULL) : u_new;
        ingot_state_update(b, u, u_new);
    }
    ingot_state_update(b, w, formula(b, "where(d, a - c * b, a)", w, by, x->rate, x->apply));
}

static bool group_is_there(const ingot_store *store, int group)
{
    for (int64_t i = 0; i < store->states.count; i++) {
        const char *name = store->states.at[i]->group;
        if (!strncmp(name, "grad", 4) && !strcmp(name + 4, group_suffix[group])) return true;
    }
    return false;
}

static value *sum_of_squares(build *b, ingot_store *store)
{
    value *sum = NULL;
    for (int group = 0; group < GROUP_COUNT; group++) {
        if (!group_is_there(store, group)) continue;
        value *one = ingot_sum_all(b, ingot_square(b, flat(b, store, "grad", group)));
        sum = sum ? ingot_add(b, sum, one) : one;
    }
    return sum;
}

static value *element(build *b, value *x, int64_t index)
{
    return ingot_reshape(b, ingot_slice(b, x, 0, index, 1), INGOT_SCALAR);
}

/* (seed, step, micro-batch) of the next step: one more step if this one was applied, micro-batch 0. */
static void advance(build *b, value *rng, value *applied_steps)
{
    value *step = ingot_reshape(b, ingot_cast(b, applied_steps, INGOT_I32), INGOT_SHAPE(1));
    value *const parts[] = {ingot_slice(b, rng, 0, 0, 2), step, ingot_constant(b, 0, INGOT_I32, INGOT_SHAPE(1))};
    ingot_state_update(b, rng, ingot_concat(b, parts, (int)COUNT(parts), 0));
}

void optimizer_build(build *b, ingot_store *store, const ingot_optimizer *o)
{
    value *rng = ingot_state(b, "train.rng", INGOT_I32, INGOT_SHAPE(4));
    value *sums = ingot_state(b, "train.sums", INGOT_F32, INGOT_SHAPE(3));
    value *done = ingot_cast(b, element(b, rng, 2), INGOT_F32); /* exact: a schedule has fewer than 2^24 steps */
    value *loss = element(b, sums, 0), *count = element(b, sums, 1), *metric = element(b, sums, 2);
    value *norm = formula(b, "sqrt(a) / b", sum_of_squares(b, store), count, NULL, NULL);
    char text[96] = "1 / a";
    /* as torch.nn.utils.clip_grad_norm_ */
    if (o->clip > 0) snprintf(text, sizeof text, "min(%.17g / (b + 1e-6), 1) / a", o->clip);
    step_scalars x = {
        .rate = schedule_build(b, &o->schedule, done),
        .scale = formula(b, text, count, o->clip > 0 ? norm : NULL, NULL, NULL),
        .apply = formula(b, "finite(a) * finite(b) * (0 < c)", loss, norm, count, NULL),
        .step = ingot_add_scalar(b, done, 1),
    };
    for (int group = 0; group < GROUP_COUNT; group++) {
        if (!group_is_there(store, group)) continue;
        if (o->kind == INGOT_SGD)
            sgd(b, store, o, group, &x);
        else
            adam(b, store, o, group, &x);
    }
    value *applied = ingot_add(b, done, x.apply);
    advance(b, rng, applied);
    value *result[] = {loss, count, metric, norm, x.rate, x.apply, applied};
    for (size_t i = 0; i < COUNT(result); i++) result[i] = ingot_reshape(b, result[i], INGOT_SHAPE(1));
    ingot_output(b, "result", ingot_concat(b, result, (int)COUNT(result), 0));
}
