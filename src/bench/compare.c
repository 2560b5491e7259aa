/* Merging files of rows by key. */
#include "bench/compare.h"

#include <stdio.h>

static char *key_of(const json_t *row)
{
    text key = {0};
    row_key(row, false, &key);
    return key.at;
}

static void put_cell(json_t *merged, int which, const json_t *row, const json_t *first, double tolerance)
{
    static const char *const words[] = {"", "faster", "slower", "one sample"};
    char field[32];
    snprintf(field, sizeof field, "ms %d", which);
    row_set_number(merged, field, json_number_value(json_object_get(row, "median_ns")) * 1e-6);
    if (!first || first == row) return;
    double ratio, noise;
    row_verdict verdict = row_compare(row, first, tolerance, &ratio, &noise);
    snprintf(field, sizeof field, "ratio %d", which);
    row_set_number(merged, field, ratio);
    snprintf(field, sizeof field, "verdict %d", which);
    row_set_text(merged, field, words[verdict]);
}

static json_t *merge(const compare_file *files, int count, const json_t *like, const char *key, double tolerance)
{
    json_t *merged = json_object();
    const json_t *first = NULL;
    row_set_text(merged, "test", key);
    for (int f = 0; f < count; f++) {
        const json_t *row = rows_find(files[f].rows, like);
        if (!row) continue;
        if (!first) first = row;
        put_cell(merged, f, row, first, tolerance);
    }
    return merged;
}

json_t *compare_files(const compare_file *files, int count, double tolerance)
{
    json_t *all = json_array(), *seen = json_object();
    for (int f = 0; f < count; f++) {
        size_t i;
        const json_t *row;
        json_array_foreach(files[f].rows, i, row)
        {
            char *key = key_of(row);
            if (key && json_object_get(row, "median_ns") && !json_object_get(seen, key)) {
                json_object_set_new(seen, key, json_true());
                json_array_append_new(all, merge(files, count, row, key, tolerance));
            }
            free(key);
        }
    }
    json_decref(seen);
    return all;
}

static void machine_name(const compare_file *file, text *out)
{
    const json_t *row = json_array_get(file->rows, 0);
    const char *cpu = json_string_value(json_object_get(row, "cpu_info")),
               *family = json_string_value(json_object_get(row, "cpu_family"));
    text_printf(out, "%s", cpu ? cpu : "unknown");
    if (family && strcmp(family, "unknown") && (!cpu || strcmp(cpu, family))) text_printf(out, ", %s", family);
    text_printf(out, ", %d threads", (int)json_integer_value(json_object_get(row, "n_threads")));
}

void compare_name(const compare_file *files, int count, int which, text *out)
{
    machine_name(&files[which], out);
    for (int f = 0; f < count; f++) {
        text other = {0};
        machine_name(&files[f], &other);
        bool alike = f != which && out->at && other.at && !strcmp(out->at, other.at);
        text_free(&other);
        if (!alike) continue;
        text_printf(out, " (%s)", files[which].name);
        return;
    }
}
