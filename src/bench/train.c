/* A stepper fed with random tokens or pictures, timed step by step: each step is read back before the clock is. */
#include "bench/train.h"
#include "base/rng.h"
#include "train/feed.h"
#include "base/system_memory.h"

#include <stdio.h>

status bench_run_step(bench_run *r)
{
    return ingot_stepper_step(r->stepper, r->feeds, 2, 1, &r->last);
}

static status one_step(void *arg)
{
    return bench_run_step(arg);
}

static status make_tokens(context *ctx, const ingot_model_info *info, const bench_train *how, bench_run *r)
{
    int64_t count = how->batch_size * how->context;
    int32_t *tokens = malloc((size_t)count * 8), *targets = tokens + count;
    if (!tokens) return fail_memory(ctx, "a batch", (uint64_t)count * 8);
    rng random = rng_make(how->seed, 1);
    for (int64_t i = 0; i < 2 * count; i++) tokens[i] = (int32_t)rng_below(&random, (uint32_t)info->vocab_size);
    r->feeds[0] = (ingot_feed){"tokens", tokens, count * 4};
    r->feeds[1] = (ingot_feed){"targets", targets, count * 4};
    return INGOT_OK;
}

static status make_pictures(context *ctx, const ingot_model_info *info, const bench_train *how, bench_run *r)
{
    int64_t count = how->batch_size * info->image * info->image * 3;
    float *pixels = malloc((size_t)count * 4 + (size_t)how->batch_size * 4);
    if (!pixels) return fail_memory(ctx, "a batch", (uint64_t)count * 4);
    int32_t *targets = (int32_t *)(pixels + count);
    rng random = rng_make(how->seed, 1);
    for (int64_t i = 0; i < count; i++) pixels[i] = (float)rng_normal(&random);
    for (int64_t i = 0; i < how->batch_size; i++) targets[i] = (int32_t)rng_below(&random, (uint32_t)info->classes);
    r->feeds[0] = (ingot_feed){"images", pixels, count * 4};
    r->feeds[1] = (ingot_feed){"targets", targets, how->batch_size * 4};
    return INGOT_OK;
}

static json_t *samples_ms(const bench_stats *s)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < s->count; i++) json_array_append_new(list, json_real(s->samples[i] * 1e3));
    return list;
}

static json_t *make_row(const ingot_device *d, const ingot_model_info *info, const char *model_name,
                        const bench_train *how, const machine *on, const bench_run *r, const bench_stats *s,
                        const ingot_train_memory *memory, uint64_t resident)
{
    char test[64];
    bool pictures = info->image > 0;
    double rows = (double)(pictures ? how->batch_size : how->batch_size * how->context);
    double flops = memory->flops_per_micro + memory->flops_per_update;
    snprintf(test, sizeof test, pictures ? "train B%lld" : "train B%lldxT%lld", (long long)how->batch_size,
             (long long)how->context);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:f, "
        "s:o}",
        "version", ingot_version(), "cpu_info", on->cpu, "backend", ingot_device_name(d), "model", model_name, "test",
        test, "n_params", (json_int_t)info->parameters, "n_threads", on->threads, "dtype",
        ingot_dtype_name(info->dtype), "batch_size", (json_int_t)how->batch_size, "context",
        (json_int_t)(pictures ? 0 : how->context), "repetitions", (json_int_t)s->count, "ms_per_step", s->median * 1e3,
        "ms_stddev", s->deviation * 1e3, "ms_min", s->least * 1e3, pictures ? "img_per_s" : "tok_per_s",
        rows / s->median, "gflops", flops / s->median * 1e-9, "peak_gflops", on->peak_flops * 1e-9, "mfu",
        on->peak_flops > 0 ? flops / s->median / on->peak_flops : 0.0, "peak_bytes", (json_int_t)memory->peak_bytes,
        "resident_bytes", (json_int_t)resident, "loss", r->last.loss, "samples_ms", samples_ms(s));
}

status bench_run_open(ingot_device *d, const ingot_model *m, const bench_train *how, bench_run *r)
{
    ingot_model_info info = ingot_model_describe(m);
    *r = (bench_run){.task = malloc(sizeof *r->task)};
    if (!r->task) return fail_memory(d->ctx, "a task", sizeof *r->task);
    *r->task =
        (model_task){.model = m, .batch = how->batch_size, .length = info.image ? 0 : how->context, .dropout = -1};
    ingot_task task = model_task_of(r->task, how->recompute);
    TRY(ingot_stepper_new(d, NULL, &task, &how->optimizer, &r->stepper));
    TRY(ingot_model_init(m, ingot_stepper_store(r->stepper), how->seed));
    TRY(ingot_stepper_seek(r->stepper, how->seed, 0));
    return (info.image ? make_pictures : make_tokens)(d->ctx, &info, how, r);
}

void bench_run_close(bench_run *r)
{
    ingot_stepper_free(r->stepper);
    free((void *)(uintptr_t)r->feeds[0].data);
    free(r->task);
}

static status measure_row(ingot_device *d, const ingot_model *m, const char *model_name, const bench_train *how,
                          const machine *on, bench_run *r, json_t **row)
{
    ingot_model_info info = ingot_model_describe(m);
    uint64_t before = memory_resident();
    bench_stats stats;
    TRY(bench_run_open(d, m, how, r));
    TRY(bench_run_step(r));
    double first_loss = r->last.loss;
    TRY(bench_measure(d->ctx, one_step, r, &how->effort, &stats));
    ingot_train_memory memory = ingot_stepper_describe(r->stepper);
    uint64_t after = memory_resident();
    *row = make_row(d, &info, model_name, how, on, r, &stats, &memory, after > before ? after - before : 0);
    if (*row) json_object_set_new(*row, "first_loss", json_real(first_loss));
    bench_stats_free(&stats);
    return *row ? INGOT_OK : fail_memory(d->ctx, "a row", 0);
}

status bench_train_run(ingot_device *d, const ingot_model *m, const char *model_name, const bench_train *how,
                       const machine *on, json_t **row)
{
    bench_run r;
    status s = measure_row(d, m, model_name, how, on, &r, row);
    bench_run_close(&r);
    return s;
}
