/* A subject through all its variants, and a subject for every sample of every op. */
#define _GNU_SOURCE
#include "check/compare.h"

#include "base/threads.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

static const char *const layout_names[LAYOUT_COUNT] = {"contiguous", "strided", "in wider rows", "in reusable memory"};

/* Programs of one subject on the device: without gradients, and with them where there are any. */
typedef struct variant {
    const check_subject *subject;
    check_layout layout;
    check_want want;
    ingot_program *program;
    char name[64];
} variant;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static error_units worse(error_units a, error_units b)
{
    return (error_units){.rounding = fmax(a.rounding, b.rounding),
                         .stored = fmax(a.stored, b.stored),
                         .product = fmax(a.product, b.product),
                         .smallest = fmax(a.smallest, b.smallest),
                         .sums = a.sums || b.sums,
                         .linear = a.linear || b.linear};
}

static status run_twice(trial *t, const variant *v, const error_units *units)
{
    trial_outputs first = {0}, second = {0};
    status s = trial_run(t, v->program, v->layout, &first);
    if (!s) s = trial_run(t, v->program, v->layout, &second);
    t->row->runs += 2;
    if (s) {
        trial_failed(t, "%s, %s: %s", t->subject->name, v->name, ingot_message(t->ctx));
    } else {
        compare_outputs(t, &first, v->name, units);
        compare_bits(t, &first, &second, v->name);
    }
    ARRAY_FREE(&first);
    ARRAY_FREE(&second);
    return INGOT_OK;
}

/* The variants in the order in which they are built: the fullest first, since it names all sources. */
static int list_variants(const check_subject *full, const check_subject *plain, variant *out)
{
    int count = 0;
    for (int layout = 0; layout < (full->any_layout ? LAYOUT_COUNT : 1); layout++) {
        bool all = layout != LAYOUT_WIDER; /* enough of it: the op as it is, what makes gradients is an op as well */
        if (full->differentiable && all) out[count++] = (variant){full, layout, WANT_GRADIENTS, NULL, ""};
        if (plain != full && all) out[count++] = (variant){full, layout, WANT_OUTPUTS, NULL, ""};
        out[count++] = (variant){plain, layout, WANT_OUTPUTS, NULL, ""};
    }
    for (int i = 0; i < count; i++)
        snprintf(out[i].name, sizeof out[i].name, "%s%s", layout_names[out[i].layout],
                 out[i].want == WANT_GRADIENTS ? ", with gradients" : "");
    return count;
}

static status check_variants(trial *t, variant *variants, int count)
{
    error_units units = {0};
    bool any = false;
    for (int i = 0; i < count; i++) {
        variant *v = &variants[i];
        status s = trial_compile(t, v->subject, v->layout, v->want, &v->program);
        if (s == INGOT_ERROR_UNSUPPORTED) {
            t->row->skipped++;
            continue;
        }
        if (s) trial_failed(t, "%s, %s: %s", t->subject->name, v->name, ingot_message(t->ctx));
        if (s) return INGOT_OK;
        any = true;
        units = worse(units, error_units_of(v->program->graph, t->options->dtype));
    }
    if (!any) return INGOT_OK;
    units.linear = t->subject->linear_errors;
    units.independent = t->subject->deep;
    status s = trial_expect(t, &units);
    if (s) trial_failed(t, "%s on ref: %s", t->subject->name, ingot_message(t->ctx));
    if (s) return INGOT_OK;
    for (int i = 0; i < count; i++)
        if (variants[i].program) TRY(run_twice(t, &variants[i], &units));
    if (t->subject->differentiable && !t->subject->no_finite_differences) {
        s = trial_finite_differences(t);
        if (s) trial_failed(t, "%s, finite differences: %s", t->subject->name, ingot_message(t->ctx));
    }
    return INGOT_OK;
}

/* A gradient that is zero everywhere is nearly always one that was forgotten. */
static void warn_of_zero_gradients(trial *t)
{
    for (int64_t i = 0; i < t->expected.count; i++) {
        const trial_output *o = &t->expected.at[i];
        if (strncmp(o->name, "gradient of ", 12)) continue;
        bool any = false;
        for (int64_t j = 0; j < shape_count(o->shape) && !any; j++) any = o->values[j] != 0;
        if (!any) text_printf(&t->row->warnings, "%s: the %s is zero\n", t->subject->name, o->name);
    }
}

static status check_pair(context *ctx, const check_options *o, const check_devices *devices, const check_subject *full,
                         const check_subject *plain, check_row *row)
{
    trial t = {.ctx = ctx, .options = o, .devices = devices, .subject = full, .seed = o->seed, .row = row};
    double start = now();
    t.arena = arena_new();
    if (!t.arena) return fail_memory(ctx, "a check", 0);
    variant variants[3 * LAYOUT_COUNT];
    int count = list_variants(full, plain, variants);
    status s = check_variants(&t, variants, count);
    if (!s && full->warns) warn_of_zero_gradients(&t);
    for (int i = 0; i < count; i++) ingot_program_free(variants[i].program);
    ARRAY_FREE(&t.sources);
    ARRAY_FREE(&t.expected);
    arena_free(t.arena);
    row->samples++;
    row->seconds += now() - start;
    return s;
}

/* One sample of an op as a subject. */
typedef struct sample_case {
    const op_def *op;
    const op_sample *sample;
    dtype dtype;   /* of float inputs */
    bool optional; /* every optional output is live */
} sample_case;

static void build_sample(check_graph *g, const void *user)
{
    const sample_case *c = user;
    const op_def *op = c->op;
    const op_sample *sample = c->sample;
    build *b = check_builder(g);
    int declared = op_input_count(op), inputs = sample->inputs ? sample->inputs : declared;
    value *in[OP_MAX_INPUTS] = {NULL};
    while (inputs > 0 && sample->in[inputs - 1].rank < 0) inputs--;
    for (int i = 0; i < inputs; i++) {
        const op_input *input = &op->inputs[MIN(i, declared - 1)];
        if (sample->in[i].rank < 0) continue;
        check_fill fill = {.values = sample->values_of[i] ? sample->values_of[i] : sample->values,
                           .below = sample->below[i],
                           .sorted = sample->sorted[i],
                           .constant = input->not_differentiable};
        char name[64];
        snprintf(name, sizeof name, input->variadic ? "%s%d" : "%s", input->name, i);
        dtype type = input->takes == INTEGER ? INGOT_I32 : c->dtype;
        if (input->wide && dtype_is_narrow(type)) type = INGOT_F32;
        in[i] = check_input(g, name, type, sample->in[i], fill);
    }
    node *n = node_new(b, op, in, inputs, sample->attrs);
    int outputs = sample->outputs ? sample->outputs : op_output_count(op);
    for (int i = 0; n && i < outputs; i++) {
        const op_output *output = &op->outputs[i];
        if (output->optional && !c->optional) continue;
        (output->no_gradient ? check_side_output : check_output)(g, output->name, node_output(b, n, i));
    }
}

static bool has_optional(const op_def *op)
{
    for (int i = 0; i < op_output_count(op); i++)
        if (op->outputs[i].optional) return true;
    return false;
}

/* Do the rounding errors of a sum over such values all point the same way? */
static bool leans(sample_values values)
{
    return values == VALUES_ALL_EQUAL || values == VALUES_LARGE_OFFSET;
}

static status check_sample(context *ctx, const check_options *o, const check_devices *devices, const op_def *op,
                           const op_sample *sample, check_row *row)
{
    sample_case full = {op, sample, o->dtype, true}, plain = {op, sample, o->dtype, false};
    char name[128];
    snprintf(name, sizeof name, "%s, sample %d", op->name, (int)(sample - op->samples));
    bool one_way = leans(sample->values);
    for (int i = 0; i < OP_MAX_INPUTS; i++) one_way |= leans(sample->values_of[i]);
    check_subject s = {
        .name = name, .build = build_sample, .user = &full, .any_layout = true, .linear_errors = one_way};
    /* Second gradients, which no training takes, leave the range of float16. */
    bool second = (op->traits & OP_INTERNAL) && o->dtype == INGOT_F16;
    s.differentiable = !(op->traits & OP_NOT_DIFFERENTIABLE) && !second;
    /* Rounding to 16 bits makes ties, where maxima and comparisons have no slope; float32 is checked for it. */
    s.no_finite_differences = sample->no_gradient || dtype_is_narrow(o->dtype) || o->small;
    check_subject without = s;
    without.user = &plain;
    return check_pair(ctx, o, devices, &s, has_optional(op) ? &without : &s, row);
}

static bool is_tested(const op_def *op)
{
    return !(op->traits & (OP_SOURCE | OP_UPDATE));
}

static bool is_small(const op_sample *sample)
{
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        if (sample->in[i].rank >= 0 && shape_count(sample->in[i]) > CHECK_SMALL) return false;
    return true;
}

static status check_op(context *ctx, const check_options *o, const check_devices *devices, const op_def *op,
                       check_report *out)
{
    check_row row = {.name = arena_strdup(out->arena, op->name)};
    status s = INGOT_OK;
    if (!op->sample_count) {
        row.failures = 1;
        row.failure = strdup("the op has no samples");
    }
    for (size_t i = 0; i < op->sample_count && !s; i++)
        if (!o->small || is_small(&op->samples[i])) s = check_sample(ctx, o, devices, op, &op->samples[i], &row);
    if (!s && !ARRAY_PUSH(&out->rows, row)) s = fail_memory(ctx, "a report", sizeof row);
    out->failures += row.failures;
    return s;
}

static void close_devices(check_devices *d)
{
    ingot_device_close(d->ref);
    ingot_device_close(d->plain);
    ingot_device_close(d->poisoned);
}

static status open_devices(context *ctx, const check_options *o, check_devices *out)
{
    ingot_device_options options = {.level = o->level,
                                    .prefer = o->prefer,
                                    .cache = o->cache,
                                    .no_overlap = o->no_overlap,
                                    .persistent = o->persistent,
                                    .poison = 1};
    *out = (check_devices){0};
    status s = ingot_device_open(ctx, o->device, &options, &out->poisoned);
    options.poison = 0;
    if (!s) s = ingot_device_open(ctx, o->device, &options, &out->plain);
    if (!s) s = ingot_device_open(ctx, "ref", NULL, &out->ref);
    if (s) close_devices(out);
    return s;
}

/* Of ops it is known that some gradients are zero: the engine's warnings about it would bury the report. */
static status quiet_context(context *ctx, context **out)
{
    ingot_context_options options = {.threads = pool_size(context_pool(ctx))};
    status s = ingot_context_new(&options, out);
    return s ? fail_memory(ctx, "a check", 0) : INGOT_OK;
}

static status report_start(context *ctx, check_report *out)
{
    if (!out->arena) out->arena = arena_new();
    return out->arena ? INGOT_OK : fail_memory(ctx, "a report", 0);
}

static status check_table(context *ctx, context *quiet, const check_options *o, check_report *out)
{
    check_devices devices;
    TRY(open_devices(quiet, o, &devices));
    status s = INGOT_OK;
    const op_def *const *ops = o->ops ? o->ops : op_table;
    int64_t total = 0, done = 0;
    for (const op_def *const *op = ops; *op; op++) total++;
    for (const op_def *const *op = ops; *op && !s; op++) {
        progress(ctx, (*op)->name, (double)done++, (double)total, "ops");
        if (is_tested(*op)) s = check_op(quiet, o, &devices, *op, out);
        if (!s && ingot_interrupted(ctx)) s = ingot_fail(quiet, INGOT_ERROR_INTERRUPTED, "the check was interrupted");
    }
    close_devices(&devices);
    return s;
}

status check_ops(context *ctx, const check_options *o, check_report *out)
{
    context *quiet;
    TRY(report_start(ctx, out));
    TRY(quiet_context(ctx, &quiet));
    status s = check_table(ctx, quiet, o, out);
    if (s) s = ingot_fail(ctx, s, "%s", ingot_message(quiet));
    ingot_context_free(quiet);
    return s;
}

status check_subject_run(context *ctx, const check_options *o, const check_subject *subject, check_report *out)
{
    check_devices devices;
    TRY(report_start(ctx, out));
    TRY(open_devices(ctx, o, &devices));
    check_row row = {.name = arena_strdup(out->arena, subject->name)};
    status s = check_pair(ctx, o, &devices, subject, subject, &row);
    if (!s && !ARRAY_PUSH(&out->rows, row)) s = fail_memory(ctx, "a report", sizeof row);
    out->failures += row.failures;
    close_devices(&devices);
    return s;
}

void check_report_free(check_report *report)
{
    for (int64_t i = 0; i < report->rows.count; i++) {
        free(report->rows.at[i].failure);
        text_free(&report->rows.at[i].warnings);
    }
    ARRAY_FREE(&report->rows);
    arena_free(report->arena);
    *report = (check_report){0};
}
