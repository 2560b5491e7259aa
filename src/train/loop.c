/* A run under way: steps, some of them ahead of what is known of the ones before, evaluations, logs and checkpoints to its end.
 */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>

static status emit(ingot_trainer *t, const ingot_train_event *e)
{
    for (int i = 0; i < TRAINER_LOGS; i++) {
        if (!t->logs[i] || e->kind == INGOT_TRAIN_SAVED) continue;
        TRY(e->kind == INGOT_TRAIN_STEP ? run_log_step(t->logs[i], e) : run_log_evaluation(t->logs[i], e));
    }
    return t->options.event ? t->options.event(t->options.user, e) : INGOT_OK;
}

/* The first steps touch memory for the first time: the mean soon forgets them. */
static double time_left(ingot_trainer *t, double seconds)
{
    double share = t->mean_seconds < 0 ? 1 : 0.05;
    t->mean_seconds = share * seconds + (1 - share) * fmax(t->mean_seconds, 0);
    return t->mean_seconds * (double)(t->options.steps - t->step);
}

/* Data that cannot be read: what was trained so far is worth more than the message, which stays the first. */
static status data_failed(ingot_trainer *t, status failed)
{
    if (!t->run || t->step == t->saved_step || t->step < 1) return failed;
    char message[900];
    snprintf(message, sizeof message, "%s", ingot_message(t->ctx));
    if (ingot_trainer_save(t))
        return ingot_fail(t->ctx, failed, "%s (nor could step %lld be saved)", message, (long long)t->step);
    return ingot_fail(t->ctx, failed,
                      "%s. Step %lld was saved: once the data is mended, ingot train --resume %s goes on", message,
                      (long long)t->step, t->options.output);
}

/* A bad number, or a device that is lost: what is on the disk is as good as it was. */
static status step_failed(ingot_trainer *t, status s)
{
    t->submitted = t->step;
    t->failed = true;
    if ((s != INGOT_ERROR_NOT_FINITE && s != INGOT_ERROR_DEVICE) || !t->run || t->saved_step <= 0) return s;
    char message[900];
    snprintf(message, sizeof message, "%s", ingot_message(t->ctx));
    return ingot_fail(t->ctx, s, "%s. The last good checkpoint is %s/last, of step %lld", message, t->options.output,
                      (long long)t->saved_step);
}

static status refuse_failed(ingot_trainer *t)
{
    return ingot_fail(t->ctx, INGOT_ERROR_ARGUMENT,
                      "the step after step %lld ended this run: free the trainer, and resume from its last checkpoint",
                      (long long)t->step);
}

/* The next step's batches to the device; *data: whether it was they that could not be read. */
static status submit(ingot_trainer *t, bool *data)
{
    *data = false;
    if (t->failed) return refuse_failed(t);
    if (t->submitted == t->step) t->marked = seconds_now();
    ingot_batch_state here = t->train->next;
    status s = t->train->advance(t->train);
    *data = s != INGOT_OK;
    if (s) {
        t->train->next = here; /* of the step, not of those of its batches that were read */
        return s;
    }
    s = stepper_submit(t->stepper, t->train->inputs, t->train->count, (int)t->options.accumulate);
    if (s) return step_failed(t, s);
    t->submitted++;
    return INGOT_OK;
}

/* The oldest step that is under way; its time is that since the one before it was there. */
static status collect(ingot_trainer *t, ingot_train_event *e)
{
    ingot_step_result r;
    status s = stepper_collect(t->stepper, &r);
    if (s) return step_failed(t, s);
    double now = seconds_now();
    t->step = r.step;
    t->val_loss = NAN;
    *e = (ingot_train_event){
        .kind = INGOT_TRAIN_STEP,
        .result = r,
        .steps = t->options.steps,
        .loss_z = zscore_add(&t->loss_z, r.loss),
        .norm_z = zscore_add(&t->norm_z, r.norm),
        .seconds = now - t->marked,
        .flops = t->memory.flops_per_micro * (double)t->options.accumulate + t->memory.flops_per_update,
        .rows = t->train->positions,
        .unit = t->train->unit,
    };
    t->marked = now;
    e->seconds_left = time_left(t, e->seconds);
    return INGOT_OK;
}

/* All that is under way, told of or not: then weights, place in the data and counters are those of one step. */
static status collect_all(ingot_trainer *t, bool tell)
{
    status told = INGOT_OK;
    while (t->submitted > t->step) {
        ingot_train_event e;
        TRY(collect(t, &e));
        if (tell && !told) told = emit(t, &e);
    }
    return told;
}

ingot_status ingot_trainer_step(ingot_trainer *t, ingot_train_event *e)
{
    bool data;
    if (t->submitted > t->step)
        return ingot_fail(t->ctx, INGOT_ERROR_ARGUMENT, "a step by hand, inside of ingot_trainer_run");
    status s = submit(t, &data);
    if (s) return data ? data_failed(t, s) : s;
    TRY(collect(t, e));
    return emit(t, e);
}

ingot_status ingot_trainer_evaluate(ingot_trainer *t, ingot_train_event *e)
{
    if (!t->val) return ingot_fail(t->ctx, INGOT_ERROR_ARGUMENT, "%s has no val split", t->options.data);
    double begin = seconds_now();
    ingot_evaluation found;
    TRY(evaluate_split(t->stepper, t->val, t->options.eval_batches, &found));
    t->val_loss = found.loss;
    *e = (ingot_train_event){
        .kind = INGOT_TRAIN_EVALUATION,
        .result = {.step = t->step, .loss = found.loss, .count = (double)found.tokens, .metric = found.accuracy},
        .steps = t->options.steps,
        .loss_z = NAN,
        .norm_z = NAN,
        .seconds = seconds_now() - begin,
        .seconds_left = -1,
        .rows = found.tokens,
        .unit = t->val->unit,
        .bits_per_byte = found.bits_per_byte,
        .best = isfinite(found.loss) && !(found.loss >= t->best_val_loss),
    };
    return emit(t, e);
}

static status write_checkpoint(ingot_trainer *t, const char *folder)
{
    char *tokenizer = path_join(t->options.data, "tokenizer.json");
    bool there = tokenizer && file_exists(tokenizer);
    status s = ingot_model_save(t->model, ingot_stepper_store(t->stepper), folder, there ? tokenizer : NULL);
    free(tokenizer);
    TRY(s);
    training_state state = {.step = t->step,
                            .schedule_steps = t->options.optimizer.schedule.steps,
                            .seed = t->options.seed,
                            .data = t->train->next,
                            .val_loss = t->val_loss,
                            .loss_z = t->loss_z,
                            .norm_z = t->norm_z,
                            .settings = t->settings};
    return checkpoint_write(folder, t->stepper, &state);
}

static status save_failed(ingot_trainer *t, status s)
{
    char message[900];
    snprintf(message, sizeof message, "%s", ingot_message(t->ctx));
    run_checkpoint_abandon(t->run);
    if (t->saved_step < 0)
        return ingot_fail(t->ctx, s, "step %lld could not be saved: %s", (long long)t->step, message);
    return ingot_fail(t->ctx, s, "step %lld could not be saved: %s. The checkpoint of step %lld is untouched",
                      (long long)t->step, message, (long long)t->saved_step);
}

ingot_status ingot_trainer_save(ingot_trainer *t)
{
    if (!t->run || t->saved_step == t->step) return INGOT_OK;
    if (t->failed) return refuse_failed(t);
    const char *folder;
    bool best = isfinite(t->val_loss) && !(t->val_loss >= t->best_val_loss);
    status s = run_checkpoint_begin(t->run, t->step, &folder);
    if (!s) s = write_checkpoint(t, folder);
    if (!s) s = run_checkpoint_commit(t->run, best, t->options.keep);
    if (s) return save_failed(t, s);
    t->saved_step = t->step;
    if (best) t->best_val_loss = t->val_loss;
    char *path = run_checkpoint(t->options.output, "last");
    s = emit(t, &(ingot_train_event){.kind = INGOT_TRAIN_SAVED,
                                     .result = {.step = t->step},
                                     .path = path,
                                     .best = best,
                                     .steps = t->options.steps});
    free(path);
    return s;
}

static bool is_due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

static status interrupted(ingot_trainer *t)
{
    TRY(ingot_trainer_save(t));
    if (!t->run) return ingot_fail(t->ctx, INGOT_ERROR_INTERRUPTED, "stopped at step %lld", (long long)t->step);
    return ingot_fail(t->ctx, INGOT_ERROR_INTERRUPTED,
                      "stopped at step %lld of %lld, saved; go on with: ingot train --resume %s", (long long)t->step,
                      (long long)t->options.steps, t->options.output);
}

static bool is_save_due(const ingot_trainer *t, int64_t step)
{
    return t->run && (step == t->options.steps || is_due(step, t->options.save_every));
}

static bool is_evaluation_due(const ingot_trainer *t, int64_t step)
{
    return t->val && (step == t->options.steps || is_save_due(t, step) || is_due(step, t->options.eval_every));
}

/* Behind such a step nothing is submitted before it was looked at. */
static bool is_stop(const ingot_trainer *t, int64_t step)
{
    return step == t->options.steps || is_save_due(t, step) || is_evaluation_due(t, step) ||
           is_due(step, t->options.look_every);
}

/* As many steps as may be under way. */
static status submit_ahead(ingot_trainer *t)
{
    while (t->submitted - t->step <= t->options.ahead && (t->submitted == t->step || !is_stop(t, t->submitted))) {
        bool data;
        status s = submit(t, &data);
        if (!s) continue;
        if (!data) return s;
        text why = {0};
        text_puts(&why, ingot_message(t->ctx));
        status others = collect_all(t, true);
        if (!others) others = data_failed(t, ingot_fail(t->ctx, s, "%s", why.at ? why.at : "no memory"));
        text_free(&why);
        return others;
    }
    return INGOT_OK;
}

/* A step and what it is told to; what is under way behind one that ends the run is waited for. */
static status run_step(ingot_trainer *t)
{
    ingot_train_event e;
    TRY(submit_ahead(t));
    TRY(collect(t, &e));
    status told = emit(t, &e);
    if (told) {
        text why = {0};
        text_puts(&why, ingot_message(t->ctx));
        status others = collect_all(t, false);
        if (!others) ingot_fail(t->ctx, told, "%s", why.at ? why.at : "");
        text_free(&why);
        return others ? others : told;
    }
    if (ingot_interrupted(t->ctx)) {
        TRY(collect_all(t, true));
        return interrupted(t);
    }
    if (is_evaluation_due(t, t->step)) {
        status s = ingot_trainer_evaluate(t, &e);
        if (s) return s == INGOT_ERROR_INTERRUPTED ? interrupted(t) : data_failed(t, s);
    }
    return is_save_due(t, t->step) ? ingot_trainer_save(t) : INGOT_OK;
}

ingot_status ingot_trainer_run(ingot_trainer *t)
{
    while (t->step < t->options.steps) TRY(run_step(t));
    return INGOT_OK;
}
