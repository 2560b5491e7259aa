/* The update program: the step's gradient sums become new weights and moments, if all of it is finite.
 *
 * It reads "train.sums" (loss, count, metric) and the flat groups "grad.*", and gives one output, "result" (8): loss,
 * count and metric of the step, norm of the mean gradient, learning rate, whether it was applied, steps applied so far, the
 * loss scale of its gradients (1 without).
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

ingot_optimizer ingot_optimizer_defaults_of(ingot_optimizer_kind kind, int64_t steps)
{
    ingot_optimizer o = ingot_optimizer_defaults(kind == INGOT_SGD ? 5e-2 : 1e-3, steps);
    o.kind = kind;
    if (kind != INGOT_ADAMW) o.weight_decay = 1e-4;
    return o;
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

/* The 16-bit copy of a group of weights that products read (engine/store.h), or NULL. One that is rounded by chance is
 * made by the store, before it is read: by the counter as it is then. */
static value *copy_of_weights(build *b, ingot_store *store, int group)
{
    const dtype narrow[] = {INGOT_BF16, INGOT_F16};
    for (size_t i = 0; i < COUNT(narrow); i++) {
        char name[64];
        snprintf(name, sizeof name, "weight%s@%s", group_suffix[group], ingot_dtype_name(narrow[i]));
        const store_group *g = store_find_group(store, name);
        if (g && !g->master->rng) return ingot_state_group(b, store, name);
    }
    return NULL;
}

static void adam(build *b, ingot_store *store, const ingot_optimizer *o, int group, const step_scalars *x)
{
    value *w = flat(b, store, "weight", group), *g = flat(b, store, "grad", group);
    value *m = flat(b, store, "adam.m", group), *v = flat(b, store, "adam.v", group), *out[4];
    value *low = copy_of_weights(b, store, group);
    const ingot_adamw_options options = {.beta1 = o->beta1,
                                         .beta2 = o->beta2,
                                         .eps = o->eps,
                                         .weight_decay = group == GROUP_DECAY ? o->weight_decay : 0,
                                         .decoupled = o->kind == INGOT_ADAMW,
                                         .copy = low ? low->dtype : 0};
    ingot_adamw(b, w, g, m, v, x->rate, x->scale, x->step, x->apply, &options, out);
    ingot_state_update(b, w, out[0]);
    ingot_state_update(b, m, out[1]);
    ingot_state_update(b, v, out[2]);
    if (low) ingot_state_update(b, low, out[3]);
}

static void sgd(build *b, ingot_store *store, const ingot_optimizer *o, int group, const step_scalars *x)
{
    value *w = flat(b, store, "weight", group), *g = flat(b, store, "grad", group), *out[2];
    value *momentum = o->momentum > 0 ? flat(b, store, "sgd.momentum", group) : NULL;
    const ingot_sgd_options options = {
        .momentum = o->momentum, .weight_decay = group == GROUP_DECAY ? o->weight_decay : 0, .nesterov = o->nesterov};
    ingot_sgd(b, w, g, momentum, x->rate, x->scale, x->apply, &options, out);
    ingot_state_update(b, w, out[0]);
    value *low = copy_of_weights(b, store, group);
    if (low) ingot_state_update(b, low, ingot_cast(b, out[0], low->dtype));
    if (momentum) ingot_state_update(b, momentum, out[1]);
}

static bool group_is_there(const ingot_store *store, int group)
{
    for (int64_t i = 0; i < store->states.count; i++) {
        const char *name = store->states.at[i]->group;
        if (!strncmp(name, "grad", 4) && !strcmp(name + 4, group_suffix[group])) return true;
    }
    return false;
}

/* The first state of a group of gradients, whose gradient a step makes last: an embedding's. 0: the group has no other. */
static int64_t made_last(const ingot_store *store, int group)
{
    int64_t first = 0, states = 0;
    for (int64_t i = 0; i < store->states.count; i++) {
        const store_state *state = store->states.at[i];
        if (state->joined || strncmp(state->group, "grad", 4) || strcmp(state->group + 4, group_suffix[group]))
            continue;
        if (states++ == 0) first = shape_count(state->shape);
    }
    return states > 1 ? first : 0;
}

static value *add_squares(build *b, value *sum, value *x)
{
    value *one = ingot_sum_squares(b, x);
    return sum ? ingot_add(b, sum, one) : one;
}

/* What is made last by itself, so that the others need not wait for it. */
static value *sum_of_squares(build *b, ingot_store *store)
{
    value *sum = NULL;
    for (int group = 0; group < GROUP_COUNT; group++) {
        if (!group_is_there(store, group)) continue;
        value *all = flat(b, store, "grad", group);
        int64_t last = group == GROUP_DECAY ? made_last(store, group) : 0;
        int64_t count = all ? shape_count(all->shape) : 0;
        if (last && last < count) {
            sum = add_squares(b, sum, ingot_slice(b, all, 0, last, count - last));
            sum = add_squares(b, sum, ingot_slice(b, all, 0, 0, last));
        } else {
            sum = add_squares(b, sum, all);
        }
    }
    return sum;
}

static value *element(build *b, value *x, int64_t index)
{
    return ingot_reshape(b, ingot_slice(b, x, 0, index, 1), INGOT_SCALAR);
}

/* (seed, step, micro-batch) of the next step: one more step and micro-batch 0 if this one was applied. If not, a count of
 * micro-batches that no step gets above 0: what was submitted behind a bad step changes nothing either, until the host
 * has looked at it and sets the counter. */
static void advance(build *b, value *rng, value *applied_steps, value *apply)
{
    char halted[32];
    snprintf(halted, sizeof halted, "(a - 1) * %d", STEP_HALTED);
    value *step = ingot_reshape(b, ingot_cast(b, applied_steps, INGOT_I32), INGOT_SHAPE(1));
    value *micro = ingot_cast(b, formula(b, halted, apply, NULL, NULL, NULL), INGOT_I32);
    value *const parts[] = {ingot_slice(b, rng, 0, 0, 2), step, ingot_reshape(b, micro, INGOT_SHAPE(1))};
    ingot_state_update(b, rng, ingot_concat(b, parts, (int)COUNT(parts), 0));
}

static value *scale_state(build *b)
{
    return ingot_state(b, LOSS_SCALE_STATE, INGOT_F32, INGOT_SHAPE(2));
}

value *loss_scale(build *b)
{
    return element(b, scale_state(b), 0);
}

/* Halved after a step that was not applied, doubled after many that were; a step behind a bad one leaves it. */
static void adapt_scale(build *b, value *scale, value *apply, value *micros)
{
    value *good = formula(b, "where(b, a + 1, where(0 < c, 0, a))", element(b, scale_state(b), 1), apply, micros, NULL);
    char text[160];
    snprintf(text, sizeof text, "where(b, where(%d <= c, min(a * 2, %d), a), where(0 < d, max(a * 0.5, 1), a))",
             LOSS_SCALE_PATIENCE, LOSS_SCALE_MOST);
    value *next = formula(b, text, scale, apply, good, micros);
    snprintf(text, sizeof text, "where(%d <= a, 0, a)", LOSS_SCALE_PATIENCE);
    value *const parts[] = {ingot_reshape(b, next, INGOT_SHAPE(1)),
                            ingot_reshape(b, formula(b, text, good, NULL, NULL, NULL), INGOT_SHAPE(1))};
    ingot_state_update(b, scale_state(b), ingot_concat(b, parts, (int)COUNT(parts), 0));
}

void optimizer_build(build *b, ingot_store *store, const ingot_optimizer *o, bool loss_scaling)
{
    value *rng = ingot_state(b, "train.rng", INGOT_I32, INGOT_SHAPE(4));
    value *sums = ingot_state(b, "train.sums", INGOT_F32, INGOT_SHAPE(3));
    value *done = ingot_cast(b, element(b, rng, 2), INGOT_F32); /* exact: a schedule has fewer than 2^24 steps */
    value *micros = ingot_cast(b, element(b, rng, 3), INGOT_F32);
    value *loss = element(b, sums, 0), *count = element(b, sums, 1), *metric = element(b, sums, 2);
    value *scale = loss_scaling ? loss_scale(b) : ingot_constant(b, 1, INGOT_F32, INGOT_SCALAR);
    value *norm = formula(b, "sqrt(a) / (b * c)", sum_of_squares(b, store), count, scale, NULL);
    char text[96] = "1 / (a * b)";
    /* as torch.nn.utils.clip_grad_norm_ */
    if (o->clip > 0) snprintf(text, sizeof text, "min(%.17g / (c + 1e-6), 1) / (a * b)", o->clip);
    step_scalars x = {
        .rate = schedule_build(b, &o->schedule, done),
        .scale = formula(b, text, count, scale, o->clip > 0 ? norm : NULL, NULL),
        .apply = formula(b, "finite(a) * finite(b) * (0 < c) * (0 < d)", loss, norm, count, micros),
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
    advance(b, rng, applied, x.apply);
    if (loss_scaling) adapt_scale(b, scale, x.apply, micros);
    value *result[] = {loss, count, metric, norm, x.rate, x.apply, applied, scale};
    for (size_t i = 0; i < COUNT(result); i++) result[i] = ingot_reshape(b, result[i], INGOT_SHAPE(1));
    ingot_output(b, "result", ingot_concat(b, result, (int)COUNT(result), 0));
}
