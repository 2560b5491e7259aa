/* A split's loss, of a run's weights or a model's own. */
#include "train/trainer.h"

#include <math.h>

status evaluate_split(ingot_stepper *s, feed *f, int64_t batches, ingot_evaluation *out)
{
    double loss = 0, right = 0, bytes = 0, count = 0;
    TRY(f->seek(f, (ingot_batch_state){0}));
    for (int64_t i = 0; !batches || i < batches; i++) {
        ingot_step_result r;
        TRY(f->advance(f));
        if (!f->targets) break;
        TRY(ingot_stepper_evaluate(s, f->inputs, f->count, &r));
        loss += r.loss * r.count;
        right += r.metric * r.count;
        count += r.count;
        bytes += (double)f->text_bytes;
        if (ingot_interrupted(f->ctx)) return ingot_fail(f->ctx, INGOT_ERROR_INTERRUPTED, "the evaluation was stopped");
    }
    if (!(count > 0)) return ingot_fail(f->ctx, INGOT_ERROR_ARGUMENT, "there is nothing to predict in this split");
    *out = (ingot_evaluation){.loss = loss / count,
                              .bits_per_byte = bytes > 0 ? loss / log(2) / bytes : 0,
                              .perplexity = exp(loss / count),
                              .accuracy = right / count,
                              .tokens = (int64_t)count};
    return INGOT_OK;
}

static status evaluate_model(ingot_device *d, const ingot_model *model, feed *f, model_task *task, int64_t batches,
                             ingot_evaluation *out)
{
    ingot_stepper *s;
    ingot_task how = {.loss = model_task_loss, .user = task};
    TRY(stepper_evaluator(d, &how, &s));
    status failed = ingot_model_describe(model).directory ? ingot_model_read(model, ingot_stepper_store(s), 0)
                                                          : ingot_model_init(model, ingot_stepper_store(s), 0);
    if (!failed) failed = evaluate_split(s, f, batches, out);
    ingot_stepper_free(s);
    return failed;
}

ingot_status ingot_evaluate(ingot_device *d, const ingot_model *model, const ingot_eval_options *o,
                            ingot_evaluation *out)
{
    feed_options options = {.data = o->data,
                            .split = o->split ? o->split : "val",
                            .rows = o->rows,
                            .raw_u16 = o->raw_u16 != 0,
                            .batch = o->batch_size ? o->batch_size : 8,
                            .length = o->length,
                            .micros = 1,
                            .count_bytes = true};
    feed *f;
    TRY(feed_open(model, d->ctx, &options, &f));
    model_task task = {model, options.batch, f->length, f->segments, -1, true};
    status s = evaluate_model(d, model, f, &task, o->batches, out);
    feed_close(f);
    if (!s && !isfinite(out->loss))
        s = ingot_fail(d->ctx, INGOT_ERROR_NOT_FINITE, "the loss of this model on %s is %g: its weights are of no use",
                       o->data, out->loss);
    return s;
}
