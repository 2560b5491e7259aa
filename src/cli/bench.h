/* What the verbs of `ingot bench` share: lists and ranges on the command line, and what becomes of the rows. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "bench/machine.h"
#include "bench/report.h"
#include "bench/row.h"
#include "cli/model_options.h"

typedef ARRAY(int64_t) number_list;
typedef ARRAY(dtype) dtype_list;

/* Items of a list option, each of which may hold several, separated by commas. In the call's arena. */
status bench_words(call *c, const string_list *given, string_list *out);
/* Numbers as in llama-bench: 512, 128,256, 128-1024 (each one), 128-1024+128, 128-1024*2. Positive; in the order given. */
status bench_numbers(call *c, const char *flag, const string_list *given, number_list *out);
/* Dtypes of floats; float32 where none is given. `of_models`: only those that models compute in. */
status bench_dtypes(call *c, const string_list *given, bool of_models, dtype_list *out);

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
/* Refuses a file for --against before anything is measured, then measures the machine. */
status bench_begin(call *c, const output_flags *o, machine *on);
/* Prints the rows; with --against also the verdicts, as below. */
status bench_finish(call *c, const output_flags *o, const json_t *rows, const report_column *columns, size_t count);
/* The rows beside those of --against: after an md table on standard output, else on standard error. Fails when one became
 * slower, or none is in that file. */
status bench_verdicts(call *c, const output_flags *o, const json_t *rows);

/* The frame of a sub-verb: the machine is measured, then `measure` is called once a dtype with a device that was opened
 * for it (a rung may take one dtype only), then the rows are printed. */
typedef struct bench_frame {
    const device_flags *device;
    const dtype_list *dtypes;
    const output_flags *output;
    status (*measure)(call *c, const void *arg, ingot_device *d, dtype type, const machine *on, json_t *rows);
    void (*show)(json_t *rows); /* adds what only the md table shows; NULL: nothing */
    const report_column *columns;
    size_t column_count;
} bench_frame;
status bench_each_dtype(call *c, const bench_frame *f, const void *arg);

/* The ladder's picture, from its rows. */
typedef struct ladder_picture {
    const number_list *sizes;
    const dtype_list *dtypes;
    const string_list *files; /* .svg or .png */
    bool chart;               /* in the terminal too */
} ladder_picture;
status draw_ladder(call *c, const ladder_picture *l, const json_t *rows, const machine *on);

extern const verb bench_ladder_verb, bench_ops_verb, bench_train_verb, bench_infer_verb, bench_compare_verb;

#endif
