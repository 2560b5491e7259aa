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
    {"warmup", INT_AT(train_bench_options, warmup), "N", "steps before them, or more, for 0.25 s", .initial = "2",
     .range = AT_LEAST(0)},
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

typedef struct train_work {
    const train_bench_options *o;
    number_list batch_sizes, contexts;
    string_list optimizers, presets; /* a preset may be NULL: the flags' shape */
    dtype_list dtypes;
} train_work;

static void free_lists(train_work *l)
{
    ARRAY_FREE(&l->batch_sizes);
    ARRAY_FREE(&l->contexts);
    ARRAY_FREE(&l->optimizers);
    ARRAY_FREE(&l->presets);
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

static status read_lists(call *c, const train_bench_options *o, train_work *l)
{
    if (o->batch_sizes.count) TRY(bench_numbers(c, "batch-size", &o->batch_sizes, &l->batch_sizes));
    if (o->contexts.count) TRY(bench_numbers(c, "context", &o->contexts, &l->contexts));
    TRY(bench_words(c, &o->optimizers, &l->optimizers));
    TRY(bench_dtypes(c, &o->dtypes, true, &l->dtypes));
    const string_list presets = {&(const char *){o->shape.preset}, o->shape.preset != NULL, 1};
    TRY(bench_words(c, &presets, &l->presets));
    bool full = (l->batch_sizes.count || ARRAY_PUSH(&l->batch_sizes, 8)) &&
                (l->contexts.count || ARRAY_PUSH(&l->contexts, 0)) &&
                (l->optimizers.count || ARRAY_PUSH(&l->optimizers, "adamw")) &&
                (l->presets.count || ARRAY_PUSH(&l->presets, NULL));
    if (!full) return fail_memory(c->ctx, "a list", 64);
    ingot_optimizer known;
    for (int64_t i = 0; i < l->optimizers.count; i++) TRY(parse_optimizer(c, l->optimizers.at[i], &known));
    return INGOT_OK;
}

/* One shape of one model with each optimizer. */
static status bench_shape(call *c, const train_work *l, ingot_device *d, const char *preset, bench_train *how,
                          const machine *on, json_t *rows)
{
    ingot_model_options shape = shape_model_options(c, &l->o->shape);
    ingot_model *m;
    shape.preset = preset;
    TRY(parse_image(c, l->o->image, &shape.image));
    TRY(ingot_model_new(c->ctx, &shape, &m));
    if (how->context > ingot_model_describe(m).context) { /* else the positions are the preset's */
        ingot_model_free(m);
        shape.context = how->context;
        TRY(ingot_model_new(c->ctx, &shape, &m));
    }
    ingot_model_info info = ingot_model_describe(m);
    status s = ingot_model_set_dtype(m, how->dtype);
    if (!s && l->o->image && !info.image) s = fail_usage(c, "--image: %s is no family of pictures", info.family);
    if (!how->context) how->context = info.context;
    for (int64_t i = 0; i < l->optimizers.count && !s; i++) {
        json_t *row;
        s = parse_optimizer(c, l->optimizers.at[i], &how->optimizer);
        if (!s) s = bench_train_run(d, m, preset ? preset : info.family, how, on, &row);
        if (!s) json_array_append_new(rows, row);
    }
    ingot_model_free(m);
    return s;
}

static status bench_preset(call *c, const train_work *l, ingot_device *d, dtype type, const char *preset,
                           const machine *on, json_t *rows)
{
    for (int64_t b = 0; b < l->batch_sizes.count; b++)
        for (int64_t t = 0; t < l->contexts.count; t++) {
            bench_train how = {.batch_size = l->batch_sizes.at[b],
                               .context = l->contexts.at[t],
                               .dtype = type,
                               .recompute = l->o->recompute,
                               .seed = (uint64_t)l->o->seed,
                               .effort = {.warmup = l->o->warmup, .repetitions = l->o->repetitions, .settle = true}};
            TRY(bench_shape(c, l, d, preset, &how, on, rows));
        }
    return INGOT_OK;
}

static status measure(call *c, const void *arg, ingot_device *d, dtype type, const machine *on, json_t *rows)
{
    const train_work *l = arg;
    for (int64_t i = 0; i < l->presets.count; i++) TRY(bench_preset(c, l, d, type, l->presets.at[i], on, rows));
    return INGOT_OK;
}

static status run(call *c, void *given)
{
    const train_bench_options *o = given;
    train_work work = {.o = o};
    const bench_frame frame = {.device = &o->device,
                               .dtypes = &work.dtypes,
                               .output = &o->output,
                               .measure = measure,
                               .columns = columns,
                               .column_count = COUNT(columns)};
    status s = read_lists(c, o, &work);
    if (!s) s = bench_each_dtype(c, &frame, &work);
    free_lists(&work);
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
