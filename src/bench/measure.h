/* Timing: warm up, repeat, quote the median with its spread. Work is timed to its end, never to its launch. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "base/base.h"

typedef struct bench_stats {
    double median, mean, deviation, least, most; /* seconds */
    int64_t count;
    double *samples; /* in the order they were taken; freed by bench_stats_free */
} bench_stats;

/* Does the work once, to its end. */
typedef status bench_work(void *arg);

typedef struct bench_effort {
    int64_t warmup, repetitions; /* runs that are not counted, and that are */
    double seconds;              /* with repetitions 0: as many as fit into this, 3 at least */
    bool settle;                 /* warm up for a quarter of a second at least, so that clocks have risen */
} bench_effort;

/* Whether one more run that is not counted is due, after `done` of them since `began`. None is where `warmup` is 0. */
bool bench_warms_up(const bench_effort *effort, int64_t done, double began);

status bench_measure(context *ctx, bench_work *work, void *arg, const bench_effort *effort, bench_stats *out);
/* Of samples that were taken elsewhere, malloc'ed: the stats own them from here on, also when this fails. */
status bench_stats_of(context *ctx, double *samples, int64_t count, bench_stats *out);
void bench_stats_divide(bench_stats *s, double pieces); /* a sample was so many pieces of work: of one from here on */
void bench_stats_free(bench_stats *s);
/* Of `count` values, which are left in ascending order; 0 of none. */
double bench_median(double *values, int64_t count);
double bench_now(void); /* seconds of a clock that only goes forward */

#endif
