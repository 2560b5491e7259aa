/* ingot bench compare a.json b.json: one table, one column a file. */
#include "bench/compare.h"
#include "cli/bench.h"

#include <stdio.h>

enum { MOST_FILES = 8 };

typedef struct compare_options {
    string_list files;
    int format;
    double tolerance;
} compare_options;

static const option lines[] = {
    {"files", LIST_AT(compare_options, files), "FILE", "results that -o json or -o jsonl wrote", .required = true,
     .positional = true},
    {"output-format", CHOICE_AT(compare_options, format), NULL, "md, csv, json, jsonl", .short_name = "o",
     .initial = "md", .choices = report_formats},
    {"tolerance", DOUBLE_AT(compare_options, tolerance), "SHARE", "changes below it are none, however sure",
     .initial = "0.03", .range = AT_LEAST(0)},
};

static status print_merged(call *c, const compare_options *o, const compare_file *files, int count)
{
    report_column columns[1 + 3 * MOST_FILES] = {{"test", "test", NULL}};
    size_t used = 1;
    for (int f = 0; f < count; f++) {
        text name = {0};
        compare_name(files, count, f, &name);
        columns[used++] = (report_column){arena_printf(c->arena, "ms %d", f),
                                          arena_printf(c->arena, "ms: %s", name.at ? name.at : files[f].name), "%.4g"};
        columns[used++] = (report_column){arena_printf(c->arena, "ratio %d", f), "x the first", "%.3f"};
        columns[used++] = (report_column){arena_printf(c->arena, "verdict %d", f), "", NULL};
        text_free(&name);
        for (size_t i = used - 3; i < used; i++)
            if (!columns[i].field || !columns[i].heading) return fail_memory(c->ctx, "a table", 0);
    }
    json_t *merged = compare_files(files, count, o->tolerance);
    const output_flags output = {.format = o->format};
    status s = bench_finish(c, &output, merged, columns, used);
    json_decref(merged);
    return s;
}

static status run(call *c, void *given)
{
    const compare_options *o = given;
    compare_file files[MOST_FILES] = {{0}};
    int count = 0;
    status s = INGOT_OK;
    if (o->files.count > MOST_FILES) return fail_usage(c, "more than %d files cannot be compared at once", MOST_FILES);
    for (int64_t i = 0; i < o->files.count && !s; i++) {
        files[count].name = o->files.at[i];
        s = rows_read(c->ctx, o->files.at[i], &files[count].rows);
        if (!s) count++;
    }
    if (!s) s = print_merged(c, o, files, count);
    for (int f = 0; f < count; f++) json_decref(files[f].rows);
    return s;
}

const verb bench_compare_verb = {
    .name = "compare",
    .summary = "results of several machines or days in one table",
    .description =
        "Rows are paired by what was measured: model, test, op, shape, dtype, device, rung. A verdict is given "
        "where the difference to the first file is larger than --tolerance and than the noise of both.",
    .run = run,
    .options_bytes = sizeof(compare_options),
    .options = {{NULL, OPTIONS(lines)}},
    .examples = "ingot bench compare laptop.json server.json\n",
};
