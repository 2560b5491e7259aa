/* Results of several machines, or of several days, side by side. */
#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

#include "bench/row.h"

/* files: what each is called, and its rows. A row for each key: test (the key), and for file i the fields "ms <i>" and,
 * beside the first file, "ratio <i>" and "verdict <i>". Names of the columns are in `names`, unique. */
typedef struct compare_file {
    const char *name;
    json_t *rows;
} compare_file;
json_t *compare_files(const compare_file *files, int count, double tolerance);
/* "AMD EPYC (EPYC Turin (Zen 5)), 2 threads": of a file's first row, told apart by the file's name where two are alike. */
void compare_name(const compare_file *files, int count, int which, text *out);

#endif
