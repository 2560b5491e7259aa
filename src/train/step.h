/* Inside a stepper: what the trainer and the checkpoint need beside ingot/train.h. */
#ifndef TRAIN_STEP_H
#define TRAIN_STEP_H

#include "engine/program.h"
#include "ingot/train.h"

/* A trained parameter, as the store has it. */
typedef struct trained {
    const char *name;
    shape shape;
    bool decay;
} trained;

typedef struct trained_list {
    trained *at;
    int64_t count;
} trained_list;

/* The two groups of what is trained; every per-parameter state lies in "<kind>.decay" or "<kind>.no_decay", in the same
 * order and at the same offsets as the weights, so that a flat op over one group meets the other elementwise. */
enum { GROUP_DECAY, GROUP_NO_DECAY, GROUP_COUNT };
extern const char *const group_suffix[GROUP_COUNT]; /* ".decay", ".no_decay" */

/* The state of loss scaling: the scale, and good steps since it changed. */
#define LOSS_SCALE_STATE "train.scale"
enum { LOSS_SCALE_FIRST = 65536, LOSS_SCALE_MOST = 1 << 24, LOSS_SCALE_PATIENCE = 2000 };

/* In train.rng behind a step that was not applied, negative: as many micro-batches as a step may have. */
enum { STEP_HALTED = 1 << 20 };

/* A step that was submitted and not yet collected; its batches stay as they are until then. */
typedef struct pending_step {
    const ingot_feed *batches;
    int feeds, micros, slot;
} pending_step;

enum { STEPPER_MOST_AHEAD = 8 };
/* On a device that works while the host does something else: enough that it never waits for the host. */
enum { STEPS_AHEAD = 2 };

struct ingot_stepper {
    context *ctx;
    arena *arena;
    ingot_device *device;
    ingot_store *store;
    bool owns_store;
    ingot_task task;
    ingot_optimizer optimizer;
    trained_list trained;
    ingot_program *first, *more, *update, *evaluate; /* more: compiled when a step has several micro-batches */
    chain *whole;                                    /* first and update; made by a step of one micro-batch */
    int ahead;                                       /* stepper_run_ahead */
    pending_step pending[STEPPER_MOST_AHEAD + 1];    /* the oldest first */
    int pending_count;
};

/* ---- ahead.c: steps that are submitted before the one in front of them was looked at ---- */

/* From here on `ahead` steps more than one may be submitted and not collected. */
status stepper_run_ahead(ingot_stepper *s, int ahead);
/* Hands a step to the device and returns; the batches must stay as they are until it is collected. */
status stepper_submit(ingot_stepper *s, const ingot_feed *batches, int feeds, int micros);
/* Waits for the oldest. One that overflowed is repeated, with those behind it; one that is not finite fails as
 * ingot_stepper_step does, and those behind it have changed nothing and are forgotten. */
status stepper_collect(ingot_stepper *s, ingot_step_result *out);
/* step.c, for ahead.c */
status stepper_run(ingot_stepper *s, const ingot_feed *batches, int feeds, int micros, int *slot); /* NULL: checked */
status stepper_begin_again(ingot_stepper *s);

/* Reserve `more` and `evaluate` too, so that memory is known before the first step. */
status stepper_prepare(ingot_stepper *s, bool accumulate, bool evaluate);
/* The same over a store that allocates nothing: only ingot_stepper_describe may follow. */
status stepper_plan(ingot_device *d, const ingot_task *task, const ingot_optimizer *o, ingot_stepper **out);

/* Whether what was planned fits into what the device has left; a message with `advice` where it does not. */
status stepper_check_memory(const ingot_device *d, const ingot_train_memory *m, const char *advice);

/* Only ingot_stepper_evaluate may follow: neither gradients nor moments are made. */
status stepper_evaluator(ingot_device *d, const ingot_task *task, ingot_stepper **out);

/* optimizer.c */
status optimizer_check(context *ctx, const ingot_optimizer *o);
/* Names of the moments that it keeps for each parameter ("adam.m"), and how many; 0 to 2. */
int optimizer_moments(const ingot_optimizer *o, const char *names[2]);
/* The update program: reads "grad.*" and "train.sums", writes weights, moments and "train.rng", and with loss scaling
 * LOSS_SCALE_STATE. */
void optimizer_build(build *b, ingot_store *store, const ingot_optimizer *o, bool loss_scaling);
/* The scale as gradients are multiplied with it: a scalar. */
value *loss_scale(build *b);

#endif
