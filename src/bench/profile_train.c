/* The profile of a training step. */
#include "bench/profile_train.h"
#include "train/step.h"

static status run_and_add(bench_run *r, context *ctx, profile *into)
{
    TRY(bench_run_step(r));
    TRY(profile_add(into, ctx, r->stepper->first));
    return profile_add(into, ctx, r->stepper->update);
}

status bench_profile_train(ingot_device *d, const ingot_model *m, const bench_train *how, const machine *on,
                           json_t **rows, text *trace)
{
    bench_run r = {0};
    profile *f = profile_new();
    status s = f ? INGOT_OK : fail_memory(d->ctx, "a profile", 64);
    int64_t runs = MAX(how->effort.repetitions, (int64_t)1);
    if (!s) s = bench_run_open(d, m, how, &r);
    if (!s) s = program_time_steps(r.stepper->first);
    if (!s) s = program_time_steps(r.stepper->update);
    for (int64_t i = 0; i < how->effort.warmup && !s; i++) s = bench_run_step(&r);
    for (int64_t i = 0; i < runs && !s; i++) s = run_and_add(&r, d->ctx, f);
    if (!s && trace) {
        text_puts(trace, "");
        profile_trace(r.stepper->first, 0, trace);
        double end = 0;
        for (int64_t i = 0; i < r.stepper->first->main.count; i++) end += (double)r.stepper->first->main.ns[i] * 1e-3;
        profile_trace(r.stepper->update, end, trace);
    }
    if (!s) *rows = profile_rows(f, on, runs);
    bench_run_close(&r);
    profile_free(f);
    return s;
}
