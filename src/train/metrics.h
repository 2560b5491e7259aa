/* What a run says of itself: z-scores, the line of a step, and the log files. */
#ifndef TRAIN_METRICS_H
#define TRAIN_METRICS_H

#include "base/file.h"
#include "ingot/train.h"

/* How far a number lies from the last ones, in their standard deviations: a spike shows before it is a disaster. */
#define ZSCORE_WINDOW 128
typedef struct zscore {
    double last[ZSCORE_WINDOW]; /* oldest first: a window that was saved sums up to the same bits */
    int count;
} zscore;
/* The score of x against the window, NaN while that holds fewer than 8 numbers; then adds x. */
double zscore_add(zscore *z, double x);

/* "step 12/1000 | loss 3.912345 (+0.12z)| norm 0.9876 (-0.30z)| lr 6.00e-04 | 41.2 ms | 38.1 GFLOP/s | 12432 tok/s |
 * 41 s left" */
void step_line(text *out, const ingot_train_event *e);

/* A file of one line a step, appended to and never rewritten, so that a kill costs at most a line. */
typedef struct run_log run_log;
typedef enum run_log_format { LOG_JSONL, LOG_CSV } run_log_format;
/* Lines of steps beyond `step` that are there (of a run that was resumed from an earlier checkpoint) are dropped. */
status run_log_open(context *ctx, const char *path, run_log_format format, int64_t step, run_log **out);
status run_log_step(run_log *log, const ingot_train_event *e);
status run_log_evaluation(run_log *log, const ingot_train_event *e);
void run_log_close(run_log *log); /* NULL is fine */

double seconds_now(void); /* monotonic */

#endif
