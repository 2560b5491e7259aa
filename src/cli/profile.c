/* ingot profile: where the time of a training step goes, by kernel. */
#include "base/file.h"
#include "bench/profile_train.h"
#include "bench/report.h"
#include "cli/model_options.h"

#include <stdio.h>

typedef struct profile_options {
    shape_options shape;
    device_flags device;
    const char *model, *trace;
    int64_t batch_size, context, repetitions;
    bool recompute;
} profile_options;

static const option lines[] = {
    {"model", STRING_AT(profile_options, model), "DIR", "a run, a checkpoint or a Hugging Face folder",
     .short_name = "m"},
    {"batch-size", INT_AT(profile_options, batch_size), "B", "rows a step", .initial = "8", .range = AT_LEAST(1)},
    {"context", INT_AT(profile_options, context), "T", "positions a row", .short_name = "c",
     .initial_help = "the model's", .range = AT_LEAST(1)},
    {"repetitions", INT_AT(profile_options, repetitions), "N", "steps that are summed", .initial = "5",
     .range = AT_LEAST(1)},
    {"recompute", BOOL_AT(profile_options, recompute), NULL, "recompute activations in the backward pass"},
    {"trace", STRING_AT(profile_options, trace), "FILE", "also write the last step as a trace for chrome://tracing"},
};

static const report_column columns[] = {
    {"kernel", "kernel", NULL},       {"calls", "calls", "%.0f"},    {"ms", "ms", "%.3f"},
    {"share", "share", "%.3f"},       {"gflops", "GFLOP/s", "%.1f"}, {"gb_per_s", "GB/s", "%.1f"},
    {"of_limit", "of limit", "%.2f"},
};

static status write_trace(call *c, const char *path, const text *events)
{
    text all = {0};
    text_puts(&all, "{\"traceEvents\": [\n");
    text_puts(&all, events->at ? events->at : "");
    text_puts(&all, "\n]}\n");
    status s =
        all.failed ? fail_memory(c->ctx, "a trace", all.length) : file_write_whole(c->ctx, path, all.at, all.length);
    text_free(&all);
    return s;
}

static status open_model(call *c, const profile_options *o, ingot_model **out)
{
    if (o->model) return ingot_model_load(c->ctx, o->model, out);
    ingot_model_options shape = shape_model_options(c, &o->shape);
    if (o->context) shape.context = o->context;
    return ingot_model_new(c->ctx, &shape, out);
}

static status run(call *c, void *given)
{
    const profile_options *o = given;
    ingot_model *m = NULL;
    ingot_device *d = NULL;
    json_t *rows = NULL;
    machine on;
    text trace = {0}, table = {0};
    status s;
    TRY_OR(done, open_model(c, o, &m));
    TRY_OR(done, device_flags_open(c, &o->device, &d));
    TRY_OR(done, device_flags_set_dtype(&o->device, m));
    TRY_OR(done, machine_measure(c->ctx, &on));
    bench_train how = {.batch_size = o->batch_size,
                       .context = o->context ? o->context : ingot_model_describe(m).context,
                       .recompute = o->recompute,
                       .optimizer = ingot_optimizer_defaults(1e-3, 1000),
                       .effort = {.warmup = 2, .repetitions = o->repetitions}};
    TRY_OR(done, bench_profile_train(d, m, &how, &on, &rows, o->trace ? &trace : NULL));
    report_print(rows, c->json ? REPORT_JSON : REPORT_MD, columns, COUNT(columns), &table);
    fputs(table.at ? table.at : "", stdout);
    if (o->trace) s = write_trace(c, o->trace, &trace);
done:
    text_free(&trace);
    text_free(&table);
    json_decref(rows);
    ingot_model_free(m);
    ingot_device_close(d);
    return s;
}

const verb verb_profile = {
    .name = "profile",
    .summary = "where the time of a training step goes",
    .description =
        "Times every kernel of a step on random tokens. `of limit`: the time that its FLOPs and bytes would take at "
        "this machine's measured peak and bandwidth, as a share of what it took.",
    .run = run,
    .options_bytes = sizeof(profile_options),
    .options = {{NULL, OPTIONS(lines)}, SHAPE_TABLE(profile_options, shape), DEVICE_TABLE(profile_options, device)},
    .examples = "ingot profile --preset tiny-1m\n"
                "ingot profile --model run --trace step.json\n",
};
