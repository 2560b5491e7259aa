/* ingot bench train: whole steps. */
#include "bench/train.h"
#include "cli/bench.h"

#include <stdio.h>

typedef struct train_bench_options {
    shape_options shape;
    device_flags device;
    string_list batch_sizes, contexts, optimizers, dtypes;
    const char *image;
    int64_t repetitions, warmup, seed;
    bool recompute;
    output_flags output;
} train_bench_options;

static const option lines[] = {
    {"batch-size", LIST_AT(train_bench_options, batch_sizes), "B,..", "rows a step", .initial_help = "8"},
    {"context", LIST_AT(train_bench_options, contexts), "T,..", "positions a row", .short_name = "c",
     .initial_help = "the preset's"},
    {"image", STRING_AT(train_bench_options, image), "CxHxW", "size of the pictures (convnet): 3x32x32",
     .initial_help = "3x32x32"},
    {"dtype", LIST_AT(train_bench_options, dtypes), "NAME,..", "float32, bfloat16, float16: what is computed in",
     .initial_help = "float32", .names = names_of_dtypes},
    {"optimizer", LIST_AT(train_bench_options, optimizers), "NAME,..", "adamw, adam, sgd; each gives a row",
     .initial_help = "adamw"},
    {"recompute", BOOL_AT(train_bench_options, recompute), NULL, "recompute activations in the backward pass"},
    {"repetitions", INT_AT(train_bench_options, repetitions), "N", "steps that are timed", .short_name = "r",
     .initial = "10", .range = AT_LEAST(1)},
    {"warmup", INT_AT(train_bench_options, warmup), "N", "steps before them", .initial = "2", .range = AT_LEAST(0)},
    {"seed", INT_AT(train_bench_options, seed), "N", "of weights and tokens", .initial = "1", .range = AT_LEAST(0)},
};

static const report_column columns[] = {
    {"model", "model", NULL},       {"n_params", "params", "%.0f"},
    {"backend", "backend", NULL},   {"n_threads", "threads", "%.0f"},
    {"dtype", "dtype", NULL},       {"optimizer", "optimizer", NULL},
    {"test", "test", NULL},         {"ms_per_step", "ms/step", "%.2f"},
    {"ms_stddev", "+-", "%.2f"},    {"tok_per_s", "tok/s", "%.0f"},
    {"img_per_s", "img/s", "%.0f"}, {"gflops", "GFLOP/s", "%.1f"},
    {"mfu", "MFU", "%.3f"},         {"peak_bytes", "peak bytes", "%.0f"},
    {"loss", "loss", "%.4f"},
};

typedef struct train_lists {
    number_list batch_sizes, contexts;
    string_list optimizers;
    dtype_list dtypes;
} train_lists;

static void free_lists(train_lists *l)
{
    ARRAY_FREE(&l->batch_sizes);
    ARRAY_FREE(&l->contexts);
    ARRAY_FREE(&l->optimizers);
    ARRAY_FREE(&l->dtypes);
}

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

/* "3x32x32": channels, height, width. */
static status parse_image(call *c, const char *given, int64_t *side)
{
    long long channels = 0, height = 0, width = 0;
    char rest;
    if (!given) return INGOT_OK;
    if (sscanf(given, "%lldx%lldx%lld%c", &channels, &height, &width, &rest) != 3 || channels != 3 || height != width ||
        height < 1)
        return fail_usage(c, "--image %s: pictures are written 3xSxS, three channels and as wide as high: 3x32x32",
                          given);
    *side = height;
    return INGOT_OK;
}

static status read_lists(call *c, const train_bench_options *o, train_lists *l)
{
    if (o->batch_sizes.count) TRY(bench_numbers(c, "batch-size", &o->batch_sizes, &l->batch_sizes));
    if (o->contexts.count) TRY(bench_numbers(c, "context", &o->contexts, &l->contexts));
    TRY(bench_words(c, &o->optimizers, &l->optimizers));
    TRY(bench_dtypes(c, &o->dtypes, &l->dtypes));
    bool full = (l->batch_sizes.count || ARRAY_PUSH(&l->batch_sizes, 8)) &&
                (l->contexts.count || ARRAY_PUSH(&l->contexts, 0)) &&
                (l->optimizers.count || ARRAY_PUSH(&l->optimizers, "adamw")) &&
                (l->dtypes.count || ARRAY_PUSH(&l->dtypes, INGOT_F32));
    if (!full) return fail_memory(c->ctx, "a list", 64);
    ingot_optimizer known;
    for (int64_t i = 0; i < l->optimizers.count; i++) TRY(parse_optimizer(c, l->optimizers.at[i], &known));
    for (int64_t i = 0; i < l->dtypes.count; i++)
        if (!device_flags_choose(&(device_flags){0}, l->dtypes.at[i]))
            return fail_usage(c, "--dtype %s: models train in float32, bfloat16 or float16",
                              ingot_dtype_name(l->dtypes.at[i]));
    return INGOT_OK;
}

static status bench_shape(call *c, const train_bench_options *o, ingot_device *d, const machine *on, bench_train *how,
                          const train_lists *lists, json_t *rows)
{
    ingot_model_options shape = shape_model_options(c, &o->shape);
    ingot_model *m;
    TRY(parse_image(c, o->image, &shape.image));
    TRY(ingot_model_new(c->ctx, &shape, &m));
    if (how->context > ingot_model_describe(m).context) { /* else the positions are the preset's */
        ingot_model_free(m);
        shape.context = how->context;
        TRY(ingot_model_new(c->ctx, &shape, &m));
    }
    ingot_model_info info = ingot_model_describe(m);
    status s = ingot_model_set_dtype(m, how->dtype);
    if (!s && o->image && !info.image) s = fail_usage(c, "--image: %s is no family of pictures", info.family);
    if (!how->context) how->context = info.context;
    for (int64_t i = 0; i < lists->optimizers.count && !s; i++) {
        json_t *row;
        s = parse_optimizer(c, lists->optimizers.at[i], &how->optimizer);
        if (!s) s = bench_train_run(d, m, o->shape.preset ? o->shape.preset : info.family, how, on, &row);
        if (!s) json_array_append_new(rows, row);
    }
    ingot_model_free(m);
    return s;
}

static status bench_dtype(call *c, const train_bench_options *o, dtype type, const machine *on,
                          const train_lists *lists, json_t *rows)
{
    ingot_device *d;
    device_flags flags = o->device;
    device_flags_choose(&flags, type);
    TRY(device_flags_open(c, &flags, &d));
    status s = INGOT_OK;
    for (int64_t b = 0; b < lists->batch_sizes.count && !s; b++)
        for (int64_t l = 0; l < lists->contexts.count && !s; l++) {
            bench_train how = {.batch_size = lists->batch_sizes.at[b],
                               .context = lists->contexts.at[l],
                               .dtype = type,
                               .recompute = o->recompute,
                               .seed = (uint64_t)o->seed,
                               .effort = {.warmup = o->warmup, .repetitions = o->repetitions}};
            s = bench_shape(c, o, d, on, &how, lists, rows);
        }
    ingot_device_close(d);
    return s;
}

static status run(call *c, void *given)
{
    const train_bench_options *o = given;
    train_lists lists = {0};
    machine on;
    json_t *rows = json_array();
    status s;
    TRY_OR(done, read_lists(c, o, &lists));
    TRY_OR(done, bench_check_against(c, &o->output));
    TRY_OR(done, machine_measure(c->ctx, &on));
    for (int64_t i = 0; i < lists.dtypes.count; i++)
        TRY_OR(done, bench_dtype(c, o, lists.dtypes.at[i], &on, &lists, rows));
    s = bench_finish(c, &o->output, rows, columns, COUNT(columns));
done:
    json_decref(rows);
    free_lists(&lists);
    return s;
}

const verb bench_train_verb = {
    .name = "train",
    .summary = "whole training steps on random tokens or pictures",
    .description = "Times steps of forward, backward and optimizer, each to its end, and prints the median. MFU is the "
                   "share of the "
                   "multiply-adds that this machine was seen to do just before; of a GPU, the share of its own largest "
                   "product. Lists "
                   "and ranges give a row for each combination.",
    .run = run,
    .options_bytes = sizeof(train_bench_options),
    .options = {{NULL, OPTIONS(lines)},
                SHAPE_TABLE(train_bench_options, shape),
                DEVICE_TABLE_OF_DTYPES(train_bench_options, device),
                OUTPUT_TABLE(train_bench_options, output)},
    .examples = "ingot bench train --preset tiny-1m --batch-size 8 --context 128\n"
                "ingot bench train --preset gpt2-124m --batch-size 4 --context 64 --repetitions 10 -o json\n"
                "ingot bench train --family convnet --image 3x32x32 --batch-size 32 --optimizer sgd,adam\n",
};
