/* What an exact resume depends on beside weights and counters: kept in the checkpoint, compared when it is resumed. */
#include "train/trainer.h"

#include <stdio.h>
#include <xxhash.h>

static json_t *optimizer_json(const ingot_optimizer *o)
{
    const ingot_schedule *s = &o->schedule;
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:b, s:f, s:f, s:s, s:f, s:f, s:I, s:I}", "optimizer",
                     ingot_optimizer_names()[o->kind], "beta1", o->beta1, "beta2", o->beta2, "eps", o->eps, "momentum",
                     o->momentum, "nesterov", o->nesterov, "weight-decay", o->weight_decay, "clip", o->clip, "schedule",
                     ingot_schedule_names()[s->kind], "lr", s->lr, "min-lr-ratio", s->final_ratio, "warmup",
                     (json_int_t)s->warmup, "decay-steps", (json_int_t)s->decay);
}

/* The kernels of a step in their order: other ones would round otherwise. */
static uint64_t kernels_hash(const ingot_stepper *s)
{
    const ingot_program *const programs[] = {s->first, s->more, s->update};
    uint64_t hash = 0;
    for (size_t i = 0; i < COUNT(programs); i++) {
        for (int64_t j = 0; programs[i] && j < programs[i]->main.count; j++) {
            const char *name = programs[i]->main.steps[j].kernel->name;
            hash = XXH3_64bits_withSeed(name, strlen(name), hash);
        }
    }
    return hash;
}

/* What of machine and program decides the bits. */
static status machine_json(ingot_trainer *t, json_t *all)
{
    text described = {0};
    char kernels[32];
    const device *d = t->device;
    if (d->def->describe) d->def->describe(d, &described);
    snprintf(kernels, sizeof kernels, "%016llx", (unsigned long long)kernels_hash(t->stepper));
    json_t *more =
        json_pack("{s:s, s:s, s:s, s:b, s:s}", "device", d->def->name, "machine", described.at ? described.at : "",
                  "cpu-level", kernel_level_name(d->level), "row-invariant", d->row_invariant, "kernels", kernels);
    bool ok = more && !json_object_update(all, more);
    json_decref(more);
    text_free(&described);
    return ok ? INGOT_OK : fail_memory(t->ctx, "the settings", 0);
}

status trainer_settings(ingot_trainer *t, json_t **out)
{
    const ingot_train_options *o = &t->options;
    json_t *all = optimizer_json(&o->optimizer);
    char tokenizer[32];
    snprintf(tokenizer, sizeof tokenizer, "%016llx", (unsigned long long)t->train->tokenizer_checksum);
    json_t *more =
        json_pack("{s:I, s:I, s:I, s:s, s:f, s:b, s:b, s:I, s:s, s:s}", "batch-size", (json_int_t)o->batch_size,
                  "context", (json_int_t)t->train->length, "accumulate", (json_int_t)o->accumulate, "rows",
                  t->train->segments ? "document" : "stream", "dropout", o->dropout, "recompute", o->recompute != 0,
                  "stochastic-rounding", o->stochastic_rounding != 0, "data tokens", (json_int_t)t->train->info.tokens,
                  "tokenizer", tokenizer, "dtype", ingot_dtype_name(ingot_model_describe(t->model).dtype));
    bool ok = all && more && !json_object_update(all, more);
    json_decref(more);
    *out = all;
    return ok ? machine_json(t, all) : fail_memory(t->ctx, "the settings", 0);
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
