/* What is profiled: training steps, a prompt, or single tokens of a model, and what the timing itself costs. */
#ifndef BENCH_PROFILE_RUN_H
#define BENCH_PROFILE_RUN_H

#include "bench/profile.h"
#include "bench/train.h"

typedef enum profile_phase { PROFILE_TRAIN, PROFILE_PREFILL, PROFILE_DECODE } profile_phase;

typedef struct profile_plan {
    profile_phase phase;
    profile_by by;
    profile_sync sync;
    bench_train train; /* sizes; of generation: context tokens of a prompt, batch_size sequences */
} profile_plan;

/* Runs as they follow each other when nobody watches: what the host asked of the device, and how the device spent the
 * time, where it can tell. All but `busy` is of a run. */
typedef struct profile_flow {
    int64_t runs;
    double ms;
    double submissions, launches, transfers, waits;
    bool traced;                 /* the rest is known, else why not */
    double busy;                 /* share of the time in which a kernel ran */
    double idle_ms, gaps;        /* when none did */
    double copies_ms, hidden_ms; /* to and from the host, and how much of them beside kernels */
    double longest_gap_us;
    char before[96], after[96]; /* the kernels around it */
    char why[160];
} profile_flow;

typedef struct profile_result {
    json_t *rows;
    double run_ms, watched_ms; /* medians of whole runs, not timed and timed, in turns */
    double steps_ms;           /* the sum of the steps */
    profile_flow flow;
    device_limit limit;
    text trace; /* events of the last run, without brackets */
} profile_result;

status profile_measure(ingot_device *d, const ingot_model *m, const char *name, const profile_plan *plan,
                       const machine *on, profile_result *out);
void profile_result_free(profile_result *r);

#endif
