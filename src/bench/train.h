/* Training steps of a model on random tokens: what `ingot bench train` measures. */
#ifndef BENCH_TRAIN_H
#define BENCH_TRAIN_H

#include "bench/row.h"
#include "ingot/train.h"

typedef struct bench_train {
    int64_t batch_size, context; /* B, T; pictures have no T */
    int recompute;
    bool one_by_one; /* each step is waited for before the next one is submitted */
    dtype dtype;     /* of weights and activations: float32 */
    ingot_optimizer optimizer;
    bench_effort effort;
    uint64_t seed;
} bench_train;

/* A stepper with a batch, ready to step. */
typedef struct bench_run {
    ingot_stepper *stepper;
    ingot_feed feeds[2];
    struct model_task *task;
    int ahead; /* steps that are under way beside the one that is waited for */
    ingot_step_result last;
} bench_run;
/* Plans the step without taking memory: refused with advice where the device has too little left. Comes before what
 * takes long. */
status bench_check_memory(ingot_device *d, const ingot_model *m, const bench_train *how);
status bench_run_open(ingot_device *d, const ingot_model *m, const bench_train *how, bench_run *out);
status bench_run_step(bench_run *r);
/* Waits for all that is under way. */
status bench_run_drain(bench_run *r);
void bench_run_close(bench_run *r);

/* One row: ms_per_step and its samples, tok_per_s or img_per_s, gflops, mfu, peak_bytes and its parts, loss. */
status bench_train_run(ingot_device *d, const ingot_model *m, const char *model_name, const bench_train *how,
                       const machine *on, json_t **row);

#endif
