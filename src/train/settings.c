/* What an exact resume depends on beside weights and counters: kept in the checkpoint, compared when it is resumed. */
#include "train/trainer.h"

#include <stdio.h>

static json_t *optimizer_json(const ingot_optimizer *o)
{
    const ingot_schedule *s = &o->schedule;
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:b, s:f, s:f, s:s, s:f, s:f, s:I, s:I}", "optimizer",
                     ingot_optimizer_names()[o->kind], "beta1", o->beta1, "beta2", o->beta2, "eps", o->eps, "momentum",
                     o->momentum, "nesterov", o->nesterov, "weight-decay", o->weight_decay, "clip", o->clip, "schedule",
                     ingot_schedule_names()[s->kind], "lr", s->lr, "min-lr-ratio", s->final_ratio, "warmup",
                     (json_int_t)s->warmup, "decay-steps", (json_int_t)s->decay);
}

status trainer_settings(ingot_trainer *t, json_t **out)
{
    const ingot_train_options *o = &t->options;
    json_t *all = optimizer_json(&o->optimizer);
    char tokenizer[32];
    snprintf(tokenizer, sizeof tokenizer, "%016llx", (unsigned long long)t->train->tokenizer_checksum);
    json_t *more = json_pack("{s:I, s:I, s:I, s:s, s:f, s:b, s:s, s:I, s:s}", "batch-size", (json_int_t)o->batch_size,
                             "context", (json_int_t)t->train->length, "accumulate", (json_int_t)o->accumulate, "rows",
                             t->train->segments ? "document" : "stream", "dropout", o->dropout, "recompute",
                             o->recompute != 0, "device", ingot_device_name(t->device), "data tokens",
                             (json_int_t)t->train->info.tokens, "tokenizer", tokenizer);
    bool ok = all && more && !json_object_update(all, more);
    json_decref(more);
    *out = all;
    return ok ? INGOT_OK : fail_memory(t->ctx, "the settings", 0);
}

static char *shown(const json_t *value)
{
    return value ? json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
}

void trainer_compare_settings(ingot_trainer *t, const json_t *before)
{
    const char *name;
    json_t *now;
    json_object_foreach(t->settings, name, now)
    {
        const json_t *then = json_object_get(before, name);
        if (!then || json_equal(now, then)) continue;
        char *is = shown(now), *was = shown(then);
        log_line(t->ctx, INGOT_LOG_WARNING, "resuming with %s %s instead of %s: not what one run would have given",
                 name, is ? is : "?", was ? was : "?");
        free(is);
        free(was);
    }
}
