/* A run in the making: what trainer.c, loop.c, fits.c, evaluate.c and settings.c share. */
#ifndef TRAIN_TRAINER_H
#define TRAIN_TRAINER_H

#include "train/checkpoint.h"
#include "train/feed.h"
#include "train/metrics.h"
#include "train/run.h"

#define TRAINER_LOGS 3

struct ingot_trainer {
    context *ctx;
    ingot_device *device;
    const ingot_model *model;
    ingot_train_options options; /* resolved */
    model_task task;
    feed *train, *val; /* val NULL: the data has none */
    ingot_stepper *stepper;
    run *run; /* NULL: nothing is saved */
    run_log *logs[TRAINER_LOGS];
    json_t *settings;
    int64_t step, saved_step; /* saved_step -1: none yet */
    int64_t submitted;        /* steps that were handed to the device: those behind `step` are under way */
    bool failed;              /* a step ended the run: weights and place in the data may be those of different steps */
    double marked;            /* when the last step was there, or the first was submitted */
    double val_loss;          /* of this very step, NaN: not measured */
    double best_val_loss;     /* of the run's saved checkpoints, NaN: none */
    ingot_train_memory memory;
    zscore loss_z, norm_z;
    double mean_seconds; /* a running mean of the steps' length */
};

/* settings.c: the options that decide the bits of what follows. */
status trainer_settings(ingot_trainer *t, json_t **out);
/* Says in the log what differs from those that the run was begun with. */
void trainer_compare_settings(ingot_trainer *t, const json_t *before);

/* fits.c */
ingot_task trainer_task(ingot_trainer *t);
status trainer_plan(ingot_trainer *t, ingot_train_memory *out);
status trainer_check_memory(ingot_trainer *t); /* fills t->memory; what would fit is in the message */

/* evaluate.c: `batches` of them, 0: all. */
status evaluate_split(ingot_stepper *s, feed *f, int64_t batches, ingot_evaluation *out);

#endif
