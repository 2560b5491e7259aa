/* Whether a run fits into the memory of its device, by the plan; and what would. */
#include "train/trainer.h"

#include <stdio.h>

ingot_task trainer_task(ingot_trainer *t)
{
    return model_task_of(&t->task, t->options.recompute);
}

status trainer_plan(ingot_trainer *t, ingot_train_memory *out)
{
    ingot_task task = trainer_task(t);
    ingot_stepper *planned;
    TRY(stepper_plan(t->device, &task, &t->options.optimizer, &planned));
    status s = stepper_prepare(planned, t->options.accumulate > 1, t->val != NULL);
    if (!s) s = stepper_run_ahead(planned, t->options.ahead);
    if (!s) *out = ingot_stepper_describe(planned);
    ingot_stepper_free(planned);
    return s;
}

static status check_fit(ingot_trainer *t)
{
    return stepper_check_memory(t->device, &t->memory,
                                "a smaller --batch-size (with --accumulate for the same step), a smaller --context, "
                                "--recompute, or --optimizer sgd; `ingot plan` shows what takes it");
}

/* The same step in smaller pieces, as large as there is room for; 0: none fits. */
static int64_t batch_that_fits(ingot_trainer *t, ingot_train_memory *needs)
{
    const int64_t batch = t->task.batch, accumulate = t->options.accumulate;
    int64_t fits = 0;
    for (int64_t b = batch / 2; b >= 1 && !fits; b /= 2) {
        t->task.batch = b;
        t->options.accumulate = 2; /* the program that adds gradients is there too */
        if (trainer_plan(t, needs)) break;
        if ((uint64_t)needs->peak_bytes <= device_memory_left(t->device)) fits = b;
    }
    t->task.batch = batch;
    t->options.accumulate = accumulate;
    return fits;
}

static status say_what_fits(ingot_trainer *t)
{
    char message[900], bytes[24];
    ingot_train_memory needs;
    snprintf(message, sizeof message, "%s", ingot_message(t->ctx));
    int64_t batch = batch_that_fits(t, &needs);
    if (!batch) return ingot_fail(t->ctx, INGOT_ERROR_MEMORY, "%s", message);
    int64_t pieces = (t->task.batch + batch - 1) / batch;
    return ingot_fail(t->ctx, INGOT_ERROR_MEMORY, "%s. --batch-size %lld --accumulate %lld needs %s and fits", message,
                      (long long)batch, (long long)(t->options.accumulate * pieces),
                      format_bytes(bytes, (uint64_t)needs.peak_bytes));
}

status trainer_check_memory(ingot_trainer *t)
{
    TRY(trainer_plan(t, &t->memory));
    status s = check_fit(t);
    return s == INGOT_ERROR_MEMORY ? say_what_fits(t) : s;
}
