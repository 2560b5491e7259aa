/* Runs in turns, watched and not: their difference is what watching costs. */
#include "bench/profile_run.h"
#include "base/rng.h"
#include "bench/flow.h"
#include "infer/session.h"
#include "train/step.h"

#include <stdio.h>

typedef struct subject {
    const profile_plan *plan;
    ingot_device *d;
    bench_run train;
    session *s;
    cached *sequences;
    int32_t *tokens;
    ingot_program *programs[2]; /* in the order in which a run runs them */
    int count;
    char test[64];
} subject;

static status open_training(subject *x, const ingot_model *m)
{
    TRY(bench_run_open(x->d, m, &x->plan->train, &x->train));
    x->programs[0] = x->train.stepper->first;
    x->programs[1] = x->train.stepper->update;
    x->count = 2;
    if (ingot_model_describe(m).image)
        snprintf(x->test, sizeof x->test, "train B%lld", (long long)x->plan->train.batch_size);
    else
        snprintf(x->test, sizeof x->test, "train B%lldxT%lld", (long long)x->plan->train.batch_size,
                 (long long)x->plan->train.context);
    return INGOT_OK;
}

/* A run is a prompt of the context's length, or one token of each sequence behind such a prompt. */
static status open_session(subject *x, const ingot_model *m)
{
    const bench_train *how = &x->plan->train;
    bool prefill = x->plan->phase == PROFILE_PREFILL;
    int64_t batch = how->batch_size, length = prefill ? MIN(how->context, INT64_C(512) / batch) : how->context;
    ingot_session_options o = {.context = how->context, .sequences = batch, .seed = how->seed};
    TRY(ingot_session_new(m, x->d, &o, &x->s));
    x->tokens = malloc(sizeof *x->tokens * (size_t)length);
    x->sequences = calloc((size_t)batch, sizeof *x->sequences);
    if (!x->tokens || !x->sequences) return fail_memory(x->d->ctx, "tokens", (uint64_t)length * 4);
    rng random = rng_make(how->seed, 1);
    for (int64_t i = 0; i < length; i++)
        x->tokens[i] = (int32_t)rng_below(&random, (uint32_t)ingot_model_describe(m).vocab_size);
    snprintf(x->test, sizeof x->test, prefill ? "pp%lld B%lld" : "tg1 @ d%lld B%lld",
             (long long)(prefill ? length : length - 1), (long long)batch);
    return INGOT_OK;
}

static int64_t prompt_rows(const subject *x)
{
    const bench_train *how = &x->plan->train;
    return x->plan->phase == PROFILE_PREFILL ? MIN(how->context, INT64_C(512) / how->batch_size) : 1;
}

/* The same tokens at the same places each time: positions go back before a run. */
static status run_rows(subject *x)
{
    int64_t batch = x->plan->train.batch_size, rows = prompt_rows(x);
    rows_begin(x->s);
    for (int64_t i = 0; i < batch; i++) {
        x->sequences[i].done = x->plan->phase == PROFILE_PREFILL ? 0 : x->plan->train.context - 1;
        rows_add(x->s, &x->sequences[i], x->tokens, rows, 1);
    }
    return rows_run(x->s);
}

static status prepare_session(subject *x)
{
    int64_t batch = x->plan->train.batch_size;
    for (int64_t i = 0; i < batch; i++)
        if (!session_open(x->s, &x->sequences[i], x->plan->train.context, NULL, 0))
            return ingot_fail(x->d->ctx, INGOT_ERROR_INTERNAL, "the cache has no room for %lld sequences",
                              (long long)batch);
    TRY(run_rows(x));
    x->count = 1;
    x->programs[0] = x->s->ran;
    return INGOT_OK;
}

static status run_once(subject *x, double *seconds)
{
    double began = bench_now();
    TRY(x->s ? run_rows(x) : bench_run_step(&x->train));
    TRY(x->d->def->sync(x->d));
    *seconds = bench_now() - began;
    return INGOT_OK;
}

static status watch(const subject *x, const profile *f, bool on)
{
    for (int i = 0; i < x->count; i++) TRY(profile_watch(f, x->programs[i], on));
    return INGOT_OK;
}

static status add_run(subject *x, profile *f)
{
    profile_begin(f);
    for (int i = 0; i < x->count; i++) TRY(profile_add(f, x->d->ctx, x->programs[i]));
    return INGOT_OK;
}

typedef struct turns {
    ARRAY(double) plain, watched;
} turns;

static status median_ms(context *ctx, double *samples, int64_t count, double *ms)
{
    bench_stats stats;
    TRY(bench_stats_of(ctx, samples, count, &stats));
    *ms = stats.median * 1e3;
    bench_stats_free(&stats);
    return INGOT_OK;
}

static status take_turns(subject *x, profile *f, turns *t)
{
    const bench_effort *effort = &x->plan->train.effort;
    double seconds;
    for (int64_t i = 0; i < effort->warmup; i++) TRY(run_once(x, &seconds));
    for (int64_t i = 0; i < MAX(effort->repetitions, (int64_t)1); i++) {
        if (ingot_interrupted(x->d->ctx)) return ingot_fail(x->d->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
        TRY(watch(x, f, false));
        TRY(run_once(x, &seconds));
        if (!ARRAY_PUSH(&t->plain, seconds)) return fail_memory(x->d->ctx, "a profile", 8);
        TRY(watch(x, f, true));
        TRY(run_once(x, &seconds));
        if (!ARRAY_PUSH(&t->watched, seconds)) return fail_memory(x->d->ctx, "a profile", 8);
        TRY(add_run(x, f));
    }
    return INGOT_OK;
}

static status measure(subject *x, profile *f, const char *name, const machine *on, profile_result *out)
{
    turns t = {0};
    status s = take_turns(x, f, &t);
    if (s) {
        ARRAY_FREE(&t.plain);
        ARRAY_FREE(&t.watched);
        return s;
    }
    s = median_ms(x->d->ctx, t.plain.at, t.plain.count, &out->run_ms);
    status other = median_ms(x->d->ctx, t.watched.at, t.watched.count, &out->watched_ms);
    TRY(s ? s : other);
    out->steps_ms = profile_run_ms(f);
    out->rows = profile_rows(f, x->d, on, &out->limit, name, x->test);
    double start_us = 0;
    for (int i = 0; i < x->count; i++) profile_trace(f, x->programs[i], &start_us, &out->trace);
    text_puts(&out->trace, "");
    return INGOT_OK;
}

/* As it goes when nobody watches: training with steps under way behind the one that is waited for. */
static status one_run(void *user)
{
    subject *x = user;
    return x->s ? run_rows(x) : bench_run_step(&x->train);
}

static status wait_for_all(void *user)
{
    subject *x = user;
    if (!x->s) TRY(bench_run_drain(&x->train));
    return x->d->def->sync(x->d);
}

static status measure_flow(subject *x, profile *f, profile_result *out)
{
    if (!x->d->def->staging && !x->d->def->trace) return INGOT_OK;
    TRY(watch(x, f, false));
    if (!x->s) {
        x->train.ahead = STEPS_AHEAD;
        TRY(stepper_run_ahead(x->train.stepper, STEPS_AHEAD));
    }
    int64_t runs = MAX(x->plan->train.effort.repetitions, (int64_t)50);
    const flow_subject flow = {one_run, wait_for_all, x, x->s ? 0 : STEPS_AHEAD};
    return flow_measure(x->d, runs, &flow, &out->flow, &out->trace);
}

static void add_model(json_t *rows, const ingot_model *m, const profile_plan *plan)
{
    const ingot_model_info info = ingot_model_describe(m);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        row_add_model(row, &info);
        row_set_text(row, "dtype", ingot_dtype_name(info.dtype));
        if (plan->phase == PROFILE_TRAIN && plan->train.recompute)
            json_object_set_new(row, "recompute", json_integer(1));
    }
}

/* Of the whole run, so the same in every row. */
static void add_flow(json_t *rows, const profile_flow *f)
{
    size_t i;
    json_t *row;
    if (!f->runs) return;
    json_array_foreach(rows, i, row)
    {
        row_set_number(row, "run_ms", f->ms);
        row_set_number(row, "submissions", f->submissions);
        row_set_number(row, "launches", f->launches);
        row_set_number(row, "transfers", f->transfers);
        row_set_number(row, "waits", f->waits);
        if (!f->traced) continue;
        row_set_number(row, "busy", f->busy);
        row_set_number(row, "idle_ms", f->idle_ms);
        row_set_number(row, "idle_gaps", f->gaps);
    }
}

static void close_subject(subject *x)
{
    if (x->train.task) bench_run_close(&x->train);
    ingot_session_free(x->s);
    free(x->sequences);
    free(x->tokens);
}

status profile_measure(ingot_device *d, const ingot_model *m, const char *name, const profile_plan *plan,
                       const machine *on, profile_result *out)
{
    subject x = {.plan = plan, .d = d};
    profile *f = profile_new(plan->by, plan->sync);
    *out = (profile_result){0};
    status s = f ? INGOT_OK : fail_memory(d->ctx, "a profile", 64);
    if (!s && plan->phase == PROFILE_TRAIN) s = bench_check_memory(d, m, &plan->train);
    if (!s) s = device_limit_measure(d, on, ingot_model_describe(m).dtype, &out->limit);
    if (!s) s = plan->phase == PROFILE_TRAIN ? open_training(&x, m) : open_session(&x, m);
    if (!s && x.s) s = prepare_session(&x);
    if (!s) s = measure(&x, f, name, on, out);
    if (!s) s = measure_flow(&x, f, out);
    if (!s) add_model(out->rows, m, plan);
    if (!s) add_flow(out->rows, &out->flow);
    close_subject(&x);
    profile_free(f);
    return s;
}

void profile_result_free(profile_result *r)
{
    json_decref(r->rows);
    text_free(&r->trace);
    *r = (profile_result){0};
}
