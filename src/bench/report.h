/* Results as rows of named fields, printed as llama-bench prints its own: md, csv, json, jsonl. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "base/base.h"

#include <jansson.h>

typedef enum report_format { REPORT_MD, REPORT_CSV, REPORT_JSON, REPORT_JSONL } report_format;
extern const char *const report_formats[]; /* names, ended by NULL */

/* A column of the md table: a field, its heading, how its number is written ("%.2f"; NULL for text). */
typedef struct report_column {
    const char *field, *heading, *format;
} report_column;

/* rows: an array of objects. json: one row alone is printed as the object itself. csv has every field that is no array. */
void report_print(const json_t *rows, report_format format, const report_column *columns, size_t count, text *out);

#endif
