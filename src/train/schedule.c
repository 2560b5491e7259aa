/* Learning-rate schedules. With w = warmup, S = steps, r = final_ratio and step s = 0, 1, ...:
 *
 *     s < w      lr (s + 1) / w
 *     then, with p = (s - w) / (S - w), at most 1:
 *     cosine     lr (r + (1 - r) (1 + cos(pi p)) / 2)          Loshchilov & Hutter 2017, one half wave
 *     linear     lr (1 - (1 - r) p)
 *     wsd        lr, and in the last `decay` steps linear to r  warm-up, stable, decay: Hu et al. 2024
 *     constant   lr
 */
#include "train/schedule.h"
#include "ingot/ops.h"

#include <math.h>
#include <stdio.h>

static const double pi = 3.14159265358979323846;
static const char *const names[] = {"cosine", "linear", "wsd", "constant", NULL};

const char *const *ingot_schedule_names(void)
{
    return names;
}

status schedule_check(context *ctx, const ingot_schedule *s)
{
    if ((unsigned)s->kind > INGOT_CONSTANT)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "there is no schedule %d", (int)s->kind);
    if (!(s->lr >= 0) || !isfinite(s->lr))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "the learning rate %g must be 0 or more", s->lr);
    if (!(s->final_ratio >= 0 && s->final_ratio <= 1))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "the final share of the rate, %g, must be from 0 to 1",
                          s->final_ratio);
    if (s->warmup < 0 || s->steps < 0 || s->decay < 0)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "warm-up, decay and schedule steps cannot be negative");
    if (s->steps >= 1 << 24) /* the step is counted in float32 inside the graph */
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "a schedule has at most %d steps", (1 << 24) - 1);
    return INGOT_OK;
}

/* Where the rate begins to fall, and over how many steps. */
static void falling(const ingot_schedule *s, double *from, double *over)
{
    int64_t decay = s->decay ? s->decay : (s->steps + 4) / 5;
    int64_t first = s->kind == INGOT_WSD ? MAX(s->warmup, s->steps - decay) : s->warmup;
    *from = (double)(first && s->steps <= first ? first - 1 : first); /* warm-up alone: behind it is the last rate */
    *over = (double)MAX(1, s->steps - first);
}

double ingot_schedule_rate(const ingot_schedule *s, int64_t step)
{
    if (step < s->warmup) return s->lr * (double)(step + 1) / (double)s->warmup;
    double from, over;
    falling(s, &from, &over);
    double p = fmin(fmax(((double)step - from) / over, 0), 1);
    switch (s->kind) {
    case INGOT_COSINE: return s->lr * (s->final_ratio + (1 - s->final_ratio) * 0.5 * (1 + cos(pi * p)));
    case INGOT_LINEAR:
    case INGOT_WSD: return s->lr * (1 - (1 - s->final_ratio) * p);
    default: return s->lr;
    }
}

value *schedule_build(build *b, const ingot_schedule *s, value *step)
{
    double from, over, span = 1 - s->final_ratio;
    falling(s, &from, &over);
    char after[256], formula[512], p[128];
    snprintf(p, sizeof p, "min(max((a - %.17g) / %.17g, 0), 1)", from, over);
    if (s->kind == INGOT_COSINE)
        snprintf(after, sizeof after, "%.17g * (%.17g + %.17g * (1 + cos(%.17g * %s)))", s->lr, s->final_ratio,
                 0.5 * span, pi, p);
    else if (s->kind == INGOT_CONSTANT)
        snprintf(after, sizeof after, "%.17g", s->lr);
    else
        snprintf(after, sizeof after, "%.17g * (1 - %.17g * %s)", s->lr, span, p);
    snprintf(formula, sizeof formula, "where(a < %.17g, %.17g * (a + 1), %s)", (double)s->warmup,
             s->warmup ? s->lr / (double)s->warmup : 0, after);
    return ingot_pointwise(b, formula, &step, 1);
}
