/* A model's loss as a task; for pictures with the number of right answers as the metric. */
#include "ingot/ops.h"
#include "train/feed.h"

/* Rows whose largest logit is the target's: logits (N, V), targets (N). */
static value *right_answers(build *b, value *logits, value *targets)
{
    value *right = ingot_equal(b, ingot_argmax(b, logits), ingot_reshape(b, targets, INGOT_SHAPE(-1)));
    return ingot_sum_all(b, ingot_cast(b, right, INGOT_F32));
}

static value *input_named(const build *b, const char *name)
{
    for (int64_t i = 0; i < b->inputs.count; i++)
        if (!strcmp(b->inputs.at[i].name, name)) return b->inputs.at[i].value;
    return NULL;
}

ingot_loss model_task_loss(void *user, ingot_build *b, ingot_value *rng)
{
    const model_task *t = user;
    ingot_training_options o = {.batch = t->batch,
                                .length = t->length,
                                .segments = t->segments,
                                .dropout = t->dropout,
                                .rng = rng,
                                .frozen = t->frozen};
    ingot_training made = ingot_model_training(t->model, b, &o);
    ingot_loss loss = {.sum = made.loss, .count = made.count};
    bool pictures = ingot_model_describe(t->model).image > 0;
    if (pictures && made.logits) loss.metric = right_answers(b, made.logits, input_named(b, "targets"));
    return loss;
}

ingot_task model_task_of(model_task *t, bool recompute)
{
    return (ingot_task){.loss = model_task_loss,
                        .user = t,
                        .recompute = recompute,
                        .stochastic_rounding = t->stochastic_rounding,
                        .loss_scaling = ingot_model_describe(t->model).dtype == INGOT_F16};
}
