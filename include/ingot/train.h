/* Training: optimizers, learning-rate schedules, and a step of any graph that has a loss.
 *
 *     static ingot_value *loss(void *user, ingot_build *b, int training, ingot_value **count)
 *     {
 *         ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(32, 4)), *y = ingot_input(b, "y", ...);
 *         ingot_value *w = ingot_state_in(b, "w", INGOT_F32, INGOT_SHAPE(4, 1), "weight.decay");
 *         *count = ingot_constant(b, 32, INGOT_F32, INGOT_SCALAR);
 *         return ingot_sum_all(b, ingot_square(b, ingot_sub(b, ingot_matmul(b, x, w), y)));    // the sum, not the mean
 *     }
 *
 *     ingot_optimizer how = ingot_optimizer_defaults(1e-2, 1000);      // AdamW, cosine over 1000 steps
 *     ingot_stepper *s;
 *     if (ingot_stepper_new(device, NULL, &(ingot_task){.loss = loss}, &how, &s)) return puts(ingot_message(ctx));
 *     ingot_feed batch[] = {{"x", x, sizeof x}, {"y", y, sizeof y}};
 *     ingot_step_result r;
 *     for (int i = 0; i < 1000; i++)
 *         if (ingot_stepper_step(s, batch, 2, 1, &r)) return puts(ingot_message(ctx));
 *     ingot_stepper_free(s);
 *
 * What is trained: the float32 states of groups "weight.decay" and "weight.no_decay" (which weight decay leaves alone:
 * biases, gains of norms). The gradient of <name> is the state "grad.<name>".
 */
#ifndef INGOT_TRAIN_H
#define INGOT_TRAIN_H

#include "ingot/program.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- learning rate ---- */

typedef enum ingot_schedule_kind { INGOT_COSINE, INGOT_LINEAR, INGOT_WSD, INGOT_CONSTANT } ingot_schedule_kind;

typedef struct ingot_schedule {
    ingot_schedule_kind kind;
    double lr;          /* the peak */
    double final_ratio; /* the last rate as a share of the peak; constant has none */
    int64_t warmup;     /* steps that rise linearly to the peak */
    int64_t steps;      /* length of the whole; beyond it the last rate stays */
    int64_t decay;      /* wsd: steps of the fall at the end; 0: a fifth of `steps` */
} ingot_schedule;

/* The rate of the step that follows `step` applied ones. */
INGOT_API double ingot_schedule_rate(const ingot_schedule *s, int64_t step);
INGOT_API const char *const *ingot_schedule_names(void); /* in the order of the enum, ended by NULL */

/* ---- optimizer ---- */

typedef enum ingot_optimizer_kind { INGOT_ADAMW, INGOT_ADAM, INGOT_SGD } ingot_optimizer_kind;

typedef struct ingot_optimizer {
    ingot_optimizer_kind kind;
    double beta1, beta2, eps; /* adamw, adam */
    double momentum;          /* sgd; 0: none, and no moments are kept */
    int nesterov;             /* sgd */
    double weight_decay;      /* of "weight.decay"; adamw takes it from the weight, the others add it to the gradient */
    double clip;              /* largest norm of all gradients together; 0: no limit */
    ingot_schedule schedule;
} ingot_optimizer;

/* AdamW 0.9 / 0.95, eps 1e-8, decay 0.1, clip 1.0, cosine to a tenth without warm-up. */
INGOT_API ingot_optimizer ingot_optimizer_defaults(double lr, int64_t steps);
INGOT_API const char *const *ingot_optimizer_names(void);

/* ---- a step ---- */

typedef struct ingot_task {
    /* Builds the loss of one batch from inputs of its own: the *sum* over what is predicted, a float32 scalar, and in
     * *count how many that is (float32 scalar, positive). Called once a program; training is 0 for evaluation. A value
     * set in *metric (float32 scalar, preset NULL) is summed up beside the loss: right answers, say. */
    ingot_value *(*loss)(void *user, ingot_build *b, int training, ingot_value **count, ingot_value **metric);
    void *user;
    int recompute; /* honour ingot_recompute_begin / _end */
} ingot_task;

/* One input of one batch. */
typedef struct ingot_feed {
    const char *name;
    const void *data;
    int64_t bytes;
} ingot_feed;

typedef struct ingot_step_result {
    int64_t step;  /* steps applied so far */
    double loss;   /* mean: sum / count */
    double count;  /* what the loss was summed over */
    double metric; /* mean, 0 without one */
    double norm;   /* of the mean gradient, before clipping; evaluation: 0 */
    double lr;     /* evaluation: 0 */
} ingot_step_result;

typedef struct ingot_stepper ingot_stepper;

/* Compiles what a step needs. store: where weights live and stay; NULL: a store of the stepper's own. */
INGOT_API ingot_status ingot_stepper_new(ingot_device *d, ingot_store *store, const ingot_task *task,
                                         const ingot_optimizer *optimizer, ingot_stepper **out);
INGOT_API void ingot_stepper_free(ingot_stepper *s);
INGOT_API ingot_store *ingot_stepper_store(ingot_stepper *s);
/* Seed of dropout, and where it stands: `step` steps were applied. A new stepper stands at (0, 0). */
INGOT_API ingot_status ingot_stepper_seek(ingot_stepper *s, uint64_t seed, int64_t step);

/* One optimizer step over `micros` batches of `feeds` inputs each: batches[micro * feeds + i]. All batches weigh by what
 * they count, so that the cut into micro-batches changes nothing but rounding. A loss or gradient that is not finite
 * changes no weight, moment or counter: the batches are run again with a check after each op, and the status is
 * INGOT_ERROR_NOT_FINITE with a message that names the first op that made it. */
INGOT_API ingot_status ingot_stepper_step(ingot_stepper *s, const ingot_feed *batches, int feeds, int micros,
                                          ingot_step_result *result);
/* The loss of one batch, without a gradient and without dropout; compiled on first use. */
INGOT_API ingot_status ingot_stepper_evaluate(ingot_stepper *s, const ingot_feed *batch, int feeds,
                                              ingot_step_result *result);

/* What training takes, known without running it. */
typedef struct ingot_train_memory {
    int64_t parameters;       /* trained numbers */
    int64_t weight_bytes;     /* all states that are neither of the next two */
    int64_t gradient_bytes;
    int64_t optimizer_bytes;
    int64_t arena_bytes;      /* activations and workspace at the peak */
    int64_t peak_bytes;       /* the sum of these */
    int64_t lower_bound_bytes; /* no plan of these programs can need less */
    double flops_per_micro, flops_per_update; /* a step: micros * the first + the second */
} ingot_train_memory;
INGOT_API ingot_train_memory ingot_stepper_describe(const ingot_stepper *s);

#ifdef __cplusplus
}
#endif
#endif
