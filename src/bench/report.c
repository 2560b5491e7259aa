/* Rows in four formats. */
#include "bench/report.h"

#include <stdio.h>

const char *const report_formats[] = {"md", "csv", "json", "jsonl", NULL};

static void cell(const json_t *v, const char *format, text *out)
{
    char number[64];
    if (json_is_number(v)) {
        snprintf(number, sizeof number, format ? format : "%.10g", json_number_value(v));
        text_puts(out, number);
    } else if (json_is_string(v)) {
        text_puts(out, json_string_value(v));
    } else if (json_is_boolean(v)) {
        text_puts(out, json_is_true(v) ? "yes" : "no");
    }
}

/* Columns that UTF-8 takes, wide characters aside. */
static size_t width_of(const char *string)
{
    size_t width = 0;
    for (; string && *string; string++) width += ((unsigned char)*string & 0xc0) != 0x80;
    return width;
}

static void put_padded(const char *string, size_t width, bool right, text *out)
{
    size_t have = width_of(string);
    text_puts(out, "| ");
    for (size_t i = have; right && i < width; i++) text_puts(out, " ");
    text_puts(out, string ? string : "");
    for (size_t i = have; !right && i < width; i++) text_puts(out, " ");
    text_puts(out, " ");
}

static bool right_aligned(const report_column *c)
{
    return c->format != NULL;
}

/* Columns that no row has are left out. */
static size_t used_columns(const json_t *rows, const report_column *columns, size_t count, report_column *out)
{
    size_t used = 0;
    for (size_t c = 0; c < count; c++) {
        size_t i;
        const json_t *row;
        bool any = false;
        json_array_foreach((json_t *)(uintptr_t)rows, i, row) any |= json_object_get(row, columns[c].field) != NULL;
        if (any) out[used++] = columns[c];
    }
    return used;
}

static void print_md(const json_t *rows, const report_column *all, size_t count, text *out)
{
    report_column columns[40];
    size_t widths[40] = {0}, i;
    const json_t *row;
    count = used_columns(rows, all, count, columns);
    for (size_t c = 0; c < count; c++) {
        widths[c] = width_of(columns[c].heading);
        json_array_foreach((json_t *)(uintptr_t)rows, i, row)
        {
            text one = {0};
            cell(json_object_get(row, columns[c].field), columns[c].format, &one);
            widths[c] = MAX(widths[c], width_of(one.at));
            text_free(&one);
        }
    }
    for (size_t c = 0; c < count; c++) put_padded(columns[c].heading, widths[c], false, out);
    text_puts(out, "|\n");
    for (size_t c = 0; c < count; c++) {
        text_puts(out, "| ");
        for (size_t k = 0; k + right_aligned(&columns[c]) < widths[c]; k++) text_puts(out, "-");
        text_puts(out, right_aligned(&columns[c]) ? ": " : " ");
    }
    text_puts(out, "|\n");
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        for (size_t c = 0; c < count; c++) {
            text one = {0};
            cell(json_object_get(row, columns[c].field), columns[c].format, &one);
            put_padded(one.at, widths[c], right_aligned(&columns[c]), out);
            text_free(&one);
        }
        text_puts(out, "|\n");
    }
}

static void csv_cell(const json_t *v, bool first, text *out)
{
    text plain = {0};
    if (v) cell(v, NULL, &plain);
    text_puts(out, first ? "\"" : ",\"");
    for (const char *at = plain.at; at && *at; at++) {
        if (*at == '"') text_puts(out, "\"");
        text_add(out, at, 1);
    }
    text_puts(out, "\"");
    text_free(&plain);
}

/* Columns are the fields of all rows, in the order in which they appear first. */
static void print_csv(const json_t *rows, text *out)
{
    json_t *fields = json_object();
    size_t i;
    const json_t *row;
    const char *key;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        json_object_foreach((json_t *)(uintptr_t)row, key, v)
        {
            if (json_is_array(v) || json_is_object(v) || json_object_get(fields, key)) continue;
            json_object_set_new(fields, key, json_string(key));
        }
    }
    for (i = 0; i <= json_array_size(rows) && json_object_size(fields); i++) {
        bool first = true;
        json_object_foreach(fields, key, v)
        {
            csv_cell(i ? json_object_get(json_array_get(rows, i - 1), key) : v, first, out);
            first = false;
        }
        text_puts(out, "\n");
    }
    json_decref(fields);
}

static void print_json_value(const json_t *v, size_t flags, text *out)
{
    char *dump = json_dumps(v, flags | JSON_REAL_PRECISION(9));
    text_puts(out, dump ? dump : "null");
    text_puts(out, "\n");
    free(dump);
}

void report_print(const json_t *rows, report_format format, const report_column *columns, size_t count, text *out)
{
    size_t i;
    const json_t *row;
    switch (format) {
    case REPORT_MD: print_md(rows, columns, MIN(count, (size_t)40), out); break;
    case REPORT_CSV: print_csv(rows, out); break;
    case REPORT_JSON:
        print_json_value(json_array_size(rows) == 1 ? json_array_get(rows, 0) : rows, JSON_INDENT(2), out);
        break;
    case REPORT_JSONL:
        json_array_foreach((json_t *)(uintptr_t)rows, i, row) print_json_value(row, JSON_COMPACT, out);
        break;
    }
}
