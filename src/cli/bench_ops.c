/* ingot bench ops. */
#include "bench/ops.h"
#include "cli/bench.h"

#include <stdio.h>

typedef struct ops_options {
    device_flags device;
    string_list ops, dtypes, shapes;
    int form;
    int64_t chain;
    double seconds;
    bool samples;
    output_flags output;
} ops_options;

static const char *const forms[] = {"yes", "no", "both", NULL};

static const option lines[] = {
    {"ops", LIST_AT(ops_options, ops), "NAME,..", "softmax, rms_norm, lora_linear, ...",
     .initial_help = "all that have shapes for measuring"},
    {"fused", CHOICE_AT(ops_options, form), NULL,
     "yes: as the device runs it; no: in smaller ops; both: one beside the other", .initial = "yes", .choices = forms},
    {"dtype", LIST_AT(ops_options, dtypes), "NAME,..", "float32, float64, bfloat16", .initial_help = "float32"},
    {"shape", LIST_AT(ops_options, shapes), "AxB,..",
     "shapes of the inputs of one op, in place of its own: 512x512,512x512; - leaves one out"},
    {"samples", BOOL_AT(ops_options, samples), NULL, "the small shapes of the tests too"},
    {"chain", INT_AT(ops_options, chain), "N",
     "so many calls in one program, each on the result of the one before; figures are of one", .initial = "1",
     .range = BETWEEN(1, 1000)},
    {"seconds", DOUBLE_AT(ops_options, seconds), "S", "time for each row", .initial = "0.2", .range = MORE_THAN(0)},
};

static const report_column columns[] = {
    {"op", "op", NULL},
    {"shape", "shape", NULL},
    {"dtype", "dtype", NULL},
    {"form", "form", NULL},
    {"us", "us", "%.2f"},
    {"us_stddev", "+-", "%.2f"},
    {"gflops", "GFLOP/s", "%.1f"},
    {"gb_per_s", "GB/s", "%.1f"},
    {"of_limit", "of limit", "%.3f"},
    {"dispatches", "dispatches", "%.0f"},
    {"bytes", "bytes", "%.0f"},
    {"lowered_us", "lowered us", "%.2f"},
    {"lowered_dispatches", "dispatches", "%.0f"},
    {"lowered_bytes", "bytes", "%.0f"},
    {"ratio", "lowered / fused", "%.2f"},
    {"kernels", "kernels", NULL},
    {"note", "", NULL},
};

static status unknown_op(call *c, const char *name)
{
    const char *names[256];
    size_t count = 0;
    for (const op_def *const *op = op_table; *op && count < COUNT(names); op++)
        if ((*op)->sample_count) names[count++] = (*op)->name;
    const char *near = nearest_name(name, names, count);
    return fail_usage(c, "--ops: there is no op %s%s%s%s; ingot devices --kernels lists them", name,
                      near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static status find_ops(call *c, const ops_options *o, const op_def **ops, int64_t most)
{
    string_list words = {0};
    int64_t count = 0;
    status s = bench_words(c, &o->ops, &words);
    for (int64_t i = 0; i < words.count && !s && count < most; i++) {
        const op_def *op = op_find(words.at[i]);
        if (!op || !(op->sample_count + op->bench_count))
            s = unknown_op(c, words.at[i]);
        else
            ops[count++] = op;
    }
    for (const op_def *const *op = op_table; *op && !words.count && count < most; op++)
        if ((*op)->bench_count || (o->samples && (*op)->sample_count && !((*op)->traits & OP_SOURCE)))
            ops[count++] = *op;
    ARRAY_FREE(&words);
    return s;
}

static void add_spread(json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        const json_t *ns = json_object_get(row, "stddev_ns");
        if (ns) row_set_number(row, "us_stddev", json_number_value(ns) * 1e-3);
    }
}

/* "512x512" or "-" into the next input; *at moves behind it. */
static bool input_shape(const char **at, int *input, op_sample *out)
{
    if (*input == OP_MAX_INPUTS) return false;
    shape *s = &out->in[(*input)++];
    if (**at == '-') return ++*at, true;
    for (s->rank = 0; s->rank < INGOT_MAX_RANK; ++*at) {
        char *end;
        long long dim = strtoll(*at, &end, 10);
        if (end == *at || dim < 1 || dim > INT32_MAX) return false;
        s->dim[s->rank++] = dim;
        *at = end;
        if (*end != 'x') return true;
    }
    return false;
}

/* "512x512,512x512,-": one sample. */
static status parse_shape(call *c, const char *given, op_sample *out)
{
    int input = 0;
    *out = (op_sample){0};
    for (int i = 0; i < OP_MAX_INPUTS; i++) out->in[i].rank = -1;
    for (const char *at = given; input_shape(&at, &input, out);) {
        if (!*at) return INGOT_OK;
        if (*at++ != ',') break;
    }
    return fail_usage(c, "--shape %s: shapes are written 128x1024 or 512x512,512x512, one for each input", given);
}

static status parse_shapes(call *c, const ops_options *o, op_sample **out)
{
    *out = ARENA_ARRAY(c->arena, op_sample, o->shapes.count + 1);
    if (!*out) return fail_memory(c->ctx, "shapes", 0);
    if (o->shapes.count && (o->ops.count != 1 || strchr(o->ops.at[0], ',')))
        return fail_usage(c, "--shape is of one op: name it with --ops");
    for (int64_t i = 0; i < o->shapes.count; i++) TRY(parse_shape(c, o->shapes.at[i], &(*out)[i]));
    return INGOT_OK;
}

typedef struct ops_work {
    const op_def *ops[257]; /* ends with NULL */
    dtype_list dtypes;
    ops_plan plan;
} ops_work;

static status read_lists(call *c, const ops_options *o, ops_work *w)
{
    static const ops_form meant[] = {OPS_FUSED, OPS_LOWERED, OPS_BOTH};
    op_sample *shapes;
    TRY(find_ops(c, o, w->ops, COUNT(w->ops) - 1));
    TRY(parse_shapes(c, o, &shapes));
    TRY(bench_dtypes(c, &o->dtypes, false, &w->dtypes));
    w->plan = (ops_plan){.ops = w->ops,
                         .form = meant[o->form],
                         .samples = o->samples,
                         .shapes = shapes,
                         .shape_count = o->shapes.count,
                         .chain = o->chain,
                         .effort = {.warmup = 2, .seconds = o->seconds}};
    for (int i = 0; w->ops[i]; i++) w->plan.samples |= !w->ops[i]->bench_count; /* an op that has no other shapes */
    return INGOT_OK;
}

static status measure(call *c, const void *arg, ingot_device *d, dtype type, const machine *on, json_t *rows)
{
    ops_plan plan = ((const ops_work *)arg)->plan;
    int left_out = 0;
    plan.dtypes = &type;
    plan.dtype_count = 1;
    TRY(bench_ops(d, &plan, on, rows, &left_out));
    if (left_out)
        log_line(c->ctx, INGOT_LOG_WARNING, "%d samples left out: device %s has no kernels for them in %s", left_out,
                 ingot_device_name(d), ingot_dtype_name(type));
    return INGOT_OK;
}

static status run(call *c, void *given)
{
    const ops_options *o = given;
    ops_work work = {.dtypes = {0}};
    const bench_frame frame = {.device = &o->device,
                               .dtypes = &work.dtypes,
                               .output = &o->output,
                               .measure = measure,
                               .show = add_spread,
                               .columns = columns,
                               .column_count = COUNT(columns)};
    status s = read_lists(c, o, &work);
    if (!s) s = bench_each_dtype(c, &frame, &work);
    ARRAY_FREE(&work.dtypes);
    return s;
}

const verb bench_ops_verb = {
    .name = "ops",
    .summary = "single ops: time, GFLOP/s, GB/s, share of the limit",
    .description = "GFLOP/s and GB/s count what the op itself needs, whatever its form computes and moves; `bytes` is "
                   "what the steps "
                   "of the form move. `of limit` is the time that the op's FLOPs and bytes would take at the measured "
                   "peak and copy "
                   "bandwidth, as a share of what it took: above 1 its data stayed in the caches. The first row is the "
                   "device's bare "
                   "launch: what each run of a program costs that holds one op; --chain shows an op among others. "
                   "Shapes are the op's own for measuring; --samples adds those of the tests.",
    .run = run,
    .options_bytes = sizeof(ops_options),
    .options = {{NULL, OPTIONS(lines)}, DEVICE_TABLE_OF_DTYPES(ops_options, device), OUTPUT_TABLE(ops_options, output)},
    .examples = "ingot bench ops --ops softmax,rms_norm,lora_linear --fused both\n"
                "ingot bench ops --ops attention --dtype float32 --device cuda -o json\n"
                "ingot bench ops --ops softmax,rms_norm --chain 20 --device cuda\n"
                "ingot bench ops --ops matmul --shape 1024x1024,1024x1024 --dtype float32,float64,bfloat16\n",
};
