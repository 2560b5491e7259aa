/* Fields of rows, files of rows, and whether a difference is one. */
#define _GNU_SOURCE
#include "bench/row.h"
#include "base/file.h"

#include <math.h>
#include <time.h>

#define MOST_FILE_BYTES (1ull << 28)

void row_set_text(json_t *row, const char *field, const char *text)
{
    json_object_set_new(row, field, json_string(text ? text : ""));
}

void row_set_number(json_t *row, const char *field, double number)
{
    if (isfinite(number)) json_object_set_new(row, field, json_real(number));
}

json_t *row_new(const char *bench, const device *d, const machine *on)
{
    char date[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    json_t *row = json_object();
    row_set_text(row, "schema", ROW_SCHEMA);
    row_set_text(row, "bench", bench);
    row_set_text(row, "version", ingot_version());
    row_set_text(row, "test_time", date);
    row_set_text(row, "cpu_info", on->cpu.name);
    row_set_text(row, "cpu_family", on->cpu.family);
    row_set_text(row, "cpu_isa", on->cpu.isa);
    json_object_set_new(row, "n_threads", json_integer(on->threads));
    if (d) row_set_text(row, "backend", d->def->name);
    if (d && !strcmp(d->def->name, "cpu")) row_set_text(row, "level", kernel_level_name(d->level));
    if (on->peak_flops > 0) row_set_number(row, "peak_gflops", on->peak_flops * 1e-9);
    if (on->copy_bytes > 0) row_set_number(row, "copy_gb_per_s", on->copy_bytes * 1e-9);
    return row;
}

void row_add_times(json_t *row, const bench_stats *s)
{
    json_t *samples = json_array();
    for (int64_t i = 0; i < s->count; i++) json_array_append_new(samples, json_real(s->samples[i] * 1e9));
    row_set_number(row, "median_ns", s->median * 1e9);
    row_set_number(row, "avg_ns", s->mean * 1e9);
    row_set_number(row, "stddev_ns", s->deviation * 1e9);
    row_set_number(row, "min_ns", s->least * 1e9);
    json_object_set_new(row, "samples_ns", samples);
}

/* ---- files ---- */

void row_key(const json_t *row, bool with_machine, text *out)
{
    static const char *const fields[] = {"bench",   "model",     "test",      "op",       "shape",   "size",
                                         "dtype",   "backend",   "level",     "rung",     "form",    "optimizer",
                                         "n_batch", "recompute", "n_threads", "cpu_info", "gpu_info"};
    size_t count = COUNT(fields) - (with_machine ? 0 : 3);
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_object_get(row, fields[i]);
        if (json_is_string(v)) text_printf(out, "%s%s", out->length ? " " : "", json_string_value(v));
        if (json_is_number(v)) text_printf(out, "%s%s=%g", out->length ? " " : "", fields[i], json_number_value(v));
    }
    text_puts(out, "");
}

static status check_row(context *ctx, const char *path, const json_t *row)
{
    const char *schema = json_string_value(json_object_get(row, "schema"));
    if (!json_is_object(row) || !schema)
        return ingot_fail(
            ctx, INGOT_ERROR_FORMAT,
            "%s holds no results of ingot bench: a row has no \"schema\"; files are written by -o json or "
            "-o jsonl",
            path);
    if (!strcmp(schema, ROW_SCHEMA)) return INGOT_OK;
    return ingot_fail(ctx, INGOT_ERROR_FORMAT,
                      "%s has schema %.40s, this program reads and writes %s; measure again with this version", path,
                      schema, ROW_SCHEMA);
}

static status read_lines(context *ctx, const char *path, const char *bytes, size_t count, json_t *rows)
{
    size_t line = 1;
    for (const char *at = bytes, *end = at + count; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        json_error_t error;
        json_t *row = length ? json_loadb(at, length, JSON_REJECT_DUPLICATES, &error) : NULL;
        if (length && !row)
            return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s, line %zu: %s; results are written by -o json or -o jsonl",
                              path, line, error.text);
        if (row) json_array_append_new(rows, row);
        at += length + (stop != NULL);
    }
    return INGOT_OK;
}

static status parse_into(context *ctx, const char *path, const char *bytes, size_t length, json_t *rows)
{
    json_t *whole = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, NULL);
    status s = INGOT_OK;
    if (json_is_array(whole))
        json_array_extend(rows, whole);
    else if (whole)
        json_array_append(rows, whole);
    else
        s = read_lines(ctx, path, bytes, length, rows);
    json_decref(whole);
    if (!s && !json_array_size(rows)) s = ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s holds no results", path);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) if (!s) s = check_row(ctx, path, row);
    return s;
}

status rows_parse(context *ctx, const char *name, const char *bytes, size_t length, json_t **rows)
{
    *rows = json_array();
    status s = parse_into(ctx, name, bytes, length, *rows);
    if (!s) return s;
    json_decref(*rows);
    *rows = NULL;
    return s;
}

status rows_read(context *ctx, const char *path, json_t **rows)
{
    text bytes = {0};
    *rows = NULL;
    status s = file_read_whole(ctx, path, MOST_FILE_BYTES, &bytes);
    if (!s) s = rows_parse(ctx, path, bytes.at ? bytes.at : "", bytes.length, rows);
    text_free(&bytes);
    return s;
}

/* ---- comparing ---- */

static int ascending(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

static double median_of(double *sorted, size_t count)
{
    qsort(sorted, count, sizeof *sorted, ascending);
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

/* Relative standard error of the median, from the median of the deviations: one slow sample does not widen it. */
static double median_error(const json_t *row)
{
    const json_t *samples = json_object_get(row, "samples_ns");
    size_t count = json_array_size(samples), i;
    double *at = count > 1 ? malloc(count * sizeof *at) : NULL;
    if (!at) return 0;
    const json_t *one;
    json_array_foreach((json_t *)(uintptr_t)samples, i, one) at[i] = json_number_value(one);
    double middle = median_of(at, count);
    for (i = 0; i < count; i++) at[i] = fabs(at[i] - middle);
    double spread = 1.4826 * median_of(at, count); /* a normal distribution's deviation */
    free(at);
    return middle > 0 ? 1.2533 * spread / sqrt((double)count) / middle : 0;
}

row_verdict row_compare(const json_t *now, const json_t *before, double tolerance, double *ratio, double *noise)
{
    double a = json_number_value(json_object_get(now, "median_ns")),
           b = json_number_value(json_object_get(before, "median_ns"));
    *ratio = a > 0 && b > 0 ? a / b : NAN;
    *noise = 3 * hypot(median_error(now), median_error(before));
    double change = log(*ratio), enough = log1p(tolerance);
    if (!(fabs(change) > fmax(enough, *noise))) return ROW_SAME;
    /* A busy neighbour slows the median; the best sample it seldom touches. Both must have moved. */
    double least =
        json_number_value(json_object_get(now, "min_ns")) / json_number_value(json_object_get(before, "min_ns"));
    if (isfinite(least) && least > 0 && log(least) * (change > 0 ? 1 : -1) <= enough) return ROW_SAME;
    return change > 0 ? ROW_SLOWER : ROW_FASTER;
}
