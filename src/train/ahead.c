/* Running ahead: a step is submitted while those before it are under way, and its loss is looked at when it is there.
 *
 * The step itself decides whether it is applied, and one that is not halts those behind it (optimizer.c), so that what the
 * host learns late changes nothing: a step that overflowed is repeated with those behind it, and one that is not finite
 * is run again from its batches, over the weights as they were.
 */
#include "train/step.h"

#include <math.h>

enum {
    RESULT_LOSS,
    RESULT_COUNT,
    RESULT_METRIC,
    RESULT_NORM,
    RESULT_RATE,
    RESULT_APPLIED,
    RESULT_STEP,
    RESULT_SCALE,
    RESULTS
};

status stepper_run_ahead(ingot_stepper *s, int ahead)
{
    ingot_program *const programs[] = {s->first, s->more, s->update};
    s->ahead = MIN(MAX(ahead, 0), STEPPER_MOST_AHEAD);
    if (!s->ahead || s->store->plan_only) return INGOT_OK;
    for (size_t i = 0; i < COUNT(programs); i++)
        if (programs[i]) TRY(program_stage(programs[i], s->ahead + 2));
    return INGOT_OK;
}

static status launch(ingot_stepper *s, pending_step *p)
{
    return stepper_run(s, p->batches, p->feeds, p->micros, &p->slot);
}

static status read_result(ingot_stepper *s, const pending_step *p, float *result)
{
    if (!s->update->results.slots) return ingot_read(s->update, "result", result, RESULTS * sizeof *result);
    return program_fetched(s->update, p->slot, "result", result, RESULTS * sizeof *result);
}

status stepper_submit(ingot_stepper *s, const ingot_feed *batches, int feeds, int micros)
{
    if (micros < 1) return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "a step needs at least one batch");
    if (s->pending_count > s->ahead)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "%d steps are under way; collect one first", s->pending_count);
    TRY(stepper_prepare(s, micros > 1, false));
    pending_step *p = &s->pending[s->pending_count];
    *p = (pending_step){.batches = batches, .feeds = feeds, .micros = micros};
    TRY(launch(s, p));
    s->pending_count++;
    return INGOT_OK;
}

/* The step was not applied: run it again from its batches, looking at every value, to name the op that began it. */
static status explain(ingot_stepper *s, const pending_step *p, const float *result)
{
    int64_t step = (int64_t)result[RESULT_STEP] + 1;
    if (!(result[RESULT_COUNT] > 0))
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "step %lld: the batch has no target to predict",
                          (long long)step);
    status found = stepper_run(s, p->batches, p->feeds, p->micros, NULL);
    if (found && found != INGOT_ERROR_NOT_FINITE) return found;
    double loss = (double)result[RESULT_LOSS] / result[RESULT_COUNT], norm = result[RESULT_NORM];
    if (!found)
        return ingot_fail(s->ctx, INGOT_ERROR_NOT_FINITE,
                          "step %lld gave a loss of %g and a gradient norm of %g, and finite numbers when it was run "
                          "again: is this machine's memory sound?",
                          (long long)step, loss, norm);
    text cause = {0};
    text_puts(&cause, ingot_message(s->ctx));
    status failed = stepper_begin_again(s);
    if (!failed)
        failed =
            ingot_fail(s->ctx, INGOT_ERROR_NOT_FINITE,
                       "step %lld gave a loss of %g and a gradient norm of %g; no weight was changed. The first op "
                       "with such a value: %s",
                       (long long)step, loss, norm, cause.at ? cause.at : "unknown");
    text_free(&cause);
    return failed;
}

/* Gradients that a smaller scale may save; the update has halved it. */
static bool overflowed(const float *result)
{
    return result[RESULT_APPLIED] == 0 && result[RESULT_COUNT] > 0 && isfinite(result[RESULT_LOSS]) &&
           result[RESULT_SCALE] > 1;
}

/* The oldest step was halted, and with it all behind it: begins again with it. */
static status repeat(ingot_stepper *s, float *result)
{
    TRY(s->device->def->sync(s->device));
    while (overflowed(result)) {
        TRY(stepper_begin_again(s));
        TRY(launch(s, &s->pending[0]));
        TRY(read_result(s, &s->pending[0], result));
    }
    for (int i = 1; i < s->pending_count && result[RESULT_APPLIED] != 0; i++) TRY(launch(s, &s->pending[i]));
    return INGOT_OK;
}

static status collect(ingot_stepper *s, float *result)
{
    TRY(read_result(s, &s->pending[0], result));
    if (result[RESULT_APPLIED] == 0) TRY(repeat(s, result));
    if (result[RESULT_APPLIED] != 0) return INGOT_OK;
    TRY(stepper_begin_again(s));
    return explain(s, &s->pending[0], result);
}

status stepper_collect(ingot_stepper *s, ingot_step_result *out)
{
    float result[RESULTS];
    if (!s->pending_count) return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "no step is under way");
    status failed = collect(s, result);
    s->pending_count = failed ? 0 : s->pending_count - 1;
    memmove(s->pending, s->pending + 1, sizeof *s->pending * (size_t)s->pending_count);
    TRY(failed);
    if (out)
        *out = (ingot_step_result){.step = (int64_t)result[RESULT_STEP],
                                   .loss = (double)result[RESULT_LOSS] / result[RESULT_COUNT],
                                   .count = result[RESULT_COUNT],
                                   .metric = (double)result[RESULT_METRIC] / result[RESULT_COUNT],
                                   .norm = result[RESULT_NORM],
                                   .lr = result[RESULT_RATE]};
    return INGOT_OK;
}

ingot_status ingot_stepper_step(ingot_stepper *s, const ingot_feed *batches, int feeds, int micros,
                                ingot_step_result *out)
{
    TRY(stepper_submit(s, batches, feeds, micros));
    return stepper_collect(s, out);
}
