/* What `train` and its neighbours (plan, demo, bench train) share: the options of a run, and the curves at its end. */
#ifndef CLI_TRAIN_H
#define CLI_TRAIN_H

#include "cli/model_options.h"
#include "ingot/train.h"

typedef struct optimizer_flags {
    int optimizer, schedule;
    double lr, min_lr_ratio, beta1, beta2, eps, weight_decay, momentum, clip;
    int64_t warmup, decay_steps, schedule_steps;
    bool nesterov;
} optimizer_flags;
#define OPTIMIZER_TABLE(type, field)                                                                                   \
    {                                                                                                                  \
        "Optimizer", optimizer_lines, OPTIMIZER_LINES, offsetof(type, field)                                           \
    }
enum { OPTIMIZER_LINES = 14 };
extern const option optimizer_lines[OPTIMIZER_LINES];
/* What depends on the optimizer and was not given is stored in o: run.yaml shows it. */
ingot_optimizer optimizer_flags_read(const call *c, optimizer_flags *o);

/* Sizes of a step. */
typedef struct batch_flags {
    int64_t batch_size, context, accumulate;
    double dropout;
    bool recompute, stochastic_rounding;
} batch_flags;
#define BATCH_TABLE(type, field)                                                                                       \
    {                                                                                                                  \
        "Step", batch_lines, BATCH_LINES, offsetof(type, field)                                                        \
    }
enum { BATCH_LINES = 6 };
extern const option batch_lines[BATCH_LINES];
void batch_flags_read(const call *c, const batch_flags *o, ingot_train_options *out);

/* curves.c: loss and rate from a run's log.jsonl to <run>/loss.png and .svg, and a chart on standard output. floor: a
 * horizontal line in nats with its name; NULL: none. */
typedef struct curve_level {
    const char *name;
    double loss; /* nats a token */
} curve_level;
status print_curves(call *c, const char *run, const curve_level *levels, int count, bool chart);

#endif
