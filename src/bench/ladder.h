/* The ladder: a product of square matrices at every rung and on every device, from naive loops to the limit of the machine. */
#ifndef BENCH_LADDER_H
#define BENCH_LADDER_H

#include "bench/row.h"

/* What a rung's file says of it. */
typedef struct rung {
    kernel_level level;
    const char *files; /* in src/ops/matmul; the first says what it is */
    int expertise;     /* 1: anybody who programs, 10: few people */
    int lines;         /* of code: neither empty nor comment */
    double hours;
    const char *idle; /* what of the machine it does not use */
} rung;
extern const rung rungs[];
extern const int rung_count;

typedef struct ladder_plan {
    const int64_t *sizes; /* ascending */
    int64_t size_count;
    const dtype *dtypes;
    int64_t dtype_count;
    const char *const *devices;
    int64_t device_count;
    bench_effort effort;
    double cap; /* seconds: what one product would take longer for is estimated from the size before, and marked */
} ladder_plan;

/* Rows in the order dtype, device, rung, size: rung, size, kernel, ms, gflops, speedup (over naive), of_peak, idle (the
 * rest), expertise, lines, hours, available ("yes", or why not), estimated, winner (of its size and dtype). On devices
 * other than the cpu the rungs are "resident" and "with copies": inputs written and the result read each time. */
status bench_ladder(context *ctx, const ladder_plan *plan, machine *on, json_t *rows);
/* The winners of each size and where one rung or device overtakes another, in words, a line each. */
void ladder_crossings(const json_t *rows, text *out);

#endif
