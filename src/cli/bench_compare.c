/* ingot bench compare a.json b.json: one table, one column a file. */
#include "bench/compare.h"
#include "cli/bench.h"

#include <stdio.h>

enum { MOST_FILES = 8 };

typedef struct compare_options {
    string_list files;
    output_flags output;
} compare_options;

static const option lines[] = {
    {"files", LIST_AT(compare_options, files), "FILE", "results that -o json or -o jsonl wrote", .required = true,
     .positional = true},
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
    json_t *merged = compare_files(files, count, o->output.tolerance);
    output_flags output = o->output;
    output.against = NULL; /* its verdicts are of the files' rows, not of this table's */
    status s = bench_finish(c, &output, merged, columns, used);
    json_decref(merged);
    return s;
}

/* --against comes first: the others are compared with it. */
static status read_files(call *c, const compare_options *o, compare_file *files, int *count)
{
    const char *against = o->output.against;
    if (o->files.count + (against != NULL) > MOST_FILES)
        return fail_usage(c, "more than %d files cannot be compared at once", MOST_FILES);
    for (int64_t i = against ? -1 : 0; i < o->files.count; i++) {
        compare_file *f = &files[*count];
        f->name = i < 0 ? against : o->files.at[i];
        TRY(rows_read(c->ctx, f->name, &f->rows));
        ++*count;
    }
    return INGOT_OK;
}

static status run(call *c, void *given)
{
    const compare_options *o = given;
    compare_file files[MOST_FILES] = {{0}};
    int count = 0;
    status s = read_files(c, o, files, &count);
    if (!s) s = print_merged(c, o, files, count);
    for (int f = 1; f < count && !s && o->output.against; f++) s = bench_verdicts(c, &o->output, files[f].rows);
    for (int f = 0; f < count; f++) json_decref(files[f].rows);
    return s;
}

const verb bench_compare_verb = {
    .name = "compare",
    .summary = "results of several machines or days in one table",
    .description =
        "Rows are paired by what was measured: model, test, op, shape, dtype, device, rung. A verdict is given "
        "where the difference to the first file is larger than --tolerance and than the noise of both. With --against "
        "that file is the first, and the exit code says whether anything became slower.",
    .run = run,
    .options_bytes = sizeof(compare_options),
    .options = {{NULL, OPTIONS(lines)}, OUTPUT_TABLE(compare_options, output)},
    .examples = "ingot bench compare laptop.json server.json\n"
                "ingot bench compare today.json --against yesterday.json\n",
};
