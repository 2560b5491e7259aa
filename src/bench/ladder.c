/* Measuring the rungs. */
#include "bench/ladder.h"
#include "bench/limits.h"
#include "bench/timed.h"
#include "ingot/ops.h"

#include <math.h>
#include <stdio.h>

const rung rungs[] = {
#define RUNG(level, files, expertise, lines, hours, idle) {level, files, expertise, lines, hours, idle},
#include "bench/rungs.def"
#undef RUNG
};
const int rung_count = COUNT(rungs);

typedef struct ladder {
    context *ctx;
    const ladder_plan *plan;
    const machine *on;
    json_t *rows;
    device *d;
    const rung *rung;
    const char *name;   /* "simd", "resident" */
    const char *kernel; /* of a device with several: the one that this rung is */
    dtype type;
    device_limit limit;
    double rate; /* FLOP/s at the last size that was measured, 0: none */
    bool copies;
    void *host; /* of one matrix: what is copied */
} ladder;

static double product_flops(int64_t n)
{
    return 2.0 * (double)n * (double)n * (double)n;
}

static json_t *new_row(const ladder *l, int64_t n)
{
    json_t *row = row_new("ladder", l->d, l->on);
    row_set_text(row, "rung", l->name);
    row_set_text(row, "dtype", ingot_dtype_name(l->type));
    json_object_del(row, "level"); /* it is the rung */
    if (!l->d) row_set_text(row, "backend", "cpu");
    json_object_set_new(row, "size", json_integer(n));
    if (!l->rung) return row;
    json_object_set_new(row, "expertise", json_integer(l->rung->expertise));
    json_object_set_new(row, "lines", json_integer(l->rung->lines));
    row_set_number(row, "hours", l->rung->hours);
    row_set_text(row, "leaves_idle", l->rung->idle);
    return row;
}

static void add_row(const ladder *l, json_t *row, const char *available)
{
    row_set_text(row, "available", available);
    json_array_append_new(l->rows, row);
}

static void add_speed(const ladder *l, json_t *row, double seconds, int64_t n)
{
    row_set_number(row, "ms", seconds * 1e3);
    row_set_number(row, "gflops", product_flops(n) / seconds * 1e-9);
    row_add_limit(row, &l->limit);
}

static status build_product(const ladder *l, int64_t n, ingot_program **out)
{
    build *b = ingot_build_new(l->ctx, "product");
    if (!b) return fail_memory(l->ctx, "a graph", sizeof *b);
    value *x = ingot_input(b, "x", l->type, INGOT_SHAPE(n, n)), *y = ingot_input(b, "y", l->type, INGOT_SHAPE(n, n));
    ingot_output(b, "z", ingot_matmul(b, x, y));
    return ingot_compile(b, l->d, NULL, out);
}

/* The kernel that multiplies; the rest may be casts around it. */
static const kernel_def *product_kernel(const ingot_program *p)
{
    for (int64_t i = 0; i < p->main.count; i++)
        if (!strcmp(p->main.steps[i].node->op->name, "matmul")) return p->main.steps[i].kernel;
    return NULL;
}

static status write_inputs(ingot_program *p, void *arg)
{
    const ladder *l = arg;
    int64_t bytes = value_bytes(p->graph->inputs.at[0].value);
    TRY(ingot_write(p, "x", l->host, bytes));
    return ingot_write(p, "y", l->host, bytes);
}

static status read_result(ingot_program *p, void *arg)
{
    const ladder *l = arg;
    return ingot_read(p, "z", l->host, value_bytes(p->graph->outputs.at[0].value));
}

static status time_product(ladder *l, ingot_program *p, bench_stats *stats)
{
    TRY(timed_fill(p, NULL, NULL));
    if (!l->copies) return timed_program(p, &l->plan->effort, NULL, NULL, NULL, stats);
    int64_t bytes = value_bytes(p->graph->outputs.at[0].value);
    l->host = calloc(1, (size_t)bytes);
    status s = l->host ? timed_program(p, &l->plan->effort, write_inputs, read_result, l, stats)
                       : fail_memory(l->ctx, "a matrix", (uint64_t)bytes);
    free(l->host);
    return s;
}

static status measure_size(ladder *l, int64_t n)
{
    ingot_program *p;
    char why[256];
    status s = build_product(l, n, &p);
    if (s == INGOT_ERROR_UNSUPPORTED || s == INGOT_ERROR_MEMORY) {
        snprintf(why, sizeof why, "%s", s == INGOT_ERROR_MEMORY ? ingot_message(l->ctx) : "no kernel of this dtype");
        add_row(l, new_row(l, n), why);
        return INGOT_OK;
    }
    TRY(s);
    const kernel_def *k = product_kernel(p);
    if (l->kernel && (!k || strcmp(k->name, l->kernel))) { /* not of this dtype, or of such shapes */
        ingot_program_free(p);
        return INGOT_OK;
    }
    if (l->rung && k && k->level != l->rung->level) {
        snprintf(why, sizeof why, "no kernel of this rung: %s would run", k->name);
        add_row(l, new_row(l, n), why);
        ingot_program_free(p);
        return INGOT_OK;
    }
    bench_stats stats = {0};
    s = time_product(l, p, &stats);
    if (!s) {
        json_t *row = new_row(l, n);
        if (k) row_set_text(row, "kernel", k->name);
        row_add_times(row, &stats);
        add_speed(l, row, stats.median, n);
        add_row(l, row, "yes");
        l->rate = product_flops(n) / stats.median;
    }
    bench_stats_free(&stats);
    ingot_program_free(p);
    return s;
}

/* Before a rung's first size, when that is large: what a small one takes says what to expect. */
static status probe(ladder *l)
{
    enum { SMALL = 128 };
    ingot_program *p;
    bench_stats stats = {0};
    if (l->plan->sizes[0] <= SMALL || build_product(l, SMALL, &p)) return INGOT_OK;
    const kernel_def *k = product_kernel(p);
    if ((l->rung && k && k->level != l->rung->level) || (l->kernel && (!k || strcmp(k->name, l->kernel)))) {
        /* measure_size will say so */
        ingot_program_free(p);
        return INGOT_OK;
    }
    status s = timed_fill(p, NULL, NULL);
    if (!s) s = timed_program(p, &(bench_effort){.repetitions = 3}, NULL, NULL, NULL, &stats);
    if (!s) l->rate = product_flops(SMALL) / stats.median;
    bench_stats_free(&stats);
    ingot_program_free(p);
    return s;
}

static status climb(ladder *l)
{
    l->rate = 0;
    TRY(probe(l));
    for (int64_t i = 0; i < l->plan->size_count; i++) {
        int64_t n = l->plan->sizes[i];
        double expected = l->rate > 0 ? product_flops(n) / l->rate : 0;
        progress(l->ctx, "ladder", (double)i, (double)l->plan->size_count, l->name);
        if (ingot_interrupted(l->ctx)) return ingot_fail(l->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
        if (expected <= l->plan->cap) {
            TRY(measure_size(l, n));
            continue;
        }
        json_t *row = new_row(l, n);
        json_object_set_new(row, "estimated", json_true());
        add_speed(l, row, expected, n);
        add_row(l, row, "yes");
    }
    return INGOT_OK;
}

static status climb_cpu(ladder *l)
{
    for (int r = 0; r < rung_count; r++) {
        const char *level = kernel_level_name(rungs[r].level);
        l->rung = &rungs[r];
        l->name = level;
        status s = ingot_device_open(l->ctx, "cpu", &(ingot_device_options){.level = level}, &l->d);
        if (s == INGOT_ERROR_UNSUPPORTED) {
            char why[256];
            snprintf(why, sizeof why, "%s", ingot_message(l->ctx));
            for (int64_t i = 0; i < l->plan->size_count; i++) add_row(l, new_row(l, l->plan->sizes[i]), why);
            continue;
        }
        TRY(s);
        s = device_limit_measure(l->d, l->on, l->type, &l->limit);
        if (!s) s = climb(l);
        ingot_device_close(l->d);
        l->d = NULL;
        TRY(s);
    }
    l->rung = NULL;
    return INGOT_OK;
}

static const char *const device_rungs[] = {"resident", "with copies"};

/* A device that this build or machine lacks is a row that says so, like a rung. */
static void device_missing(ladder *l, const char *device)
{
    char why[256];
    snprintf(why, sizeof why, "%s", ingot_message(l->ctx));
    for (int64_t i = 0; i < l->plan->size_count; i++) {
        l->name = device_rungs[0];
        json_t *row = new_row(l, l->plan->sizes[i]);
        row_set_text(row, "backend", device);
        add_row(l, row, why);
    }
}

/* With matrices that stay on the device, and with copies of them to and from it. */
static status climb_opened(ladder *l, const char *const names[2])
{
    status s = INGOT_OK;
    for (int copies = 0; copies < 2 && !s; copies++) {
        l->copies = copies;
        l->name = names[copies];
        s = climb(l);
    }
    ingot_device_close(l->d);
    l->d = NULL;
    l->copies = false;
    return s;
}

/* A rung of a device that has several kernels for products: this one, by name. */
static status climb_kernel(ladder *l, const char *device, const kernel_def *k)
{
    const char *dot = strchr(k->name, '.');
    char resident[64], copied[80];
    const char *const names[2] = {resident, copied};
    snprintf(resident, sizeof resident, "%s", dot ? dot + 1 : k->name);
    snprintf(copied, sizeof copied, "%s with copies", resident);
    TRY(ingot_device_open(l->ctx, device, &(ingot_device_options){.prefer = k->name}, &l->d));
    l->kernel = k->name;
    status s = climb_opened(l, names);
    l->kernel = NULL;
    return s;
}

/* The kernels for products, in the order of the device's table. */
static int product_kernels(const device *d, const kernel_def *found[8])
{
    int count = 0;
    for (kernel_table list = d->kernels; list && *list; list++)
        for (const kernel_def *k = *list; k->op && count < 8; k++)
            if (!strcmp(k->op->name, "matmul")) found[count++] = k;
    return count;
}

static status climb_device(ladder *l, const char *name)
{
    const kernel_def *found[8];
    status s = ingot_device_open(l->ctx, name, NULL, &l->d);
    if (s == INGOT_ERROR_UNSUPPORTED) return device_missing(l, name), INGOT_OK;
    TRY(s);
    int count = product_kernels(l->d, found);
    s = device_limit_measure(l->d, l->on, l->type,
                             &l->limit); /* while the device chooses: no rung is its own measure */
    if (count < 2 && !s) return climb_opened(l, device_rungs);
    ingot_device_close(l->d);
    l->d = NULL;
    for (int i = 0; i < count && !s; i++) s = climb_kernel(l, name, found[i]);
    return s;
}

/* speedup and winner need the rows of all rungs. */
static void relate(json_t *rows)
{
    size_t i, j;
    json_t *row, *other;
    json_array_foreach(rows, i, row)
    {
        double mine = json_number_value(json_object_get(row, "gflops"));
        bool best = mine > 0 && !json_object_get(row, "estimated");
        json_array_foreach(rows, j, other)
        {
            if (!rows_agree(row, other, "dtype") || !rows_agree(row, other, "size")) continue;
            double theirs = json_number_value(json_object_get(other, "gflops"));
            if (theirs > mine) best = false;
            if (mine > 0 && theirs > 0 && rows_agree(row, other, "backend") &&
                !strcmp(row_text(other, "rung"), "naive"))
                row_set_number(row, "speedup", mine / theirs);
        }
        json_object_set_new(row, "winner", json_boolean(best));
    }
}

/* Before minutes of measuring: a name that nobody knows. Fails too when none of the devices is here. */
static status check_devices(context *ctx, const ladder_plan *plan)
{
    status s = INGOT_OK;
    int64_t missing = 0;
    for (int64_t i = 0; i < plan->device_count; i++) {
        device *d = NULL;
        s = ingot_device_open(ctx, plan->devices[i], NULL, &d);
        ingot_device_close(d);
        if (s && s != INGOT_ERROR_UNSUPPORTED) return s;
        missing += s != INGOT_OK;
    }
    return missing == plan->device_count ? s : INGOT_OK;
}

status bench_ladder(context *ctx, const ladder_plan *plan, machine *on, json_t *rows)
{
    TRY(check_devices(ctx, plan));
    for (int64_t t = 0; t < plan->dtype_count; t++)
        for (int64_t d = 0; d < plan->device_count; d++) {
            ladder l = {.ctx = ctx, .plan = plan, .on = on, .rows = rows, .type = plan->dtypes[t]};
            bool cpu = !strcmp(plan->devices[d], "cpu");
            TRY(cpu ? climb_cpu(&l) : climb_device(&l, plan->devices[d]));
        }
    relate(rows);
    return limits_raise(ctx, on, rows);
}
