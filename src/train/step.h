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
};

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
