/* ingot bench: what is measured is in src/bench; here are its flags and its tables. */
#include "bench/report.h"
#include "bench/train.h"
#include "cli/model_options.h"
#include "device/device.h"

#include <stdio.h>

typedef struct train_bench_options {
    shape_options shape;
    device_flags device;
    int64_t batch_size, context, repetitions, warmup, seed;
    bool recompute;
    string_list optimizers;
    int format;
} train_bench_options;

static const option train_lines[] = {
    {"batch-size", INT_AT(train_bench_options, batch_size), "B", "rows a step", .initial = "8", .range = AT_LEAST(1)},
    {"context", INT_AT(train_bench_options, context), "T", "positions a row", .short_name = "c",
     .initial_help = "the preset's", .range = AT_LEAST(1)},
    {"repetitions", INT_AT(train_bench_options, repetitions), "N", "steps that are timed", .short_name = "r",
     .initial = "10", .range = AT_LEAST(1)},
    {"warmup", INT_AT(train_bench_options, warmup), "N", "steps before them", .initial = "2", .range = AT_LEAST(0)},
    {"optimizer", LIST_AT(train_bench_options, optimizers), "NAME", "adamw, adam, sgd; several give a row each",
     .initial_help = "adamw"},
    {"recompute", BOOL_AT(train_bench_options, recompute), NULL, "recompute activations in the backward pass"},
    {"seed", INT_AT(train_bench_options, seed), "N", "of weights and tokens", .initial = "1", .range = AT_LEAST(0)},
    {"output-format", CHOICE_AT(train_bench_options, format), NULL, "md, csv, json, jsonl", .short_name = "o",
     .initial = "md", .choices = report_formats},
};

static const report_column train_columns[] = {
    {"model", "model", NULL},       {"n_params", "params", "%.0f"},
    {"backend", "backend", NULL},   {"n_threads", "threads", "%.0f"},
    {"dtype", "dtype", NULL},       {"optimizer", "optimizer", NULL},
    {"test", "test", NULL},         {"ms_per_step", "ms/step", "%.2f"},
    {"ms_stddev", "+-", "%.2f"},    {"tok_per_s", "tok/s", "%.0f"},
    {"img_per_s", "img/s", "%.0f"}, {"gflops", "GFLOP/s", "%.1f"},
    {"mfu", "of peak", "%.3f"},     {"peak_bytes", "peak bytes", "%.0f"},
    {"loss", "loss", "%.4f"},
};

static status parse_optimizer(call *c, const char *name, ingot_optimizer *out)
{
    const char *const *names = ingot_optimizer_names();
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], name)) {
            *out = ingot_optimizer_defaults(1e-3, 1000);
            out->kind = (ingot_optimizer_kind)i;
            return INGOT_OK;
        }
    return fail_usage(c, "--optimizer %s: there are adamw, adam and sgd", name);
}

static status bench_optimizer(call *c, const train_bench_options *o, ingot_device *d, const ingot_model *m,
                              const char *name, const machine *on, json_t *rows)
{
    bench_train how = {.batch_size = o->batch_size,
                       .context = o->context,
                       .recompute = o->recompute,
                       .seed = (uint64_t)o->seed,
                       .effort = {.warmup = o->warmup, .repetitions = o->repetitions}};
    TRY(parse_optimizer(c, name, &how.optimizer));
    if (!how.context) how.context = ingot_model_describe(m).context;
    const char *model_name = o->shape.preset ? o->shape.preset : ingot_model_describe(m).family;
    json_t *row;
    TRY(bench_train_run(d, m, model_name, &how, on, &row));
    json_object_set_new(row, "optimizer", json_string(name));
    json_array_append_new(rows, row);
    return INGOT_OK;
}

static status print_rows(const json_t *rows, int format, const report_column *columns, size_t count)
{
    text out = {0};
    report_print(rows, (report_format)format, columns, count, &out);
    fputs(out.at ? out.at : "", stdout);
    text_free(&out);
    return INGOT_OK;
}

static status run_train(call *c, void *given)
{
    const train_bench_options *o = given;
    ingot_model_options shape = shape_model_options(c, &o->shape);
    ingot_device *d = NULL;
    ingot_model *m = NULL;
    machine on;
    json_t *rows = json_array();
    status s;
    if (o->context) shape.context = o->context;
    TRY_OR(done, ingot_model_new(c->ctx, &shape, &m));
    TRY_OR(done, device_flags_open(c, &o->device, &d));
    TRY_OR(done, device_flags_set_dtype(&o->device, m));
    TRY_OR(done, machine_measure(c->ctx, &on));
    for (int64_t i = 0; i < MAX(o->optimizers.count, (int64_t)1); i++)
        TRY_OR(done, bench_optimizer(c, o, d, m, o->optimizers.count ? o->optimizers.at[i] : "adamw", &on, rows));
    s = print_rows(rows, c->json ? REPORT_JSON : o->format, train_columns, COUNT(train_columns));
done:
    json_decref(rows);
    ingot_model_free(m);
    ingot_device_close(d);
    return s;
}

static const verb bench_train_verb = {
    .name = "train",
    .summary = "whole training steps on random tokens",
    .description =
        "Times steps of forward, backward and optimizer, each to its end, and prints the median. `of peak` is the "
        "share of the multiply-adds that this machine was seen to do just before.",
    .run = run_train,
    .options_bytes = sizeof(train_bench_options),
    .options = {{NULL, OPTIONS(train_lines)},
                SHAPE_TABLE(train_bench_options, shape),
                DEVICE_TABLE(train_bench_options, device)},
    .examples = "ingot bench train --preset tiny-1m --batch-size 8 --context 128\n"
                "ingot bench train --preset gpt2-124m --batch-size 4 --context 64 --repetitions 10 -o json\n",
};

const verb verb_bench = {
    .name = "bench",
    .summary = "measure speed: training steps",
    .verbs = {&bench_train_verb},
};
