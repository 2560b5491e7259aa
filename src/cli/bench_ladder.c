/* ingot bench ladder: tables, winners, charts. */
#include "bench/ladder.h"
#include "cli/bench.h"
#include "cli/charts.h"

#include <math.h>
#include <stdio.h>

typedef struct ladder_options {
    string_list sizes, dtypes, devices, plots;
    double seconds, cap;
    bool chart;
    output_flags output;
} ladder_options;

typedef struct ladder_lists {
    number_list sizes;
    dtype_list dtypes;
    string_list devices;
} ladder_lists;

static const option lines[] = {
    {"sizes", LIST_AT(ladder_options, sizes), "N,..", "products of N x N matrices; 128,512 or 128-1024*2",
     .initial_help = "128-1024*2"},
    {"dtype", LIST_AT(ladder_options, dtypes), "NAME,..", "float32, float64, bfloat16", .initial_help = "float32"},
    {"devices", LIST_AT(ladder_options, devices), "NAME,..", "cpu, cuda: all their rungs", .initial_help = "cpu"},
    {"seconds", DOUBLE_AT(ladder_options, seconds), "S", "time for each row", .initial = "0.3", .range = MORE_THAN(0)},
    {"cap", DOUBLE_AT(ladder_options, cap), "S",
     "a product that would take longer is estimated from the size before it, and marked ~", .initial = "2",
     .range = MORE_THAN(0)},
    {"plot", LIST_AT(ladder_options, plots), "FILE", "also draw GFLOP/s over size: .svg or .png, by gnuplot"},
    {"chart", BOOL_AT(ladder_options, chart), NULL, "the chart in the terminal, after the table", .initial = "true"},
};

static const report_column columns[] = {
    {"dtype", "dtype", NULL},       {"backend", "device", NULL},
    {"rung", "rung", NULL},         {"size", "size", "%.0f"},
    {"ms_text", "ms", NULL},        {"gflops", "GFLOP/s", "%.1f"},
    {"speedup", "x naive", "%.1f"}, {"of_peak", "of peak", "%.3f"},
    {"idle", "idle", "%.3f"},       {"wins", "", NULL},
    {"kernel", "kernel", NULL},
};
static const report_column rung_columns[] = {
    {"rung", "rung", NULL},     {"expertise", "expertise (of 10)", "%.0f"}, {"lines", "lines", "%.0f"},
    {"hours", "hours", "%.3g"}, {"leaves_idle", "leaves idle", NULL},       {"available_text", "available", NULL},
};

/* Half of the samples lie within it of the median: a slow one among hundreds says nothing of the rest. */
static double median_deviation_ms(const json_t *row)
{
    const json_t *samples = json_object_get(row, "samples_ns");
    size_t count = json_array_size(samples), i;
    const json_t *one;
    double *apart = count ? malloc(count * sizeof *apart) : NULL,
           median = json_number_value(json_object_get(row, "median_ns"));
    if (!apart) return 0;
    json_array_foreach((json_t *)(uintptr_t)samples, i, one) apart[i] = fabs(json_number_value(one) - median);
    double middle = bench_median(apart, (int64_t)count);
    free(apart);
    return middle * 1e-6;
}

/* The rows of the md table: those that have a time, with "12.34 +- 0.10" or "~1200 (not run)" as text. */
static json_t *shown_rows(const json_t *rows)
{
    json_t *all = json_array();
    size_t i;
    const json_t *row;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        char ms_text[64];
        double ms = json_number_value(json_object_get(row, "ms"));
        if (ms <= 0) continue;
        json_t *one = json_copy((json_t *)(uintptr_t)row);
        if (json_is_true(json_object_get(row, "estimated")))
            snprintf(ms_text, sizeof ms_text, "~%.4g (not run)", ms);
        else
            snprintf(ms_text, sizeof ms_text, "%.4g +- %.2g", ms, median_deviation_ms(row));
        row_set_text(one, "ms_text", ms_text);
        if (json_is_true(json_object_get(row, "winner"))) row_set_text(one, "wins", "wins");
        json_array_append_new(all, one);
    }
    return all;
}

/* A device that is not here has one row without a time for each size and dtype: one of them is shown. */
static void add_missing_devices(const json_t *rows, json_t *all)
{
    size_t i;
    const json_t *row, *last = NULL;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        const char *device = row_text(row, "backend");
        if (json_object_get(row, "expertise") || json_object_get(row, "gflops")) continue;
        if (last && !strcmp(row_text(last, "backend"), device)) continue;
        last = row;
        json_array_append_new(all,
                              json_pack("{s:s, s:s}", "rung", device, "available_text", row_text(row, "available")));
    }
}

static const json_t *row_of_rung(const json_t *rows, const char *rung, const char *dtype)
{
    size_t i;
    const json_t *row;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        if (strcmp(row_text(row, "rung"), rung)) continue;
        if (!dtype || !strcmp(row_text(row, "dtype"), dtype)) return row;
    }
    return NULL;
}

/* "yes", or "float32, float64: yes; bfloat16: no kernel of ...": what is equal is said once. */
static void put_available(const json_t *rows, const char *rung, const dtype_list *dtypes, text *out)
{
    uint64_t said = 0;
    int64_t count = MIN(dtypes->count, 64);
    for (int64_t t = 0; t < count; t++) {
        const json_t *row = row_of_rung(rows, rung, ingot_dtype_name(dtypes->at[t]));
        if (!row || said >> t & 1) continue;
        text names = {0};
        int64_t alike = 0;
        for (int64_t o = t; o < count; o++) {
            const json_t *other = row_of_rung(rows, rung, ingot_dtype_name(dtypes->at[o]));
            if (!other || strcmp(row_text(row, "available"), row_text(other, "available"))) continue;
            text_printf(&names, "%s%s", alike++ ? ", " : "", ingot_dtype_name(dtypes->at[o]));
            said |= UINT64_C(1) << o;
        }
        bool all = alike == count && count > 1;
        text_printf(out, "%s%s%s%s", out->length ? "; " : "", all ? "" : names.at, all ? "" : ": ",
                    row_text(row, "available"));
        text_free(&names);
    }
}

/* One row a rung, with the dtypes that it has no kernel for. */
static json_t *rung_rows(const json_t *rows, const dtype_list *dtypes)
{
    json_t *all = json_array();
    for (int r = 0; r < rung_count; r++) {
        const char *name = kernel_level_name(rungs[r].level);
        const json_t *first = row_of_rung(rows, name, NULL);
        text available = {0};
        if (!first) continue;
        put_available(rows, name, dtypes, &available);
        json_t *one = json_deep_copy(first);
        row_set_text(one, "available_text", available.at);
        json_array_append_new(all, one);
        text_free(&available);
    }
    add_missing_devices(rows, all);
    return all;
}

/* ---- the verb ---- */

static int ascending(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return a < b ? -1 : a > b;
}

static status read_lists(call *c, const ladder_options *o, ladder_lists *l)
{
    static const char *const sizes[] = {"128-1024*2"}, *const devices[] = {"cpu"};
    const string_list usual[] = {{(const char **)(uintptr_t)sizes, 1, 1}, {(const char **)(uintptr_t)devices, 1, 1}};
    TRY(bench_numbers(c, "sizes", o->sizes.count ? &o->sizes : &usual[0], &l->sizes));
    TRY(bench_dtypes(c, &o->dtypes, false, &l->dtypes));
    TRY(bench_words(c, o->devices.count ? &o->devices : &usual[1], &l->devices));
    for (int64_t i = 0; i < o->plots.count; i++) TRY(plot_check(c->ctx, o->plots.at[i]));
    for (int64_t i = 0; i < l->sizes.count; i++)
        if (l->sizes.at[i] > 32768) return fail_usage(c, "--sizes: %lld is more than 32768", (long long)l->sizes.at[i]);
    qsort(l->sizes.at, (size_t)l->sizes.count, sizeof *l->sizes.at, ascending);
    return INGOT_OK;
}

static void print_machine(const machine *on)
{
    printf("%s, %s, %d threads: measured peak %.1f GFLOP/s float32, %.1f float64", on->cpu.name, on->cpu.family,
           on->threads, on->peak_flops * 1e-9, on->peak_flops_f64 * 1e-9);
    if (on->peak_flops_bf16 > 0) printf(", %.1f bfloat16", on->peak_flops_bf16 * 1e-9);
    printf("; copy %.1f GB/s, read %.1f GB/s\n\n", on->copy_bytes * 1e-9, on->read_bytes * 1e-9);
}

static void print_rungs(const json_t *rows, const dtype_list *dtypes)
{
    text out = {0};
    json_t *about = rung_rows(rows, dtypes);
    report_print(about, REPORT_MD, rung_columns, COUNT(rung_columns), &out);
    json_decref(about);
    printf("%s\n", out.at ? out.at : "");
    text_free(&out);
}

static bool any_above_peak(const json_t *rows)
{
    size_t i;
    const json_t *row;
    json_array_foreach((json_t *)(uintptr_t)rows, i,
                       row) if (json_number_value(json_object_get(row, "of_peak")) > 1.03) return true;
    return false;
}

static status print_md(call *c, const ladder_options *o, const dtype_list *dtypes, const json_t *rows,
                       const machine *on)
{
    text out = {0};
    print_machine(on);
    print_rungs(rows, dtypes);
    json_t *shown = shown_rows(rows);
    status s = bench_finish(c, &o->output, shown, columns, COUNT(columns));
    json_decref(shown);
    ladder_crossings(rows, &out);
    if (any_above_peak(rows))
        text_puts(
            &out,
            "A share of the peak above 1: others used this machine while its peak was measured. Again, please.\n");
    printf("\n%s\n", out.at ? out.at : "");
    text_free(&out);
    return s;
}

static status print_ladder(call *c, const ladder_options *o, const ladder_lists *l, const json_t *rows,
                           const machine *on)
{
    status s = bench_prints_md(c, &o->output) ? print_md(c, o, &l->dtypes, rows, on)
                                              : bench_finish(c, &o->output, rows, columns, COUNT(columns));
    const ladder_picture picture = {.sizes = &l->sizes,
                                    .dtypes = &l->dtypes,
                                    .files = &o->plots,
                                    .chart = o->chart && bench_prints_md(c, &o->output)};
    status drawn = draw_ladder(c, &picture, rows, on);
    return s ? s : drawn;
}

static status run(call *c, void *given)
{
    const ladder_options *o = given;
    ladder_lists lists = {0};
    machine on;
    json_t *rows = json_array();
    status s;
    TRY_OR(done, read_lists(c, o, &lists));
    TRY_OR(done, bench_begin(c, &o->output, &on));
    const ladder_plan plan = {.sizes = lists.sizes.at,
                              .size_count = lists.sizes.count,
                              .dtypes = lists.dtypes.at,
                              .dtype_count = lists.dtypes.count,
                              .devices = lists.devices.at,
                              .device_count = lists.devices.count,
                              .effort = {.warmup = 2, .seconds = o->seconds},
                              .cap = o->cap};
    TRY_OR(done, bench_ladder(c->ctx, &plan, &on, rows));
    s = print_ladder(c, o, &lists, rows, &on);
done:
    json_decref(rows);
    ARRAY_FREE(&lists.sizes);
    ARRAY_FREE(&lists.dtypes);
    ARRAY_FREE(&lists.devices);
    return s;
}

const verb bench_ladder_verb = {
    .name = "ladder",
    .summary = "a matrix product at every rung, from naive loops to the machine's limit",
    .description =
        "The peak is measured first: multiply-adds in registers on all threads; of a GPU its own largest product. `x "
        "naive` is the speed over the naive rung of the same size, `idle` what is left of the peak. Expertise and "
        "effort "
        "are what the rung's file says of itself. GPU rows come twice: with the matrices resident, and with both "
        "inputs "
        "written and the result read each time.",
    .run = run,
    .options_bytes = sizeof(ladder_options),
    .options = {{NULL, OPTIONS(lines)}, OUTPUT_TABLE(ladder_options, output)},
    .examples =
        "ingot bench ladder --sizes 128,256,512,1024,2048 --dtype float32,float64 --devices cpu --plot ladder.svg\n"
        "ingot bench ladder --sizes 128-4096*2 --devices cpu,cuda -o json > ladder.json\n",
};
