/* A program timed: runs one after the other, waited for at the end, so that what a launch hides is not counted twice. */
#ifndef BENCH_TIMED_H
#define BENCH_TIMED_H

#include "bench/measure.h"
#include "engine/program.h"

/* Seconds a run. A sample is as many runs as take about a millisecond; effort->seconds bounds the whole where
 * effort->repetitions is 0. `between` is done before each run and counts (writing inputs, say); NULL: nothing. */
typedef status timed_extra(ingot_program *p, void *arg);
status timed_program(ingot_program *p, const bench_effort *effort, timed_extra *before, timed_extra *after, void *arg,
                     bench_stats *out);
/* Fills every input, in the order of the graph: floats with N(0, 1) / 2, or their magnitudes where `positive` says so,
 * integers below below[i], 8 where that is 0. NULL: no input is special. */
status timed_fill(ingot_program *p, const int64_t *below, const bool *positive);

/* What a launch costs here: a program of one step over one element. Seconds. */
status timed_bare_launch(device *d, double *seconds);

#endif
