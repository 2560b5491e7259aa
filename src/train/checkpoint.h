/* The training state beside a Hugging Face folder: what an exact resume needs and the model's files do not hold.
 *
 *     training_state.json      step, seed, place in the data, settings, checksums (XXH3) of every file of the folder
 *     optimizer.safetensors    moments, named "<parameter>.<moment>"; with float16 the loss scale
 */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "formats/json.h"
#include "ingot/data.h"
#include "train/metrics.h"
#include "train/step.h"

typedef struct training_state {
    int64_t step, schedule_steps;
    uint64_t seed;
    ingot_batch_state data; /* where the next step begins */
    double val_loss;        /* NaN: not measured at this step */
    zscore loss_z, norm_z;  /* the last losses and norms, so that scores go on too */
    json_t *settings;       /* options that decide the bits of what follows; owned */
} training_state;

/* Adds both files to `folder`, in which the model was saved. */
status checkpoint_write(const char *folder, ingot_stepper *s, const training_state *state);
/* Checks every file against its checksum. The caller owns state->settings. */
status checkpoint_read_state(context *ctx, const char *folder, training_state *out);
/* Moments into the store, counters into place. */
status checkpoint_read_optimizer(const char *folder, ingot_stepper *s, const training_state *state);
/* val_loss of a checkpoint, NaN when it has none or cannot be read; never fails. */
double checkpoint_val_loss(context *ctx, const char *folder);

#endif
