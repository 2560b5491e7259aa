/* ingot bench: lists of numbers, rows out, rows against those of another day. What is measured is in src/bench. */
#include "cli/bench.h"
#include "bench/limits.h"
#include "cli/terminal.h"

#include <stdio.h>

/* ---- lists ---- */

status bench_words(call *c, const string_list *given, string_list *out)
{
    for (int64_t i = 0; i < given->count; i++) {
        const char *at = given->at[i];
        for (;;) {
            size_t length = strcspn(at, ",");
            char *word = arena_printf(c->arena, "%.*s", (int)length, at);
            if (!word || !ARRAY_PUSH(out, word)) return fail_memory(c->ctx, "a list", length);
            if (!at[length]) break;
            at += length + 1;
        }
    }
    return INGOT_OK;
}

/* first-last, with +step or *factor behind; *end is set to what was not read. */
static bool parse_range(const char *word, int64_t range[3], bool *multiplies, const char **end)
{
    char *at;
    range[0] = range[1] = strtoll(word, &at, 10);
    range[2] = 1;
    *multiplies = false;
    bool good = at != word;
    if (good && *at == '-') {
        const char *last = at + 1;
        range[1] = strtoll(last, &at, 10);
        good = at != last;
        if (good && (*at == '+' || *at == '*')) {
            *multiplies = *at == '*';
            const char *step = at + 1;
            range[2] = strtoll(step, &at, 10);
            good = at != step;
        }
    }
    *end = at;
    return good && range[0] > 0 && range[1] >= range[0] && range[2] > (*multiplies ? 1 : 0);
}

status bench_numbers(call *c, const char *flag, const string_list *given, number_list *out)
{
    enum { MOST = 10000 };
    string_list words = {0};
    status s = bench_words(c, given, &words);
    for (int64_t i = 0; i < words.count && !s; i++) {
        int64_t range[3];
        bool multiplies;
        const char *end;
        if (!parse_range(words.at[i], range, &multiplies, &end) || *end || range[1] > INT64_C(1) << 40) {
            s = fail_usage(c, "--%s %s: numbers are written 512 or 128,256 or 128-1024+128 or 128-1024*2", flag,
                           words.at[i]);
            break;
        }
        for (int64_t n = range[0]; n <= range[1] && !s; n = multiplies ? n * range[2] : n + range[2]) {
            if (out->count >= MOST) s = fail_usage(c, "--%s gives more than %d numbers", flag, MOST);
            if (!s && !ARRAY_PUSH(out, n)) s = fail_memory(c->ctx, "a list", 8);
        }
    }
    ARRAY_FREE(&words);
    return s;
}

static status parse_dtype(call *c, const char *word, bool of_models, dtype *out)
{
    if (!ingot_dtype_parse(word, out) || !dtype_is_float(*out))
        return fail_usage(c, "--dtype %s: there are float32, float64, bfloat16 and float16", word);
    if (of_models && !device_flags_choose(&(device_flags){0}, *out))
        return fail_usage(c, "--dtype %s: models compute in float32, bfloat16 or float16", word);
    return INGOT_OK;
}

status bench_dtypes(call *c, const string_list *given, bool of_models, dtype_list *out)
{
    string_list words = {0};
    dtype type = INGOT_F32;
    status s = bench_words(c, given, &words);
    for (int64_t i = 0; i < words.count && !s; i++) {
        s = parse_dtype(c, words.at[i], of_models, &type);
        if (!s && !ARRAY_PUSH(out, type)) s = fail_memory(c->ctx, "a list", 8);
    }
    ARRAY_FREE(&words);
    if (!s && !out->count && !ARRAY_PUSH(out, type)) s = fail_memory(c->ctx, "a list", 8);
    return s;
}

/* ---- rows out ---- */

const option output_lines[OUTPUT_LINES] = {
    {"output-format", CHOICE_AT(output_flags, format), NULL, "md, csv, json, jsonl", .short_name = "o", .initial = "md",
     .choices = report_formats},
    {"against", STRING_AT(output_flags, against), "FILE",
     "compare with results that -o json or -o jsonl wrote; exit code 1 when something became slower"},
    {"tolerance", DOUBLE_AT(output_flags, tolerance), "SHARE", "changes below it are none, however sure",
     .initial = "0.03", .range = AT_LEAST(0)},
};

static report_format format_of(const call *c, const output_flags *o)
{
    return c->json ? REPORT_JSON : (report_format)o->format;
}

bool bench_prints_md(const call *c, const output_flags *o)
{
    return format_of(c, o) == REPORT_MD;
}

status bench_begin(call *c, const output_flags *o, machine *on)
{
    if (o->against) {
        json_t *rows;
        TRY(rows_read(c->ctx, o->against, &rows));
        json_decref(rows);
    }
    return machine_measure(c->ctx, on);
}

enum { ROW_NEW = ROW_UNKNOWN + 1, VERDICTS };

static void put_verdict(const char *key, const json_t *now, const json_t *before, double tolerance,
                        int counts[VERDICTS], text *out)
{
    static const char *const words[] = {"same", "faster", "SLOWER", "unknown"};
    double ratio, noise;
    if (!json_object_get(now, "median_ns")) return;
    if (!before) {
        counts[ROW_NEW]++;
        text_printf(out, "%-7s %s\n", "new", key);
        return;
    }
    row_verdict verdict = row_compare(now, before, tolerance, &ratio, &noise);
    counts[verdict]++;
    text_printf(out, "%-7s %s: %.3fx of the time before ", words[verdict], key, ratio);
    if (verdict == ROW_UNKNOWN)
        text_puts(out, "(one sample has no spread)");
    else
        text_printf(out, "(noise %.1f %%)", 100 * noise);
    bool here = json_equal(json_object_get(now, "cpu_info"), json_object_get(before, "cpu_info"));
    text_puts(out, here ? "\n" : "; another processor\n");
}

/* What the exit code says of all verdicts. */
static status judge(call *c, const char *against, const int counts[VERDICTS])
{
    int judged = counts[ROW_SAME] + counts[ROW_FASTER] + counts[ROW_SLOWER];
    if (!judged && counts[ROW_UNKNOWN])
        return ingot_fail(c->ctx, INGOT_ERROR_ARGUMENT,
                          "nothing can be said against %s: one sample has no spread; measure both with --repetitions 5 "
                          "or more",
                          against);
    if (!judged)
        return ingot_fail(c->ctx, INGOT_ERROR_ARGUMENT, "nothing that was measured is in %s: no row fits", against);
    if (!counts[ROW_SLOWER]) return INGOT_OK;
    return ingot_fail(c->ctx, INGOT_ERROR_ARGUMENT, "%d of %d rows became slower than in %s", counts[ROW_SLOWER],
                      judged, against);
}

status bench_verdicts(call *c, const output_flags *o, const json_t *rows)
{
    json_t *before;
    TRY(rows_read(c->ctx, o->against, &before));
    text out = {0};
    int counts[VERDICTS] = {0};
    size_t i;
    const json_t *row;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        text key = {0};
        row_key(row, false, &key);
        if (key.at) put_verdict(key.at, row, rows_find(before, row), o->tolerance, counts, &out);
        text_free(&key);
    }
    json_decref(before);
    fputs(out.at ? out.at : "", bench_prints_md(c, o) ? stdout : stderr);
    text_free(&out);
    return judge(c, o->against, counts);
}

status bench_finish(call *c, const output_flags *o, const json_t *rows, const report_column *columns, size_t count)
{
    if (c->json) {
        TRY(print_json(c, json_pack("{s:O}", "results", rows)));
        return o->against ? bench_verdicts(c, o, rows) : INGOT_OK;
    }
    text out = {0};
    terminal_clear(c->terminal);
    report_print(rows, format_of(c, o), columns, count, &out);
    fputs(out.at ? out.at : "", stdout);
    text_free(&out);
    return o->against ? bench_verdicts(c, o, rows) : INGOT_OK;
}

static status measure_dtype(call *c, const bench_frame *f, const void *arg, dtype type, const machine *on, json_t *rows)
{
    ingot_device *d;
    device_flags flags = *f->device;
    device_flags_choose(&flags, type);
    TRY(device_flags_open(c, &flags, &d));
    status s = f->measure(c, arg, d, type, on, rows);
    ingot_device_close(d);
    return s;
}

status bench_each_dtype(call *c, const bench_frame *f, const void *arg)
{
    machine on;
    TRY(bench_begin(c, f->output, &on));
    json_t *rows = json_array();
    status s = INGOT_OK;
    for (int64_t i = 0; i < f->dtypes->count && !s; i++) s = measure_dtype(c, f, arg, f->dtypes->at[i], &on, rows);
    if (!s) s = limits_raise(c->ctx, &on, rows);
    if (!s && f->show && bench_prints_md(c, f->output)) f->show(rows);
    if (!s) s = bench_finish(c, f->output, rows, f->columns, f->column_count);
    json_decref(rows);
    return s;
}

const verb verb_bench = {
    .name = "bench",
    .summary = "measure speed: the CPU ladder, ops, training, generation",
    .description =
        "Every row is a median with its spread after a warm-up, and says on what it was measured. Results in "
        "json or jsonl can be given to --against later, and to `ingot bench compare` beside those of other "
        "machines.",
    .verbs = {&bench_ladder_verb, &bench_ops_verb, &bench_train_verb, &bench_infer_verb, &bench_compare_verb},
};
