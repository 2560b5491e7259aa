/* A run: opens everything, then steps, evaluates, logs and saves to its end. */
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
    if (o->ahead > STEPPER_MOST_AHEAD || o->look_every < 0)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%d steps ahead: at most %d are", o->ahead, STEPPER_MOST_AHEAD);
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

static ingot_task task_of(ingot_trainer *t)
{
    return model_task_of(&t->task, t->options.recompute);
}

static status plan(ingot_trainer *t, ingot_train_memory *out)
{
    ingot_task task = task_of(t);
    ingot_stepper *planned;
    TRY(stepper_plan(t->device, &task, &t->options.optimizer, &planned));
    status s = stepper_prepare(planned, t->options.accumulate > 1, t->val != NULL);
    if (!s) s = stepper_run_ahead(planned, t->options.ahead);
    if (!s) *out = ingot_stepper_describe(planned);
    ingot_stepper_free(planned);
    return s;
}

static status check_fit(ingot_trainer *t)
{
    return stepper_check_memory(t->device, &t->memory,
                                "a smaller --batch-size (with --accumulate for the same step), a smaller --context, "
                                "--recompute, or --optimizer sgd; `ingot plan` shows what takes it");
}

/* The same step in smaller pieces, as large as there is room for; 0: none fits. */
static int64_t batch_that_fits(ingot_trainer *t, ingot_train_memory *needs)
{
    const int64_t batch = t->task.batch, accumulate = t->options.accumulate;
    int64_t fits = 0;
    for (int64_t b = batch / 2; b >= 1 && !fits; b /= 2) {
        t->task.batch = b;
        t->options.accumulate = 2; /* the program that adds gradients is there too */
        if (plan(t, needs)) break;
        if ((uint64_t)needs->peak_bytes <= device_memory_left(t->device)) fits = b;
    }
    t->task.batch = batch;
    t->options.accumulate = accumulate;
    return fits;
}

static status say_what_fits(ingot_trainer *t)
{
    char message[900], bytes[24];
    ingot_train_memory needs;
    snprintf(message, sizeof message, "%s", ingot_message(t->ctx));
    int64_t batch = batch_that_fits(t, &needs);
    if (!batch) return ingot_fail(t->ctx, INGOT_ERROR_MEMORY, "%s", message);
    int64_t pieces = (t->task.batch + batch - 1) / batch;
    return ingot_fail(t->ctx, INGOT_ERROR_MEMORY, "%s. --batch-size %lld --accumulate %lld needs %s and fits", message,
                      (long long)batch, (long long)(t->options.accumulate * pieces),
                      format_bytes(bytes, (uint64_t)needs.peak_bytes));
}

status trainer_check_memory(ingot_trainer *t)
{
    TRY(plan(t, &t->memory));
    status s = check_fit(t);
    return s == INGOT_ERROR_MEMORY ? say_what_fits(t) : s;
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
    ingot_task task = task_of(t);
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
    return plan(&t, out);
}

/* ---- running ---- */

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
    if ((s != INGOT_ERROR_NOT_FINITE && s != INGOT_ERROR_DEVICE) || !t->run || t->saved_step <= 0) return s;
    char message[900];
    snprintf(message, sizeof message, "%s", ingot_message(t->ctx));
    return ingot_fail(t->ctx, s, "%s. The last good checkpoint is %s/last, of step %lld", message, t->options.output,
                      (long long)t->saved_step);
}

/* The next step's batches to the device; *data: whether it was they that could not be read. */
static status submit(ingot_trainer *t, bool *data)
{
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

static status sum_split(ingot_stepper *s, feed *f, int64_t batches, ingot_evaluation *out)
{
    double loss = 0, right = 0, bytes = 0, count = 0;
    TRY(f->seek(f, (ingot_batch_state){0}));
    for (int64_t i = 0; !batches || i < batches; i++) {
        ingot_step_result r;
        TRY(f->advance(f));
        if (!f->targets) break;
        TRY(ingot_stepper_evaluate(s, f->inputs, f->count, &r));
        loss += r.loss * r.count;
        right += r.metric * r.count;
        count += r.count;
        bytes += (double)f->text_bytes;
        if (ingot_interrupted(f->ctx)) return ingot_fail(f->ctx, INGOT_ERROR_INTERRUPTED, "the evaluation was stopped");
    }
    if (!(count > 0)) return ingot_fail(f->ctx, INGOT_ERROR_ARGUMENT, "there is nothing to predict in this split");
    *out = (ingot_evaluation){.loss = loss / count,
                              .bits_per_byte = bytes > 0 ? loss / log(2) / bytes : 0,
                              .perplexity = exp(loss / count),
                              .accuracy = right / count,
                              .tokens = (int64_t)count};
    return INGOT_OK;
}

ingot_status ingot_trainer_evaluate(ingot_trainer *t, ingot_train_event *e)
{
    if (!t->val) return ingot_fail(t->ctx, INGOT_ERROR_ARGUMENT, "%s has no val split", t->options.data);
    double begin = seconds_now();
    ingot_evaluation found;
    TRY(sum_split(t->stepper, t->val, t->options.eval_batches, &found));
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

/* ---- evaluation by itself ---- */

static status evaluate_model(ingot_device *d, const ingot_model *model, feed *f, model_task *task, int64_t batches,
                             ingot_evaluation *out)
{
    ingot_stepper *s;
    ingot_task how = {.loss = model_task_loss, .user = task};
    TRY(stepper_evaluator(d, &how, &s));
    status failed = ingot_model_describe(model).directory ? ingot_model_read(model, ingot_stepper_store(s), 0)
                                                          : ingot_model_init(model, ingot_stepper_store(s), 0);
    if (!failed) failed = sum_split(s, f, batches, out);
    ingot_stepper_free(s);
    return failed;
}

ingot_status ingot_evaluate(ingot_device *d, const ingot_model *model, const ingot_eval_options *o,
                            ingot_evaluation *out)
{
    feed_options options = {.data = o->data,
                            .split = o->split ? o->split : "val",
                            .rows = o->rows,
                            .raw_u16 = o->raw_u16 != 0,
                            .batch = o->batch_size ? o->batch_size : 8,
                            .length = o->length,
                            .micros = 1,
                            .count_bytes = true};
    feed *f;
    TRY(feed_open(model, d->ctx, &options, &f));
    model_task task = {model, options.batch, f->length, f->segments, -1, true};
    status s = evaluate_model(d, model, f, &task, o->batches, out);
    feed_close(f);
    if (!s && !isfinite(out->loss))
        s = ingot_fail(d->ctx, INGOT_ERROR_NOT_FINITE, "the loss of this model on %s is %g: its weights are of no use",
                       o->data, out->loss);
    return s;
}
