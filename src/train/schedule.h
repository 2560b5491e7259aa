/* The learning rate by step, as a number on the host and as a value in the graph: one formula, so that the log shows what
 * the program used. */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include "graph/graph.h"
#include "ingot/train.h"

status schedule_check(context *ctx, const ingot_schedule *s);
/* step: scalar float32, steps done before this one (0 at the first); returns the rate, scalar float32. */
value *schedule_build(build *b, const ingot_schedule *s, value *step);

#endif
