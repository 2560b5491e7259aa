/* A run's folder: what keeps two processes apart, and a crash from costing more than the work since the last checkpoint.
 *
 *     run/lock                    held while a process trains here
 *     run/run.yaml                the resolved options (cli)
 *     run/log.jsonl               a line a step
 *     run/steps/000200/           a checkpoint: a Hugging Face folder and the training state; never changed
 *     run/last -> steps/000200    relative links, replaced by rename
 *     run/best -> steps/000150
 *
 * A checkpoint is made in run/steps/tmp-<step>, synced, and renamed; what a killed process left there is removed by the
 * next one, under the lock.
 */
#ifndef TRAIN_RUN_H
#define TRAIN_RUN_H

#include "base/file.h"

typedef enum run_open_mode {
    RUN_NEW,       /* refuses a folder that holds a run, and names both ways on */
    RUN_OVERWRITE, /* removes the run that is there */
    RUN_RESUME     /* wants one with a last checkpoint */
} run_open_mode;

typedef struct run run;
/* The refusal of RUN_NEW alone, before anything is made. */
status run_check_new(context *ctx, const char *path);
/* Adapters are worth nothing without their base: if `checkpoint` is one of a run, `--keep` of that run will spare it. */
status run_spare_checkpoint(context *ctx, const char *checkpoint, const char *adapter);
status run_open(context *ctx, const char *path, run_open_mode mode, run **out);
void run_close(run *r); /* NULL is fine */
const char *run_path(const run *r);
char *run_file(const run *r, const char *name); /* path inside the run, freed by the caller */

/* Begins a checkpoint: *folder is where to write its files, owned by r until the next call. */
status run_checkpoint_begin(run *r, int64_t step, const char **folder);
/* Syncs it, gives it its name, sets `last` (and `best`), then keeps the newest `keep` beside those two (0: all). */
status run_checkpoint_commit(run *r, bool best, int keep);
void run_checkpoint_abandon(run *r);

/* "run/steps/000200" behind `last` or `best`, freed by the caller; NULL when there is none. */
char *run_checkpoint(const char *path, const char *link);
/* The step in a checkpoint's path, or -1. */
int64_t run_checkpoint_step(const char *path);

#endif
