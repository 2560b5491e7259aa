/* A run: opens all that it needs (loop.c runs it). */
#define _GNU_SOURCE
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>

ingot_train_options ingot_train_defaults(void)
{
    return (ingot_train_options){
        .steps = 200,
        .batch_size = 8,
        .accumulate = 1,
        .dropout = -1,
        .ahead = -1,
        .optimizer = ingot_optimizer_defaults(1e-3, 0),
    };
}

/* ---- opening ---- */

static status check_rounding(context *ctx, const ingot_model *model, const ingot_train_options *o)
{
    if (!o->stochastic_rounding || dtype_is_narrow(ingot_model_describe(model).dtype)) return INGOT_OK;
    return ingot_fail(
        ctx, INGOT_ERROR_ARGUMENT,
        "stochastic rounding is of 16-bit copies of the weights, and float32 training has none: use --dtype "
        "bfloat16 or float16, or leave --stochastic-rounding out");
}

static status check_options(context *ctx, const ingot_model *model, const ingot_train_options *o)
{
    if (o->steps < 1 || o->steps >= 1 << 24)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%lld steps: it must be from 1 to %d", (long long)o->steps,
                          (1 << 24) - 1);
    if (o->accumulate < 1 || o->accumulate > 1 << 20)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "a step cannot accumulate %lld micro-batches",
                          (long long)o->accumulate);
    if (o->ahead > STEPPER_MOST_AHEAD)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%d steps ahead: at most %d are", o->ahead, STEPPER_MOST_AHEAD);
    if (o->look_every < 0)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "look_every is %lld: it must be 0 (never) or more",
                          (long long)o->look_every);
    if (!(o->dropout < 1)) return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "dropout %g must be below 1", o->dropout);
    if (o->resume && (!o->output || o->overwrite))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "a resume needs the run's folder, and does not overwrite it");
    return check_rounding(ctx, model, o);
}

/* Without a val split a run goes on, unless it was told to evaluate. */
static status open_validation(ingot_trainer *t, feed_options o)
{
    status s = INGOT_OK;
    o.split = "val";
    o.micros = 1;
    o.ahead = 0;
    o.shuffle = false;
    o.count_bytes = o.quiet = true;
    if (directory_exists(o.data))
        s = feed_open(t->model, t->ctx, &o, &t->val);
    else
        s = ingot_fail(t->ctx, INGOT_ERROR_ARGUMENT, "%s is no folder with a val split", o.data);
    if (!s || t->options.eval_every) return s;
    log_line(t->ctx, INGOT_LOG_INFO, "no validation: %s", ingot_message(t->ctx));
    return INGOT_OK;
}

static status open_feeds(ingot_trainer *t)
{
    const ingot_train_options *o = &t->options;
    feed_options train = {.data = o->data,
                          .split = "train",
                          .rows = o->rows,
                          .raw_u16 = o->raw_u16 != 0,
                          .batch = o->batch_size,
                          .length = o->length,
                          .micros = (int)o->accumulate,
                          .ahead = o->ahead,
                          .shuffle = true,
                          .seed = o->seed};
    TRY(feed_open(t->model, t->ctx, &train, &t->train));
    TRY(open_validation(t, train));
    t->task = (model_task){t->model,   o->batch_size, t->train->length,           t->train->segments,
                           o->dropout, false,         o->stochastic_rounding != 0};
    return INGOT_OK;
}

/* Overwriting the run that the weights come from would remove them before they are read. */
static status check_overwrite(ingot_trainer *t)
{
    const char *from = ingot_model_describe(t->model).directory, *output = t->options.output;
    char *inner = from ? realpath(from, NULL) : NULL, *outer = realpath(output, NULL);
    size_t length = outer ? strlen(outer) : 0;
    bool inside = inner && outer && !strncmp(inner, outer, length) && (inner[length] == '/' || !inner[length]);
    free(inner);
    free(outer);
    if (!inside) return INGOT_OK;
    return ingot_fail(t->ctx, INGOT_ERROR_ARGUMENT,
                      "--overwrite would remove %s, where the model comes from: use another --output", from);
}

/* A new run's folder is made only once all else is known to fit; what is there is locked before it is read. */
static status open_run(ingot_trainer *t, bool early)
{
    const ingot_train_options *o = &t->options;
    bool is_new = !o->resume && !o->overwrite;
    if (!o->output || (!early && o->resume)) return INGOT_OK;
    if (early && o->overwrite) return check_overwrite(t);
    if (early && is_new) return run_check_new(t->ctx, o->output);
    TRY(run_open(t->ctx, o->output, o->resume ? RUN_RESUME : o->overwrite ? RUN_OVERWRITE : RUN_NEW, &t->run));
    ingot_model_info m = ingot_model_describe(t->model);
    if (!m.directory || m.trainable == m.parameters) return INGOT_OK;
    return run_spare_checkpoint(t->ctx, m.directory, o->output);
}

static status open_logs(ingot_trainer *t)
{
    char *own = t->run ? run_file(t->run, "log.jsonl") : NULL;
    if (t->run && !own) return fail_memory(t->ctx, "the log", 0);
    status s = own ? run_log_open(t->ctx, own, LOG_JSONL, t->step, &t->logs[0]) : INGOT_OK;
    free(own);
    const ingot_train_options *o = &t->options;
    if (!s && o->log_jsonl) s = run_log_open(t->ctx, o->log_jsonl, LOG_JSONL, t->step, &t->logs[1]);
    if (!s && o->log_csv) s = run_log_open(t->ctx, o->log_csv, LOG_CSV, t->step, &t->logs[2]);
    return s;
}

static void say_rate_beyond(ingot_trainer *t)
{
    const ingot_schedule *s = &t->options.optimizer.schedule;
    if (s->kind == INGOT_CONSTANT || t->options.steps <= s->steps) return;
    log_line(t->ctx, INGOT_LOG_INFO,
             "the schedule has %lld steps (--schedule-steps): from there to step %lld the rate stays at %.3g",
             (long long)s->steps, (long long)t->options.steps, ingot_schedule_rate(s, s->steps));
}

/* The schedule's length is part of the run: a resume keeps it unless it is told another. */
static void take_schedule(ingot_trainer *t, const training_state *state)
{
    ingot_schedule *s = &t->options.optimizer.schedule;
    if (!s->steps) s->steps = state ? state->schedule_steps : t->options.steps;
    if (state && s->steps != state->schedule_steps)
        log_line(t->ctx, INGOT_LOG_WARNING,
                 "the schedule now has %lld steps instead of %lld: the rate goes from %.3g to %.3g at once",
                 (long long)s->steps, (long long)state->schedule_steps,
                 ingot_schedule_rate(
                     &(ingot_schedule){s->kind, s->lr, s->final_ratio, s->warmup, state->schedule_steps, s->decay},
                     MAX(0, state->step - 1)),
                 ingot_schedule_rate(s, state->step));
}

static status make_stepper(ingot_trainer *t)
{
    ingot_task task = trainer_task(t);
    TRY(ingot_stepper_new(t->device, NULL, &task, &t->options.optimizer, &t->stepper));
    TRY(stepper_prepare(t->stepper, t->options.accumulate > 1, t->val != NULL));
    TRY(stepper_run_ahead(t->stepper, t->options.ahead));
    ingot_store *store = ingot_stepper_store(t->stepper);
    bool fresh = !ingot_model_describe(t->model).directory;
    TRY(fresh ? ingot_model_init(t->model, store, t->options.seed)
              : ingot_model_read(t->model, store, t->options.seed));
    return ingot_stepper_seek(t->stepper, t->options.seed, 0);
}

static status resume(ingot_trainer *t, const char *folder, const training_state *state)
{
    TRY(checkpoint_read_optimizer(folder, t->stepper, state));
    TRY(t->train->seek(t->train, state->data));
    trainer_compare_settings(t, state->settings);
    t->step = t->submitted = t->saved_step = state->step;
    t->val_loss = state->val_loss;
    t->loss_z = state->loss_z;
    t->norm_z = state->norm_z;
    char *best = run_checkpoint(t->options.output, "best");
    if (best) t->best_val_loss = checkpoint_val_loss(t->ctx, best);
    free(best);
    if (t->step >= t->options.steps)
        return ingot_fail(t->ctx, INGOT_ERROR_ARGUMENT,
                          "%s already has %lld steps: --steps is the total, so give more than that", t->options.output,
                          (long long)t->step);
    return INGOT_OK;
}

static status open_trainer(ingot_trainer *t)
{
    training_state state = {0};
    char *folder = NULL;
    status s = check_options(t->ctx, t->model, &t->options);
    if (!s) s = open_run(t, true);
    bool resuming = t->options.resume;
    if (!s && resuming) {
        folder = run_checkpoint(t->options.output, "last");
        s = folder ? checkpoint_read_state(t->ctx, folder, &state) : fail_memory(t->ctx, "the checkpoint", 0);
        if (!s) t->options.seed = state.seed;
    }
    if (!s) s = open_feeds(t);
    if (!s) take_schedule(t, resuming ? &state : NULL);
    if (!s) s = trainer_check_memory(t);
    if (!s) s = open_run(t, false);
    if (!s) s = make_stepper(t);
    if (!s) s = trainer_settings(t, &t->settings);
    if (!s && resuming) s = resume(t, folder, &state);
    if (!s) s = open_logs(t);
    if (!s) say_rate_beyond(t);
    json_decref(state.settings);
    free(folder);
    return s;
}

ingot_status ingot_trainer_new(ingot_device *d, const ingot_model *model, const ingot_train_options *options,
                               ingot_trainer **out)
{
    *out = NULL;
    ingot_trainer *t = calloc(1, sizeof *t);
    if (!t) return fail_memory(d->ctx, "a trainer", sizeof *t);
    *t = (ingot_trainer){.ctx = d->ctx,
                         .device = d,
                         .model = model,
                         .options = *options,
                         .saved_step = -1,
                         .marked = -1,
                         .val_loss = NAN,
                         .best_val_loss = NAN,
                         .mean_seconds = -1};
    if (t->options.ahead < 0) t->options.ahead = d->def->staging ? STEPS_AHEAD : 0;
    status s = open_trainer(t);
    if (s) {
        ingot_trainer_free(t);
        return s;
    }
    *out = t;
    return INGOT_OK;
}

void ingot_trainer_free(ingot_trainer *t)
{
    if (!t) return;
    feed_close(t->train);
    feed_close(t->val);
    ingot_stepper_free(t->stepper);
    for (int i = 0; i < TRAINER_LOGS; i++) run_log_close(t->logs[i]);
    run_close(t->run);
    json_decref(t->settings);
    free(t);
}

ingot_store *ingot_trainer_store(ingot_trainer *t)
{
    return ingot_stepper_store(t->stepper);
}

ingot_train_memory ingot_trainer_memory(const ingot_trainer *t)
{
    return t->memory;
}

ingot_status ingot_train_plan(ingot_device *d, const ingot_model *model, const ingot_train_options *options,
                              ingot_train_memory *out)
{
    ingot_model_info m = ingot_model_describe(model);
    ingot_trainer t = {.ctx = d->ctx, .device = d, .model = model, .options = *options};
    if (t.options.ahead < 0) t.options.ahead = d->def->staging ? STEPS_AHEAD : 0;
    bool packed = options->rows && !strcmp(options->rows, "document");
    t.task = (model_task){model,
                          options->batch_size,
                          options->length ? options->length : m.context,
                          packed,
                          options->dropout,
                          false,
                          options->stochastic_rounding != 0};
    if (m.image) t.task.length = 0;
    if (!t.options.optimizer.schedule.steps) t.options.optimizer.schedule.steps = t.options.steps;
    TRY(check_options(d->ctx, model, options));
    return trainer_plan(&t, out);
}
