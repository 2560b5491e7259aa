/* A stepper fed with random tokens or pictures, as the trainer feeds it: on a device that works by itself a few steps are
 * under way, and a step's time is that from the result before it to its own.
 */
#include "bench/train.h"
#include "base/rng.h"
#include "bench/limits.h"
#include "device/device.h"
#include "train/feed.h"
#include "train/step.h"

#include <stdio.h>

status bench_run_step(bench_run *r)
{
    while (r->stepper->pending_count <= r->ahead) TRY(stepper_submit(r->stepper, r->feeds, 2, 1));
    return stepper_collect(r->stepper, &r->last);
}

status bench_run_drain(bench_run *r)
{
    while (r->stepper->pending_count) TRY(stepper_collect(r->stepper, &r->last));
    return INGOT_OK;
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

static void add_memory(json_t *row, const ingot_train_memory *m, uint64_t resident)
{
    json_object_set_new(row, "peak_bytes", json_integer((json_int_t)m->peak_bytes));
    json_object_set_new(row, "weight_bytes", json_integer((json_int_t)m->weight_bytes));
    json_object_set_new(row, "gradient_bytes", json_integer((json_int_t)m->gradient_bytes));
    json_object_set_new(row, "optimizer_bytes", json_integer((json_int_t)m->optimizer_bytes));
    json_object_set_new(row, "activation_bytes", json_integer((json_int_t)m->activation_bytes));
    json_object_set_new(row, "workspace_bytes", json_integer((json_int_t)m->workspace_bytes));
    if (resident) json_object_set_new(row, "resident_bytes", json_integer((json_int_t)resident));
}

static void add_speed(json_t *row, const bench_train *how, bool pictures, const bench_stats *s, double flops,
                      const device_limit *limit)
{
    double rows = (double)(pictures ? how->batch_size : how->batch_size * how->context);
    row_set_number(row, "ms_per_step", s->median * 1e3);
    row_set_number(row, "ms_stddev", s->deviation * 1e3);
    row_set_number(row, "ms_min", s->least * 1e3);
    json_object_set_new(row, "samples_ms", samples_ms(s));
    row_set_number(row, pictures ? "img_per_s" : "tok_per_s", rows / s->median);
    row_set_number(row, "gflops", flops / s->median * 1e-9);
    row_add_limit(row, limit);
}

static json_t *make_row(const ingot_device *d, const ingot_model_info *info, const char *model_name,
                        const bench_train *how, const machine *on, const bench_run *r)
{
    char test[64];
    json_t *row = row_new("train", d, on);
    snprintf(test, sizeof test, info->image ? "train B%lld" : "train B%lldxT%lld", (long long)how->batch_size,
             (long long)how->context);
    row_set_text(row, "model", model_name);
    row_set_text(row, "test", test);
    row_add_model(row, info);
    row_set_text(row, "dtype", ingot_dtype_name(how->dtype));
    row_set_text(row, "optimizer", ingot_optimizer_names()[how->optimizer.kind]);
    if (how->recompute) json_object_set_new(row, "recompute", json_integer(1));
    json_object_set_new(row, "batch_size", json_integer((json_int_t)how->batch_size));
    json_object_set_new(row, "context", json_integer((json_int_t)(info->image ? 0 : how->context)));
    row_set_number(row, "loss", r->last.loss);
    return row;
}

static model_task task_of(const ingot_model *m, const bench_train *how)
{
    bool pictures = ingot_model_describe(m).image > 0;
    return (model_task){.model = m, .batch = how->batch_size, .length = pictures ? 0 : how->context, .dropout = -1};
}

status bench_check_memory(ingot_device *d, const ingot_model *m, const bench_train *how)
{
    model_task of_model = task_of(m, how);
    ingot_task task = model_task_of(&of_model, how->recompute);
    ingot_stepper *planned;
    TRY(stepper_plan(d, &task, &how->optimizer, &planned));
    (void)stepper_run_ahead(planned, d->def->staging && !how->one_by_one ? STEPS_AHEAD : 0);
    ingot_train_memory memory = ingot_stepper_describe(planned);
    ingot_stepper_free(planned);
    return stepper_check_memory(d, &memory, "a smaller --batch-size or --context, or --recompute");
}

status bench_run_open(ingot_device *d, const ingot_model *m, const bench_train *how, bench_run *r)
{
    ingot_model_info info = ingot_model_describe(m);
    *r = (bench_run){.task = malloc(sizeof *r->task)};
    if (!r->task) return fail_memory(d->ctx, "a task", sizeof *r->task);
    *r->task = task_of(m, how);
    ingot_task task = model_task_of(r->task, how->recompute);
    TRY(ingot_stepper_new(d, NULL, &task, &how->optimizer, &r->stepper));
    TRY(ingot_model_init(m, ingot_stepper_store(r->stepper), how->seed));
    TRY(ingot_stepper_seek(r->stepper, how->seed, 0));
    r->ahead = how->one_by_one || !d->def->staging ? 0 : STEPS_AHEAD;
    TRY(stepper_run_ahead(r->stepper, r->ahead));
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
    uint64_t before = device_memory_in_use(d);
    bench_stats stats;
    device_limit limit;
    TRY(bench_check_memory(d, m, how));
    TRY(device_limit_measure(d, on, how->dtype, &limit));
    TRY(bench_run_open(d, m, how, r));
    TRY(bench_run_step(r));
    double first_loss = r->last.loss;
    TRY(bench_measure(d->ctx, one_step, r, &how->effort, &stats));
    ingot_train_memory memory = ingot_stepper_describe(r->stepper);
    uint64_t after = device_memory_in_use(d);
    *row = make_row(d, &info, model_name, how, on, r);
    row_set_number(*row, "first_loss", first_loss);
    json_object_set_new(*row, "repetitions", json_integer((json_int_t)stats.count));
    row_add_times(*row, &stats);
    add_speed(*row, how, info.image > 0, &stats, memory.flops_per_micro + memory.flops_per_update, &limit);
    row_add_kernels(*row, (ingot_program *const[]){r->stepper->first, r->stepper->update}, 2);
    add_memory(*row, &memory, after > before ? after - before : 0);
    bench_stats_free(&stats);
    return INGOT_OK;
}

status bench_train_run(ingot_device *d, const ingot_model *m, const char *model_name, const bench_train *how,
                       const machine *on, json_t **row)
{
    bench_run r = {0};
    status s = measure_row(d, m, model_name, how, on, &r, row);
    bench_run_close(&r);
    return s;
}
