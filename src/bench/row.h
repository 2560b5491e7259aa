/* A row of results: what was run, where, and how long it took, in fields that every kind of bench shares.
 *
 *     json_t *row = row_new("ops", device, &on);
 *     json_object_set_new(row, "test", json_string("softmax (128, 1024)"));
 *     row_add_times(row, &stats);
 *
 * A file of results is one row, an array of rows (-o json), a row a line (-o jsonl) or {"results": [rows]} (--json); each
 * row says its schema, so that a file of another one is refused and never misread.
 */
#ifndef BENCH_ROW_H
#define BENCH_ROW_H

#include "bench/machine.h"
#include "bench/measure.h"
#include "ingot/model.h"

#include <jansson.h>

#define ROW_SCHEMA "ingot-bench-1"

/* schema, bench, version, build_commit, test_time, cpu_info, cpu_family, cpu_isa, n_threads, backend, level, prefer,
 * row_invariant, tf32, tuning (a hash), peak_gflops, copy_gb_per_s; NULL: no memory. */
json_t *row_new(const char *bench, const device *d, const machine *on);
/* n_params; image: the side of its pictures, where it takes those. */
void row_add_model(json_t *row, const ingot_model_info *info);
/* kernels: "linear.simd x24, attention.simd x4", how many steps of the programs each does. */
void row_add_kernels(json_t *row, ingot_program *const *programs, int count);
/* median_ns, avg_ns, stddev_ns, min_ns, samples_ns. */
void row_add_times(json_t *row, const bench_stats *s);
void row_set_text(json_t *row, const char *field, const char *text);
const char *row_text(const json_t *row, const char *field); /* "" where there is none */
bool rows_agree(const json_t *x, const json_t *y, const char *field);
void row_set_number(json_t *row, const char *field, double number);

/* What tells rows of one file apart and pairs them with those of another: bench, model and its size, test, dtype, backend,
 * what was asked of it, ... */
void row_key(const json_t *row, bool with_machine, text *out);
/* The row with a time that measured the same thing, on the same machine and threads where there is one; NULL: none. */
const json_t *rows_find(const json_t *rows, const json_t *like);
/* Rows of a file in any form. A file that is none, of another schema, or with two rows of one key is refused. */
status rows_read(context *ctx, const char *path, json_t **rows);
status rows_parse(context *ctx, const char *name, const char *bytes, size_t length, json_t **rows);

typedef enum row_verdict { ROW_SAME, ROW_FASTER, ROW_SLOWER, ROW_UNKNOWN } row_verdict;
/* *ratio: time now over time before. A change counts when it is larger than `tolerance` and than three standard errors
 * (*noise) of the two medians, which are taken from the spread of their samples, and the fastest samples moved with them.
 * One sample has no spread: ROW_UNKNOWN, *noise not finite. */
row_verdict row_compare(const json_t *now, const json_t *before, double tolerance, double *ratio, double *noise);

#endif
