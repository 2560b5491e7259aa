/* The profile of a training step: rows as profile_rows gives them, and a trace of the last step where it is wanted. */
#ifndef BENCH_PROFILE_TRAIN_H
#define BENCH_PROFILE_TRAIN_H

#include "bench/profile.h"
#include "bench/train.h"

status bench_profile_train(ingot_device *d, const ingot_model *m, const bench_train *how, const machine *on,
                           json_t **rows, text *trace); /* trace: events without brackets, or NULL */

#endif
