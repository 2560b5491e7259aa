/* ingot bench infer. */
#include "bench/infer.h"
#include "cli/bench.h"

#include <stdio.h>

typedef struct infer_options {
    shape_options shape; /* its preset may be a list */
    device_flags device;
    string_list models, dtypes, prompts, generated, batches;
    int64_t depth, repetitions, warmup, seed;
    double cap;
    bool no_cache;
    output_flags output;
} infer_options;

static const option lines[] = {
    {"model", LIST_AT(infer_options, models), "DIR", "a run, a checkpoint or a Hugging Face folder", .short_name = "m"},
    {"n-prompt", LIST_AT(infer_options, prompts), "N,..", "tokens of a prompt: pp512", .short_name = "p",
     .initial_help = "512"},
    {"n-gen", LIST_AT(infer_options, generated), "N,..", "tokens that are written: tg128", .short_name = "n",
     .initial_help = "128"},
    {"batch-size", LIST_AT(infer_options, batches), "N,..", "sequences at once", .short_name = "b",
     .initial_help = "1"},
    {"n-depth", INT_AT(infer_options, depth), "N", "tokens in the cache before the test", .short_name = "d",
     .initial = "0", .range = AT_LEAST(0)},
    {"dtype", LIST_AT(infer_options, dtypes), "NAME,..", "float32, bfloat16, float16: what is computed in",
     .initial_help = "float32", .names = names_of_dtypes},
    {"uncached", BOOL_AT(infer_options, no_cache), NULL,
     "also write without the cache: everything again for each token", .initial = "true"},
    {"cap", DOUBLE_AT(infer_options, cap), "S", "without the cache fewer tokens are written where it would take longer",
     .initial = "10", .range = MORE_THAN(0)},
    {"repetitions", INT_AT(infer_options, repetitions), "N", "runs that are timed", .short_name = "r", .initial = "5",
     .range = AT_LEAST(1)},
    {"warmup", INT_AT(infer_options, warmup), "N", "runs before them, or more, for 0.25 s", .initial = "1",
     .range = AT_LEAST(0)},
    {"seed", INT_AT(infer_options, seed), "N", "of random weights and tokens", .initial = "1", .range = AT_LEAST(0)},
};

static const report_column columns[] = {
    {"model", "model", NULL},     {"size", "size", NULL},           {"params", "params", NULL},
    {"backend", "backend", NULL}, {"n_threads", "threads", "%.0f"}, {"dtype", "dtype", NULL},
    {"n_batch", "batch", "%.0f"}, {"test", "test", NULL},           {"ts_text", "t/s", NULL},
    {"joules", "J/token", NULL},
};

/* What only the md table shows, as llama-bench writes it: "512.00 MiB", "134.52 M", "123.45 ± 0.67". */
static void add_shown(json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        char shown[64];
        double size = json_number_value(json_object_get(row, "model_size")) / (1 << 20),
               params = json_number_value(json_object_get(row, "model_n_params")) * 1e-6;
        const json_t *joules = json_object_get(row, "joules_per_token");
        snprintf(shown, sizeof shown, size < 1024 ? "%.2f MiB" : "%.2f GiB", size < 1024 ? size : size / 1024);
        row_set_text(row, "size", shown);
        snprintf(shown, sizeof shown, params < 1000 ? "%.2f M" : "%.2f B", params < 1000 ? params : params / 1000);
        row_set_text(row, "params", shown);
        snprintf(shown, sizeof shown, "%.2f ± %.2f", json_number_value(json_object_get(row, "avg_ts")),
                 json_number_value(json_object_get(row, "stddev_ts")));
        row_set_text(row, "ts_text", shown);
        if (json_is_number(joules)) snprintf(shown, sizeof shown, "%.4f", json_number_value(joules));
        row_set_text(row, "joules", json_is_number(joules) ? shown : json_string_value(joules));
    }
}

typedef struct infer_work {
    const infer_options *o;
    number_list prompts, generated, batches;
    string_list presets;
    dtype_list dtypes;
} infer_work;

static void free_lists(infer_work *l)
{
    ARRAY_FREE(&l->prompts);
    ARRAY_FREE(&l->generated);
    ARRAY_FREE(&l->batches);
    ARRAY_FREE(&l->presets);
    ARRAY_FREE(&l->dtypes);
}

/* "0" alone leaves a kind of test out, as in llama-bench. */
static status read_counts(call *c, const char *flag, const string_list *given, int64_t usual, number_list *out)
{
    if (given->count == 1 && !strcmp(given->at[0], "0")) return INGOT_OK;
    if (given->count) return bench_numbers(c, flag, given, out);
    return ARRAY_PUSH(out, usual) ? INGOT_OK : fail_memory(c->ctx, "a list", 8);
}

static status read_lists(call *c, const infer_options *o, infer_work *l)
{
    TRY(read_counts(c, "n-prompt", &o->prompts, 512, &l->prompts));
    TRY(read_counts(c, "n-gen", &o->generated, 128, &l->generated));
    TRY(read_counts(c, "batch-size", &o->batches, 1, &l->batches));
    for (int64_t i = 0; i < l->batches.count; i++)
        if (l->batches.at[i] > 512) return fail_usage(c, "--batch-size: more than 512 sequences do not fit one run");
    TRY(bench_dtypes(c, &o->dtypes, true, &l->dtypes));
    const string_list presets = {&(const char *){o->shape.preset}, o->shape.preset != NULL, 1};
    TRY(bench_words(c, &presets, &l->presets));
    if (!o->models.count && !l->presets.count && !o->shape.family)
        return fail_usage(c, "which model? --model run, or --preset smollm2-135m for random weights");
    return INGOT_OK;
}

/* One dtype of one model. */
static status bench_model(const infer_work *l, ingot_device *d, ingot_model *m, dtype type, const char *name,
                          const machine *on, json_t *rows)
{
    const infer_options *o = l->o;
    TRY(ingot_model_set_dtype(m, type));
    const infer_plan plan = {.prompts = l->prompts.at,
                             .prompt_count = l->prompts.count,
                             .generated = l->generated.at,
                             .generated_count = l->generated.count,
                             .batches = l->batches.at,
                             .batch_count = l->batches.count,
                             .depth = o->depth,
                             .no_cache = o->no_cache,
                             .cap = o->cap,
                             .effort = {.warmup = o->warmup, .repetitions = o->repetitions, .settle = true},
                             .seed = (uint64_t)o->seed};
    return bench_infer(d, m, name, &plan, on, rows);
}

/* directory: of a trained one; else preset, or NULL: the flags' shape. */
static status bench_one(call *c, const infer_work *l, ingot_device *d, dtype type, const char *directory,
                        const char *preset, const machine *on, json_t *rows)
{
    ingot_model_options shape = shape_model_options(c, &l->o->shape);
    ingot_model *m;
    shape.preset = preset;
    TRY(directory ? ingot_model_load(c->ctx, directory, &m) : ingot_model_new(c->ctx, &shape, &m));
    const char *name = directory ? directory : preset ? preset : ingot_model_describe(m).family;
    status s = bench_model(l, d, m, type, name, on, rows);
    ingot_model_free(m);
    return s;
}

static status measure(call *c, const void *arg, ingot_device *d, dtype type, const machine *on, json_t *rows)
{
    const infer_work *l = arg;
    const string_list *models = &l->o->models;
    for (int64_t i = 0; i < models->count; i++) TRY(bench_one(c, l, d, type, models->at[i], NULL, on, rows));
    for (int64_t i = 0; i < l->presets.count; i++) TRY(bench_one(c, l, d, type, NULL, l->presets.at[i], on, rows));
    return models->count || l->presets.count ? INGOT_OK : bench_one(c, l, d, type, NULL, NULL, on, rows);
}

static status run(call *c, void *given)
{
    const infer_options *o = given;
    infer_work work = {.o = o};
    const bench_frame frame = {.device = &o->device,
                               .dtypes = &work.dtypes,
                               .output = &o->output,
                               .measure = measure,
                               .show = add_shown,
                               .columns = columns,
                               .column_count = COUNT(columns)};
    status s = read_lists(c, o, &work);
    if (!s) s = bench_each_dtype(c, &frame, &work);
    free_lists(&work);
    return s;
}

const verb bench_infer_verb = {
    .name = "infer",
    .summary = "prompts and generation, with llama-bench's names and columns",
    .description = "pp512 takes in 512 random tokens, tg128 writes 128 one after the other; t/s counts the tokens of "
                   "all sequences. "
                   "`tg128 no cache` runs everything again for each token. Drawing tokens and tokenizing are not in "
                   "it. Joules are "
                   "those of the processor's packages, where RAPL can be read.",
    .run = run,
    .options_bytes = sizeof(infer_options),
    .options = {{NULL, OPTIONS(lines)},
                SHAPE_TABLE(infer_options, shape),
                DEVICE_TABLE_OF_DTYPES(infer_options, device),
                OUTPUT_TABLE(infer_options, output)},
    .examples = "ingot bench infer --model run -p 512 -n 128 -b 1,8,32\n"
                "ingot bench infer --preset llama-1b,smollm2-135m -p 512,4096 -n 128 --device cuda -o md\n",
};
