/* Gradients against central differences: the loss on ref, in float64, along random lines through the sample.
 *
 * Each element moves in proportion to its size, so that steps never cross zero: a kink of relu or a pole of 1/x stays
 * where it is. The step is the one of several at which two differences agree best, which also says how far to trust it.
 */
#include "check/trial.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>

typedef struct line {
    double **start, **direction; /* by source; NULL: does not move */
} line;

static bool moves(const check_source *s)
{
    return dtype_is_float(s->dtype) && !s->fill.constant;
}

static status choose_line(trial *t, line *l, uint64_t index)
{
    int64_t sources = t->sources.count;
    l->start = ARENA_ARRAY(t->arena, double *, sources);
    l->direction = ARENA_ARRAY(t->arena, double *, sources);
    for (int64_t i = 0; l->start && l->direction && i < sources; i++) {
        const check_source *s = &t->sources.at[i];
        int64_t count = shape_count(s->shape);
        if (!moves(s)) continue;
        l->start[i] = ARENA_ARRAY(t->arena, double, count);
        l->direction[i] = ARENA_ARRAY(t->arena, double, count);
        if (!l->start[i] || !l->direction[i]) break;
        rng r = rng_make(t->seed + index, 1000 + (uint64_t)i);
        memcpy(l->start[i], s->values, sizeof(double) * (size_t)count);
        for (int64_t j = 0; j < count; j++) {
            double size = fabs(s->values[j]), z = rng_normal(&r);
            l->direction[i][j] = isfinite(size) ? z * (size > 0 ? size : 1e-3) : 0;
        }
    }
    return arena_failed(t->arena) ? fail_memory(t->ctx, "directions of a check", 0) : INGOT_OK;
}

static status loss_at(trial *t, ingot_program *p, const line *l, double step, double *out)
{
    for (int64_t i = 0; i < t->sources.count; i++) {
        if (!l->start[i]) continue;
        int64_t count = shape_count(t->sources.at[i].shape);
        for (int64_t j = 0; j < count; j++) {
            double by = l->direction[i][j];
            t->sources.at[i].values[j] = by != 0 ? l->start[i][j] + step * by : l->start[i][j];
        }
    }
    trial_outputs loss = {0};
    status s = trial_run(t, p, LAYOUT_CONTIGUOUS, &loss);
    if (!s) *out = loss.at[0].values[0];
    ARRAY_FREE(&loss);
    return s;
}

static status slope(trial *t, ingot_program *p, const line *l, double step, double *out)
{
    double up, down;
    TRY(loss_at(t, p, l, step, &up));
    TRY(loss_at(t, p, l, -step, &down));
    *out = (up - down) / (2 * step);
    return INGOT_OK;
}

/* The difference quotient at the step where halving it changes least, and that change. */
static status measure(trial *t, ingot_program *p, const line *l, double *best, double *doubt)
{
    static const double steps[] = {1e-4, 1e-5, 1e-6};
    status s = INGOT_OK;
    *best = 0;
    *doubt = INFINITY;
    for (size_t i = 0; i < COUNT(steps) && !s && !(*doubt <= 1e-7 * fabs(*best)); i++) {
        double wide = 0, narrow = 0;
        s = slope(t, p, l, steps[i], &wide);
        if (!s) s = slope(t, p, l, steps[i] / 2, &narrow);
        if (s || !(fabs(wide - narrow) < *doubt)) continue;
        *doubt = fabs(wide - narrow);
        *best = narrow;
    }
    for (int64_t i = 0; i < t->sources.count; i++)
        if (l->start[i])
            memcpy(t->sources.at[i].values, l->start[i], sizeof(double) * (size_t)shape_count(t->sources.at[i].shape));
    return s;
}

/* <gradient, direction>, and the sum of its terms' magnitudes. */
static double predicted(const trial *t, const line *l, double *magnitude)
{
    double sum = 0;
    *magnitude = 0;
    for (int64_t i = 0; i < t->sources.count; i++) {
        char name[256];
        snprintf(name, sizeof name, "gradient of %s", t->sources.at[i].name);
        const trial_output *g = l->direction[i] ? trial_find(&t->expected, name) : NULL;
        int64_t count = g ? shape_count(g->shape) : 0;
        for (int64_t j = 0; j < count; j++) {
            double term = l->direction[i][j] != 0 ? g->values[j] * l->direction[i][j] : 0;
            sum += term;
            *magnitude += fabs(term);
        }
    }
    return sum;
}

/* What float64 loses in the loss, divided by the smallest step. */
static double noise(const trial *t)
{
    double sum = 1e-290;
    for (int64_t i = 0; i < t->expected.count; i++) {
        const trial_output *o = &t->expected.at[i];
        if (!dtype_is_float(o->dtype) || !strncmp(o->name, "gradient of ", 12)) continue;
        for (int64_t j = 0; j < shape_count(o->shape); j++)
            if (isfinite(o->values[j])) sum += fabs(o->values[j]);
    }
    return 1e-9 * sum;
}

static void compare_slopes(trial *t, int index, double measured, double doubt, double wanted, double magnitude)
{
    double floor = noise(t), tolerance = 1e-6 * magnitude + 8 * doubt + floor, error = fabs(measured - wanted);
    if (error / tolerance > t->row->worst_gradient) t->row->worst_gradient = error / tolerance;
    if (error <= tolerance && doubt <= 1e-3 * magnitude + floor) return;
    trial_failed(t, "%s: along line %d the loss changes by %.9g (+- %.1g) a step, the gradient says %.9g (seed %llu)",
                 t->subject->name, index, measured, doubt, wanted, (unsigned long long)t->seed);
}

status trial_finite_differences(trial *t)
{
    ingot_program *p;
    TRY(trial_compile_loss(t, &p));
    status s = INGOT_OK;
    for (int i = 0; i < 2 && !s; i++) {
        line l;
        double measured = NAN, doubt, magnitude;
        s = choose_line(t, &l, (uint64_t)i);
        if (!s) s = measure(t, p, &l, &measured, &doubt);
        if (s) break;
        double wanted = predicted(t, &l, &magnitude);
        compare_slopes(t, i, measured, doubt, wanted, magnitude);
    }
    ingot_program_free(p);
    return s;
}
