/* Measuring ops. */
#include "bench/ops.h"
#include "bench/limits.h"
#include "bench/sample.h"
#include "bench/timed.h"
#include "passes/passes.h"

#include <stdio.h>

typedef struct ops_case {
    device *d;
    const ops_plan *plan;
    const machine *on;
    device_limit limit;
    double launch; /* seconds */
    const op_def *op;
    const op_sample *sample;
    int64_t number; /* of the sample among those of the tests; -1: the op's own for measuring, or the caller's */
    dtype type;
} ops_case;

/* What one form of an op takes. */
typedef struct ops_figures {
    bench_stats stats;
    int64_t dispatches;
    double flops, bytes; /* as the steps count them: a lowered form moves more */
    op_cost op;          /* as the op itself counts */
    text kernels, attrs;
} ops_figures;

static const node *node_of(const build *b, const op_def *op)
{
    for (const node *n = b->first; n; n = n->after)
        if (n->op == op) return n;
    return NULL;
}

/* Has a kernel for all but one op. */
static const kernel_def *kernel_unless(const void *lowered, const node *n)
{
    static const kernel_def some = {.name = "some", .level = LEVEL_BEST};
    return n->op == lowered ? NULL : &some;
}

static status lower_op(build *b, const op_def *op)
{
    kernel_choice choice = {.kernel = kernel_unless, .device = op, .device_name = "bench"};
    return pass_lower(b, &choice);
}

/* The sample's bounds and signs, by the inputs that are given. */
static status fill(const ops_case *c, ingot_program *p)
{
    int64_t below[OP_MAX_INPUTS] = {0}, count = 0;
    bool positive[OP_MAX_INPUTS] = {false};
    for (int i = 0; i < OP_MAX_INPUTS && count < p->graph->inputs.count; i++) {
        if (c->sample->in[i].rank < 0) continue;
        sample_values values = c->sample->values_of[i] ? c->sample->values_of[i] : c->sample->values;
        positive[count] = values == VALUES_POSITIVE;
        below[count++] = c->sample->below[i];
    }
    return timed_fill(p, below, positive);
}

/* Of one call. */
static void list_kernels(const ingot_program *p, int64_t steps, text *out)
{
    for (int64_t i = 0; i < steps; i++) {
        const char *name = p->main.steps[i].kernel->name;
        if (i > 6) {
            text_puts(out, ", ...");
            break;
        }
        text_printf(out, "%s%s", i ? ", " : "", name);
    }
    text_puts(out, "");
}

static status measure_form(const ops_case *c, bool lowered, ops_figures *out)
{
    const int64_t chain = MAX(c->plan->chain, (int64_t)1);
    build *b = sample_graph(c->d->ctx, c->op, c->sample, c->type, chain);
    if (!b) return fail_memory(c->d->ctx, "a graph", sizeof *b);
    *out = (ops_figures){0};
    const node *n = node_of(b, c->op);
    if (n) out->op = node_cost(n);
    if (n) node_print_attrs(n, &out->attrs);
    text_puts(&out->attrs, "");
    status s = ingot_build_status(b);
    if (!s && lowered) s = lower_op(b, c->op);
    if (s) {
        ingot_build_free(b);
        return s;
    }
    ingot_program *p;
    TRY(ingot_compile(b, c->d, NULL, &p));
    ingot_program_info info = ingot_program_describe(p);
    out->dispatches = info.steps / chain;
    out->flops = info.flops / (double)chain;
    out->bytes = info.bytes / (double)chain;
    list_kernels(p, out->dispatches, &out->kernels);
    s = fill(c, p);
    if (!s) s = timed_program(p, &c->plan->effort, NULL, NULL, NULL, &out->stats);
    bench_stats_divide(&out->stats, (double)chain);
    ingot_program_free(p);
    return s;
}

static void free_figures(ops_figures *f)
{
    bench_stats_free(&f->stats);
    text_free(&f->kernels);
    text_free(&f->attrs);
}

static void put_shapes(const ops_case *c, text *out)
{
    char dims[128];
    for (int i = 0; i < OP_MAX_INPUTS && (i < c->sample->inputs || i < op_input_count(c->op)); i++)
        if (c->sample->in[i].rank >= 0)
            text_printf(out, "%s%s", out->length ? " " : "", shape_print(dims, c->sample->in[i]));
    text_puts(out, "");
}

static json_t *make_row(const ops_case *c, const char *form, const ops_figures *f)
{
    text shapes = {0};
    put_shapes(c, &shapes);
    json_t *row = row_new("ops", c->d, c->on);
    row_set_text(row, "op", c->op->name);
    row_set_text(row, "shape", shapes.at);
    row_set_text(row, "dtype", ingot_dtype_name(c->type));
    row_set_text(row, "form", form);
    if (c->plan->chain > 1) json_object_set_new(row, "chain", json_integer((json_int_t)c->plan->chain));
    if (f->attrs.length > 2) row_set_text(row, "attrs", f->attrs.at + 2); /* behind ", " */
    if (c->number >= 0) json_object_set_new(row, "sample", json_integer((json_int_t)c->number));
    row_set_text(row, "kernels", f->kernels.at);
    row_add_times(row, &f->stats);
    row_set_number(row, "us", f->stats.median * 1e6);
    json_object_set_new(row, "dispatches", json_integer((json_int_t)f->dispatches));
    row_set_number(row, "flops", f->flops);
    row_set_number(row, "bytes", f->bytes);
    row_set_number(row, "gflops", f->op.flops / f->stats.median * 1e-9);
    row_set_number(row, "gb_per_s", f->op.bytes / f->stats.median * 1e-9);
    row_add_limit(row, &c->limit);
    text_free(&shapes);
    return row;
}

static void add_lowered(json_t *row, const ops_figures *fused, const ops_figures *lowered)
{
    row_set_number(row, "lowered_us", lowered->stats.median * 1e6);
    json_object_set_new(row, "lowered_dispatches", json_integer((json_int_t)lowered->dispatches));
    row_set_number(row, "lowered_bytes", lowered->bytes);
    row_set_number(row, "ratio", lowered->stats.median / fused->stats.median);
}

static status measure_case(const ops_case *c, json_t *rows)
{
    ops_figures fused = {0}, lowered = {0};
    status s = INGOT_OK;
    bool has_lower = c->op->lower != NULL;
    if (c->plan->form != OPS_LOWERED || !has_lower) s = measure_form(c, false, &fused);
    if (!s && has_lower && c->plan->form != OPS_FUSED) s = measure_form(c, true, &lowered);
    if (!s && fused.stats.count) {
        json_t *row = make_row(c, "fused", &fused);
        /* An op that this device has no kernel for is lowered at once: a ratio would be of a program and itself. */
        bool same = fused.dispatches == lowered.dispatches && lowered.kernels.at && fused.kernels.at &&
                    !strcmp(lowered.kernels.at, fused.kernels.at);
        if (same)
            row_set_text(row, "note", "no kernel of its own here");
        else if (lowered.stats.count)
            add_lowered(row, &fused, &lowered);
        json_array_append_new(rows, row);
    }
    if (!s && lowered.stats.count && c->plan->form == OPS_LOWERED)
        json_array_append_new(rows, make_row(c, "lowered", &lowered));
    free_figures(&fused);
    free_figures(&lowered);
    return s;
}

/* The i-th sample that is measured of an op: the caller's shapes, or the op's own. */
static bool choose_sample(const ops_case *c, size_t i, op_sample *out)
{
    const op_def *op = c->op;
    if (c->plan->shape_count) {
        if (i >= (size_t)c->plan->shape_count) return false;
        *out = op->bench_count ? op->bench[0] : op->samples[0];
        memcpy(out->in, c->plan->shapes[i].in, sizeof out->in);
        return true;
    }
    if (i >= op->bench_count + (c->plan->samples ? op->sample_count : 0)) return false;
    *out = i < op->bench_count ? op->bench[i] : op->samples[i - op->bench_count];
    return true;
}

static status measure_op(ops_case *c, json_t *rows, int *left_out)
{
    op_sample sample;
    c->sample = &sample;
    for (size_t i = 0; choose_sample(c, i, &sample); i++) {
        c->number = !c->plan->shape_count && i >= c->op->bench_count ? (int64_t)(i - c->op->bench_count) : -1;
        if (ingot_interrupted(c->d->ctx)) return ingot_fail(c->d->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
        status s = measure_case(c, rows);
        if (s == INGOT_ERROR_UNSUPPORTED || (s == INGOT_ERROR_SHAPE && !c->plan->shape_count && c->plan->chain <= 1)) {
            ++*left_out;
            continue;
        }
        TRY(s);
    }
    return INGOT_OK;
}

static json_t *launch_row(const ops_case *c)
{
    json_t *row = row_new("ops", c->d, c->on);
    row_set_text(row, "op", "launch");
    row_set_text(row, "shape", "(1)");
    row_set_text(row, "dtype", "float32");
    row_set_text(row, "form", "fused");
    row_set_number(row, "us", c->launch * 1e6);
    row_set_number(row, "median_ns", c->launch * 1e9);
    json_object_set_new(row, "dispatches", json_integer(1));
    row_set_text(row, "note", "one element: what starting a kernel costs");
    return row;
}

status bench_ops(device *d, const ops_plan *plan, const machine *on, json_t *rows, int *left_out)
{
    ops_case c = {.d = d, .plan = plan, .on = on};
    int64_t count = 0;
    *left_out = 0;
    TRY(timed_bare_launch(d, &c.launch));
    if (!json_array_size(rows)) json_array_append_new(rows, launch_row(&c)); /* the same in every dtype */
    while (plan->ops[count]) count++;
    for (int64_t t = 0; t < plan->dtype_count; t++) {
        c.type = plan->dtypes[t];
        TRY(device_limit_measure(d, on, c.type, &c.limit));
        for (int64_t i = 0; i < count; i++) {
            c.op = plan->ops[i];
            progress(d->ctx, "ops", (double)(t * count + i), (double)(plan->dtype_count * count), c.op->name);
            TRY(measure_op(&c, rows, left_out));
        }
    }
    return INGOT_OK;
}
