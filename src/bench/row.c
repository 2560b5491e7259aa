/* Fields of rows, files of rows, and whether a difference is one. */
#define _GNU_SOURCE
#include "bench/row.h"
#include "base/file.h"
#include "engine/program.h"

#include <math.h>
#include <time.h>

#ifndef INGOT_BUILD_COMMIT /* cmake/options.cmake */
#define INGOT_BUILD_COMMIT ""
#endif
#define MOST_FILE_BYTES (1ull << 28)

const char *row_text(const json_t *row, const char *field)
{
    const char *found = json_string_value(json_object_get(row, field));
    return found ? found : "";
}

bool rows_agree(const json_t *x, const json_t *y, const char *field)
{
    return json_equal(json_object_get(x, field), json_object_get(y, field));
}

void row_set_text(json_t *row, const char *field, const char *text)
{
    json_object_set_new(row, field, json_string(text ? text : ""));
}

void row_set_number(json_t *row, const char *field, double number)
{
    if (isfinite(number)) json_object_set_new(row, field, json_real(number));
}

/* What a caller asked of the device that changes which kernels run. */
static void add_choices(json_t *row, const device *d)
{
    if (d->prefer) row_set_text(row, "prefer", d->prefer);
    if (d->row_invariant) json_object_set_new(row, "row_invariant", json_true());
    if (d->tf32) json_object_set_new(row, "tf32", json_true());
    if (!d->tuning) return;
    char hash[20];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)tuning_hash(d->tuning));
    row_set_text(row, "tuning", hash);
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
    row_set_text(row, "build_commit", *INGOT_BUILD_COMMIT ? INGOT_BUILD_COMMIT : "unknown");
    row_set_text(row, "test_time", date);
    row_set_text(row, "cpu_info", on->cpu.name);
    row_set_text(row, "cpu_family", on->cpu.family);
    row_set_text(row, "cpu_isa", on->cpu.isa);
    json_object_set_new(row, "n_threads", json_integer(on->threads));
    if (d) row_set_text(row, "backend", d->def->name);
    if (d && !strcmp(d->def->name, "cpu")) row_set_text(row, "level", kernel_level_name(d->level));
    if (d) add_choices(row, d);
    if (on->peak_flops > 0) row_set_number(row, "peak_gflops", on->peak_flops * 1e-9);
    if (on->copy_bytes > 0) row_set_number(row, "copy_gb_per_s", on->copy_bytes * 1e-9);
    return row;
}

void row_add_model(json_t *row, const ingot_model_info *info)
{
    json_object_set_new(row, "n_params", json_integer((json_int_t)info->parameters));
    if (info->image) json_object_set_new(row, "image", json_integer((json_int_t)info->image));
}

void row_add_kernels(json_t *row, ingot_program *const *programs, int count)
{
    json_t *steps = json_object(), *one;
    const char *name;
    for (int p = 0; p < count; p++)
        for (int64_t i = 0; programs[p] && i < programs[p]->main.count; i++) {
            name = programs[p]->main.steps[i].kernel->name;
            json_object_set_new(steps, name, json_integer(json_integer_value(json_object_get(steps, name)) + 1));
        }
    text list = {0};
    json_object_foreach(steps, name, one)
        text_printf(&list, "%s%s x%d", list.length ? ", " : "", name, (int)json_integer_value(one));
    row_set_text(row, "kernels", list.at);
    text_free(&list);
    json_decref(steps);
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

static void add_to_key(const json_t *row, const char *field, text *out)
{
    const json_t *v = json_object_get(row, field);
    if (json_is_string(v)) text_printf(out, "%s%s", out->length ? " " : "", json_string_value(v));
    if (json_is_number(v)) text_printf(out, "%s%s=%.10g", out->length ? " " : "", field, json_number_value(v));
    if (json_is_true(v)) text_printf(out, "%s%s", out->length ? " " : "", field);
}

void row_key(const json_t *row, bool with_machine, text *out)
{
    static const char *const fields[] = {"bench",     "model",    "test",           "op",        "by",
                                         "kernel",    "shape",    "size",           "dtype",     "attrs",
                                         "sample",    "backend",  "level",          "rung",      "form",
                                         "image",     "n_params", "model_n_params", "optimizer", "n_batch",
                                         "recompute", "prefer",   "row_invariant",  "tf32",      "tuning"},
                             *const machine[] = {"n_threads", "cpu_info", "gpu_info"};
    for (size_t i = 0; i < COUNT(fields); i++) /* a rung is the same rung with another kernel */
        if (strcmp(fields[i], "kernel") || !json_object_get(row, "rung")) add_to_key(row, fields[i], out);
    for (size_t i = 0; with_machine && i < COUNT(machine); i++) add_to_key(row, machine[i], out);
    text_puts(out, "");
}

static char *key_of(const json_t *row, bool with_machine)
{
    text key = {0};
    row_key(row, with_machine, &key);
    return key.at;
}

static const json_t *find_key(const json_t *rows, const json_t *like, bool with_machine)
{
    char *wanted = key_of(like, with_machine);
    const json_t *row, *found = NULL;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        if (found || !json_object_get(row, "median_ns")) continue;
        char *key = key_of(row, with_machine);
        if (key && wanted && !strcmp(key, wanted)) found = row;
        free(key);
    }
    free(wanted);
    return found;
}

const json_t *rows_find(const json_t *rows, const json_t *like)
{
    const json_t *same_machine = find_key(rows, like, true);
    return same_machine ? same_machine : find_key(rows, like, false);
}

/* A row that stands twice would be compared with either: that no difference is one could not be said. */
static status check_keys(context *ctx, const char *path, const json_t *rows)
{
    json_t *seen = json_object(), *row;
    status s = INGOT_OK;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        char *key = json_object_get(row, "median_ns") && !s ? key_of(row, true) : NULL;
        if (key && json_object_get(seen, key))
            s = ingot_fail(ctx, INGOT_ERROR_FORMAT,
                           "%s has two results of %s: nothing says which one to compare with; leave one out", path,
                           key);
        if (key) json_object_set_new(seen, key, json_true());
        free(key);
    }
    json_decref(seen);
    return s;
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
    const json_t *results = json_object_get(whole, "results"); /* as --json prints them */
    if (json_is_array(whole) || json_is_array(results))
        json_array_extend(rows, json_is_array(whole) ? whole : (json_t *)(uintptr_t)results);
    else if (whole)
        json_array_append(rows, whole);
    else
        s = read_lines(ctx, path, bytes, length, rows);
    json_decref(whole);
    if (!s && !json_array_size(rows)) s = ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s holds no results", path);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) if (!s) s = check_row(ctx, path, row);
    return s ? s : check_keys(ctx, path, rows);
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

/* Relative standard error of the median, from the median of the deviations: one slow sample does not widen it. Of fewer
 * than five samples that says little, and their whole range stands for it. One sample has no spread: NAN. */
static double median_error(const json_t *row)
{
    enum { FEW = 5 };
    const json_t *samples = json_object_get(row, "samples_ns");
    size_t count = json_array_size(samples), i;
    double *at = count > 1 ? malloc(count * sizeof *at) : NULL;
    if (!at) return NAN;
    const json_t *one;
    json_array_foreach((json_t *)(uintptr_t)samples, i, one) at[i] = json_number_value(one);
    double middle = bench_median(at, (int64_t)count), range = at[count - 1] - at[0];
    for (i = 0; i < count; i++) at[i] = fabs(at[i] - middle);
    double spread = 1.4826 * bench_median(at, (int64_t)count); /* a normal distribution's deviation */
    free(at);
    if (!(middle > 0)) return NAN;
    return (count < FEW ? range : 1.2533 * spread / sqrt((double)count)) / middle;
}

row_verdict row_compare(const json_t *now, const json_t *before, double tolerance, double *ratio, double *noise)
{
    double a = json_number_value(json_object_get(now, "median_ns")),
           b = json_number_value(json_object_get(before, "median_ns"));
    *ratio = a > 0 && b > 0 ? a / b : NAN;
    *noise = 3 * hypot(median_error(now), median_error(before));
    double change = log(*ratio), enough = log1p(tolerance);
    if (!isfinite(*noise) || !isfinite(change)) return ROW_UNKNOWN;
    if (fabs(change) <= fmax(enough, *noise)) return ROW_SAME;
    /* A busy neighbour slows the median; the best sample it seldom touches. Both must have moved. */
    double least =
        json_number_value(json_object_get(now, "min_ns")) / json_number_value(json_object_get(before, "min_ns"));
    if (isfinite(least) && least > 0 && log(least) * (change > 0 ? 1 : -1) <= enough) return ROW_SAME;
    return change > 0 ? ROW_SLOWER : ROW_FASTER;
}
