#include "cli/train.h"

static const char *const optimizers[] = {"adamw", "adam", "sgd", NULL};
static const char *const schedules[] = {"cosine", "linear", "wsd", "constant", NULL};

const option optimizer_lines[OPTIMIZER_LINES] = {
    {"optimizer", CHOICE_AT(optimizer_flags, optimizer), NULL, "how gradients become steps", .initial = "adamw",
     .choices = optimizers},
    {"lr", DOUBLE_AT(optimizer_flags, lr), "RATE", "learning rate at its peak", .initial_help = "1e-3; sgd 5e-2",
     .range = AT_LEAST(0)},
    {"schedule", CHOICE_AT(optimizer_flags, schedule), NULL, "how the rate falls after the warm-up",
     .initial = "cosine", .choices = schedules},
    {"warmup", INT_AT(optimizer_flags, warmup), "N", "steps that rise to the peak", .initial = "0",
     .range = AT_LEAST(0)},
    {"min-lr-ratio", DOUBLE_AT(optimizer_flags, min_lr_ratio), "X", "the last rate as a share of the peak",
     .initial = "0.1", .range = BETWEEN(0, 1)},
    {"schedule-steps", INT_AT(optimizer_flags, schedule_steps), "N", "length of the schedule",
     .initial_help = "--steps of the run's first call", .range = AT_LEAST(1)},
    {"decay-steps", INT_AT(optimizer_flags, decay_steps), "N", "wsd: steps of the fall at the end",
     .initial_help = "a fifth of the schedule", .range = AT_LEAST(1)},
    {"weight-decay", DOUBLE_AT(optimizer_flags, weight_decay), "X", "of matrices; biases and norms have none",
     .initial_help = "0.1; adam and sgd, where it is part of the gradient, 1e-4", .range = AT_LEAST(0)},
    {"clip", DOUBLE_AT(optimizer_flags, clip), "X", "largest norm of the gradient; 0: no limit", .initial = "1.0",
     .range = AT_LEAST(0)},
    {"beta1", DOUBLE_AT(optimizer_flags, beta1), "X", "adam, adamw: decay of the mean", .initial = "0.9",
     .range = BETWEEN(0, 1)},
    {"beta2", DOUBLE_AT(optimizer_flags, beta2), "X", "adam, adamw: decay of the mean square", .initial = "0.95",
     .range = BETWEEN(0, 1)},
    {"eps", DOUBLE_AT(optimizer_flags, eps), "X", "adam, adamw: added to the root", .initial = "1e-8",
     .range = MORE_THAN(0)},
    {"momentum", DOUBLE_AT(optimizer_flags, momentum), "X", "sgd", .initial = "0.9", .range = BETWEEN(0, 1)},
    {"nesterov", BOOL_AT(optimizer_flags, nesterov), NULL, "sgd: Nesterov's momentum"},
};

ingot_optimizer optimizer_flags_read(const call *c, optimizer_flags *o)
{
    const ingot_optimizer usual = ingot_optimizer_defaults_of((ingot_optimizer_kind)o->optimizer, 0);
    if (!option_given(c, "lr")) o->lr = usual.schedule.lr;
    if (!option_given(c, "weight-decay")) o->weight_decay = usual.weight_decay;
    return (ingot_optimizer){
        .kind = (ingot_optimizer_kind)o->optimizer,
        .beta1 = o->beta1,
        .beta2 = o->beta2,
        .eps = o->eps,
        .momentum = o->momentum,
        .nesterov = o->nesterov,
        .weight_decay = o->weight_decay,
        .clip = o->clip,
        .schedule = {.kind = (ingot_schedule_kind)o->schedule,
                     .lr = o->lr,
                     .final_ratio = o->min_lr_ratio,
                     .warmup = o->warmup,
                     .steps = o->schedule_steps,
                     .decay = o->decay_steps},
    };
}

const option batch_lines[BATCH_LINES] = {
    {"batch-size", INT_AT(batch_flags, batch_size), "B", "rows of a batch", .initial = "8", .range = BETWEEN(1, 65536)},
    {"context", INT_AT(batch_flags, context), "T", "positions of a row; of a new model also its most",
     .short_name = "c", .initial_help = "256, or up to 1024 of what the model has", .range = BETWEEN(1, 1 << 20)},
    {"accumulate", INT_AT(batch_flags, accumulate), "N", "batches a step, weighed by their tokens", .initial = "1",
     .range = BETWEEN(1, 65536)},
    {"dropout", DOUBLE_AT(batch_flags, dropout), "P", "share of activations dropped in training",
     .initial_help = "the model's, 0 for a new one", .range = BETWEEN(0, 0.99)},
    {"recompute", BOOL_AT(batch_flags, recompute), NULL, "compute layers twice instead of keeping their activations"},
    {"stochastic-rounding", BOOL_AT(batch_flags, stochastic_rounding), NULL,
     "round 16-bit copies of weights up or down by chance, so that their mean is the float32 weight"},
};

void batch_flags_read(const call *c, const batch_flags *o, ingot_train_options *out)
{
    out->batch_size = o->batch_size;
    out->length = o->context;
    out->accumulate = o->accumulate;
    out->recompute = o->recompute;
    out->stochastic_rounding = o->stochastic_rounding;
    out->dropout = option_given(c, "dropout") ? o->dropout : -1;
}
