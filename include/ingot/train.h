/* Training: optimizers, learning-rate schedules, and a step of any graph that has a loss.
 *
 *     static ingot_loss line(void *user, ingot_build *b, ingot_value *rng)             // x (32, 4), w (4, 1), y (32, 1)
 *     {
 *         ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(32, 4));
 *         ingot_value *y = ingot_input(b, "y", INGOT_F32, INGOT_SHAPE(32, 1));
 *         ingot_value *w = ingot_state_in(b, "w", INGOT_F32, INGOT_SHAPE(4, 1), "weight.decay");
 *         ingot_value *error = ingot_sub(b, ingot_matmul(b, x, w), y);
 *         return (ingot_loss){.sum = ingot_sum_all(b, ingot_square(b, error)),         // the sum, not the mean
 *                             .count = ingot_constant(b, 32, INGOT_F32, INGOT_SCALAR)};
 *     }
 *
 *     ingot_optimizer how = ingot_optimizer_defaults(1e-2, 1000);      // AdamW, cosine over 1000 steps
 *     ingot_stepper *s;
 *     if (ingot_stepper_new(device, NULL, &(ingot_task){.loss = line}, &how, &s)) return puts(ingot_message(ctx));
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

#include "ingot/model.h"

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
/* Those of any kind, with a rate that suits it: 1e-3, SGD 5e-2. Where decay is added to the gradient it is 1e-4. */
INGOT_API ingot_optimizer ingot_optimizer_defaults_of(ingot_optimizer_kind kind, int64_t steps);
INGOT_API const char *const *ingot_optimizer_names(void);

/* ---- a step ---- */

/* Of one batch; scalars of float32. */
typedef struct ingot_loss {
    ingot_value *sum;    /* of the losses of all that is predicted, not their mean */
    ingot_value *count;  /* how many that is */
    ingot_value *metric; /* summed up beside the loss: right answers, say; NULL: none */
} ingot_loss;

typedef struct ingot_task {
    /* Builds the loss from inputs of its own; called once a program. rng: counter for ingot_dropout, NULL in evaluation. */
    ingot_loss (*loss)(void *user, ingot_build *b, ingot_value *rng);
    void *user;
    int recompute;    /* honour ingot_recompute_begin / _end */
    int loss_scaling; /* for float16: gradients are of the loss times a scale (65536 at first) that halves and repeats the
                         step when they overflow, and doubles after 2000 good steps. Micikevicius et al. 2018 */
    int stochastic_rounding; /* 16-bit copies of trained weights are rounded up or down by seed, step and place, so that
                                their mean is the float32 weight; INGOT_ERROR_UNSUPPORTED on a device that cannot */
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
 * changes no weight, moment or counter: with loss scaling the step is repeated with half the scale, down to 1; else, or
 * when the loss itself is not finite, the batches are run again with a check after each op, and the status is
 * INGOT_ERROR_NOT_FINITE with a message that names the first op that made it. */
INGOT_API ingot_status ingot_stepper_step(ingot_stepper *s, const ingot_feed *batches, int feeds, int micros,
                                          ingot_step_result *result);
/* The loss of one batch, without a gradient and without dropout; compiled on first use. */
INGOT_API ingot_status ingot_stepper_evaluate(ingot_stepper *s, const ingot_feed *batch, int feeds,
                                              ingot_step_result *result);

/* What training takes, known without running it. */
typedef struct ingot_train_memory {
    int64_t parameters;   /* trained numbers */
    int64_t weight_bytes; /* all states that are neither of the next two */
    int64_t gradient_bytes;
    int64_t optimizer_bytes;
    int64_t arena_bytes; /* what all programs share for the next two, at the peak */
    int64_t activation_bytes;
    int64_t workspace_bytes;                  /* of kernels, with inputs, outputs and tables */
    int64_t peak_bytes;                       /* the sum of these */
    int64_t lower_bound_bytes;                /* no plan of these programs can need less */
    double flops_per_micro, flops_per_update; /* a step: micros * the first + the second */
} ingot_train_memory;
INGOT_API ingot_train_memory ingot_stepper_describe(const ingot_stepper *s);

/* ---- a run: a model, data, a folder ---- */

typedef enum ingot_train_event_kind {
    INGOT_TRAIN_STEP,       /* a step was applied */
    INGOT_TRAIN_EVALUATION, /* the val split was measured: `result` is its */
    INGOT_TRAIN_SAVED       /* a checkpoint was written: `path` */
} ingot_train_event_kind;

typedef struct ingot_train_event {
    ingot_train_event_kind kind;
    ingot_step_result result;
    int64_t steps;         /* of the whole run */
    double loss_z, norm_z; /* how far from the last 128 steps, in standard deviations; NaN at the beginning */
    double seconds;        /* of this step or evaluation, with its data */
    double seconds_left;   /* of the run; < 0: not known yet */
    double flops;          /* of this step */
    int64_t rows;          /* token positions, or pictures, that it took */
    const char *unit;      /* "tok" or "img" */
    double bits_per_byte;  /* evaluation: 0 where the bytes are not known */
    const char *path;
    int best; /* evaluation: the lowest loss so far; saved: `best` points to it */
} ingot_train_event;

typedef struct ingot_train_options {
    const char *data;   /* folder of ingot_data_prepare, token file or glob of shards; convnet: folder of pictures */
    const char *output; /* folder of the run; NULL: nothing is saved */
    int resume;         /* 1: go on from output's last checkpoint, from which the model was loaded */
    int overwrite;      /* 1: replace a run that output holds */
    const char *rows;   /* "stream" or "document"; NULL: as the data was prepared */
    int raw_u16;        /* token files without header */
    int64_t steps;      /* in total, with those done before a resume */
    int64_t batch_size; /* rows a micro-batch */
    int64_t length;     /* T; 0: the model's context */
    int64_t accumulate; /* micro-batches a step */
    uint64_t seed;
    double dropout; /* < 0: the model's */
    int recompute;
    int stochastic_rounding;          /* as in ingot_task; refused for a model that computes in float32 */
    ingot_optimizer optimizer;        /* its schedule's steps 0: `steps`, and on a resume what the run began with */
    int64_t eval_every, eval_batches; /* 0: only at the end; 0: the whole split */
    int64_t save_every;               /* 0: only at the end */
    int ahead; /* steps that are submitted before the loss of the one in front of them is known; < 0: what suits the device.
                * In an event the weights may be of a later step than it tells of, but for those of look_every */
    int64_t look_every; /* steps after which an event looks at the weights: none is under way then; 0: never */
    int keep;           /* checkpoints beside last and best; 0: all */
    const char *log_jsonl, *log_csv; /* beside the run's own log.jsonl */
    /* Called after each; another status than 0 ends the run with it. */
    ingot_status (*event)(void *user, const ingot_train_event *e);
    void *user;
} ingot_train_options;

/* The defaults of `ingot train`: 200 steps of 8 rows, AdamW as ingot_optimizer_defaults(1e-3, 0). */
INGOT_API ingot_train_options ingot_train_defaults(void);

typedef struct ingot_trainer ingot_trainer;

/* Opens data and folder, compiles, and fills the weights: those of the model's files, or fresh ones. Refuses what does
 * not fit together, and a run that needs more memory than there is. model must outlive the trainer; strings of the
 * options too. */
INGOT_API ingot_status ingot_trainer_new(ingot_device *d, const ingot_model *model, const ingot_train_options *options,
                                         ingot_trainer **out);
INGOT_API void ingot_trainer_free(ingot_trainer *t);
/* Trains to options.steps, evaluating, logging and saving on the way. After ingot_interrupt the step is finished and
 * saved, and INGOT_ERROR_INTERRUPTED says how to go on. */
INGOT_API ingot_status ingot_trainer_run(ingot_trainer *t);
/* One step, or one evaluation of the val split, by hand. */
INGOT_API ingot_status ingot_trainer_step(ingot_trainer *t, ingot_train_event *e);
INGOT_API ingot_status ingot_trainer_evaluate(ingot_trainer *t, ingot_train_event *e);
/* INGOT_ERROR_ARGUMENT after a step that failed: steps that were under way may have changed the weights. Resume instead. */
INGOT_API ingot_status ingot_trainer_save(ingot_trainer *t);
INGOT_API ingot_store *ingot_trainer_store(ingot_trainer *t);
INGOT_API ingot_train_memory ingot_trainer_memory(const ingot_trainer *t);
/* What such a run would take; nothing is read, run or allocated. Only shape options count. */
INGOT_API ingot_status ingot_train_plan(ingot_device *d, const ingot_model *model, const ingot_train_options *options,
                                        ingot_train_memory *out);

/* ---- evaluation of any model ---- */

typedef struct ingot_eval_options {
    const char *data, *split; /* split NULL: "val" */
    const char *rows;         /* NULL: as the data was prepared */
    int raw_u16;
    int64_t batch_size, length; /* 0: 8, the model's context */
    int64_t batches;            /* at most; 0: the whole split */
} ingot_eval_options;

typedef struct ingot_evaluation {
    double loss;          /* nats a token, or a picture */
    double bits_per_byte; /* nats / ln 2 / bytes of text; 0 where the bytes are not known */
    double perplexity;    /* e^loss */
    double accuracy;      /* of pictures; 0 for text */
    int64_t tokens;       /* that were predicted */
} ingot_evaluation;

INGOT_API ingot_status ingot_evaluate(ingot_device *d, const ingot_model *model, const ingot_eval_options *options,
                                      ingot_evaluation *out);

#ifdef __cplusplus
}
#endif
#endif
