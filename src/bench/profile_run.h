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

typedef struct profile_result {
    json_t *rows;
    double run_ms, watched_ms; /* medians of whole runs, not timed and timed, in turns */
    double steps_ms;           /* the sum of the steps */
    device_limit limit;
    text trace; /* events of the last run, without brackets */
} profile_result;

status profile_measure(ingot_device *d, const ingot_model *m, const char *name, const profile_plan *plan,
                       const machine *on, profile_result *out);
void profile_result_free(profile_result *r);

#endif
