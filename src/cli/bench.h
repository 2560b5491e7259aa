/* What the verbs of `ingot bench` share: lists and ranges on the command line, and what becomes of the rows. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "bench/report.h"
#include "bench/row.h"
#include "cli/model_options.h"

typedef ARRAY(int64_t) number_list;
typedef ARRAY(dtype) dtype_list;

/* Items of a list option, each of which may hold several, separated by commas. In the call's arena. */
status bench_words(call *c, const string_list *given, string_list *out);
/* Numbers as in llama-bench: 512, 128,256, 128-1024 (each one), 128-1024+128, 128-1024*2. Positive; in the order given. */
status bench_numbers(call *c, const char *flag, const string_list *given, number_list *out);
status bench_dtypes(call *c, const string_list *given, dtype_list *out);

/* How often, how it is printed, what it is compared with: a table that every sub-verb has. */
typedef struct output_flags {
    int format;
    const char *against;
    double tolerance;
} output_flags;
enum { OUTPUT_LINES = 3 };
extern const option output_lines[OUTPUT_LINES];
#define OUTPUT_TABLE(type, field)                                                                                      \
    {                                                                                                                  \
        "Output", output_lines, OUTPUT_LINES, offsetof(type, field)                                                    \
    }

bool bench_prints_md(const call *c, const output_flags *o);
/* Refuses a file for --against before anything is measured. */
status bench_check_against(call *c, const output_flags *o);
/* Prints the rows; with --against also the verdicts (after an md table on standard output, else on standard error), and
 * fails when a row became slower. */
status bench_finish(call *c, const output_flags *o, const json_t *rows, const report_column *columns, size_t count);

extern const verb bench_ladder_verb, bench_ops_verb, bench_train_verb, bench_infer_verb, bench_compare_verb;

#endif
