/* The graphs that a model gives: its family's page between named inputs and a loss or logits. */
#include "models/model.h"

#include "ingot/ops.h"

#include <stdio.h>

/* What a family's page runs under: parameters are listed the first time, LoRA hooks put in when there is LoRA. */
static value *build_family(const ingot_model *m, build *b, rows *r, value *images, bool frozen)
{
    bool listing = !m->params->params.count;
    param_list *list = listing ? m->params : NULL;
    const build_hooks *outer = b->hooks;
    lora_hooks lora = lora_hooks_of(&m->lora, list, r->rng);
    build_hooks plain = {.params = list};
    b->hooks = m->lora.rank ? &lora.hooks : &plain;
    const model_family *f = m->config.family;
    b->compute = m->compute;
    b->frozen = frozen;
    value *logits = images ? f->build_images(b, &m->config, images, r) : f->build(b, &m->config, r);
    b->hooks = outer;
    b->compute = INGOT_F32;
    b->frozen = false;
    return logits;
}

static ingot_training sums_of(build *b, ingot_training t, value *targets, int64_t classes) /* targets (N) */
{
    value *target = ingot_cast(b, targets, INGOT_F32);
    char counts[64]; /* what ingot_cross_entropy does not mask */
    snprintf(counts, sizeof counts, "(0 <= a) * (a < %lld)", (long long)classes);
    t.loss = ingot_sum_all(b, t.losses);
    t.count = ingot_sum_all(b, ingot_pointwise(b, counts, &target, 1));
    return t;
}

static ingot_training image_training(const ingot_model *m, build *b, const ingot_training_options *o)
{
    int64_t side = m->config.image;
    if (o->batch < 1 || o->batch > INT32_MAX) {
        build_fail(b, INGOT_ERROR_ARGUMENT, "%lld pictures in a batch; at least 1", (long long)o->batch);
        return (ingot_training){0};
    }
    value *images = ingot_input(b, "images", INGOT_F32, INGOT_SHAPE(o->batch, side, side, 3));
    value *targets = ingot_input(b, "targets", INGOT_I32, INGOT_SHAPE(o->batch));
    rows r = {.count = o->batch, .rng = o->rng, .dropout = o->dropout < 0 ? m->config.dropout : o->dropout};
    ingot_training t = {.logits = build_family(m, b, &r, images, o->frozen)};
    t.losses = ingot_cross_entropy(b, t.logits, targets);
    return sums_of(b, t, targets, m->config.classes);
}

/* Logits that nobody asks for are never whole in memory. */
static bool in_chunks(const ingot_model *m, int wanted)
{
    if (m->lora.rank && lora_targets(&m->lora, "lm_head")) return false; /* the head is more than one product */
    return wanted <= 0;
}

ingot_training ingot_model_training(const ingot_model *m, ingot_build *b, const ingot_training_options *o)
{
    if (m->config.family->build_images) return image_training(m, b, o);
    uint64_t n;
    if (o->batch < 1 || o->length < 1 || !checked_mul((uint64_t)o->batch, (uint64_t)o->length, &n) || n > INT32_MAX) {
        build_fail(b, INGOT_ERROR_ARGUMENT,
                   "%lld sequences of %lld tokens: both must be at least 1, the product below "
                   "2^31",
                   (long long)o->batch, (long long)o->length);
        return (ingot_training){0};
    }
    shape whole = INGOT_SHAPE(o->batch, o->length), flat = INGOT_SHAPE(o->batch * o->length);
    value *tokens = ingot_input(b, "tokens", INGOT_I32, whole);
    value *targets = ingot_input(b, "targets", INGOT_I32, whole);
    value *positions = o->segments ? ingot_input(b, "positions", INGOT_I32, whole) : ingot_iota(b, INGOT_I32, whole, 1);
    rows r = {.count = (int64_t)n,
              .batch = o->batch,
              .length = o->length,
              .tokens = ingot_reshape(b, tokens, flat),
              .position = ingot_reshape(b, positions, flat),
              .segment_start = o->segments ? ingot_input(b, "segment_start", INGOT_I32, whole) : NULL,
              .rng = o->rng,
              .dropout = o->dropout < 0 ? m->config.dropout : o->dropout};
    targets = ingot_reshape(b, targets, flat);
    bool chunked = in_chunks(m, o->logits);
    if (chunked) r.targets = targets;
    ingot_training t = {.logits = build_family(m, b, &r, NULL, o->frozen)};
    t.losses = chunked ? r.losses : ingot_cross_entropy(b, t.logits, targets);
    return sums_of(b, t, targets, m->config.vocab_size);
}

ingot_value *ingot_model_rows(const ingot_model *m, ingot_build *b, const ingot_rows_options *o)
{
    if (m->config.family->build_images)
        return build_fail(b, INGOT_ERROR_UNSUPPORTED, "family %s has no token rows", m->config.family->name);
    const int64_t sizes[] = {o->rows, o->sequences, o->pages_per_sequence, o->page_size, o->pages};
    for (size_t i = 0; i < COUNT(sizes); i++)
        if (sizes[i] < 1 || sizes[i] > INT32_MAX || o->logit_rows < 0 || o->logit_rows > INT32_MAX)
            return build_fail(b, INGOT_ERROR_ARGUMENT,
                              "rows, sequences, pages a sequence, page size and pages must be at least 1");
    uint64_t positions = (uint64_t)o->pages_per_sequence * (uint64_t)o->page_size,
             slots = (uint64_t)o->pages * (uint64_t)o->page_size;
    if (MAX(positions, slots) > INT32_MAX)
        return build_fail(b, INGOT_ERROR_ARGUMENT, "%lld pages of %lld tokens are more than int32 can number",
                          (long long)MAX(o->pages, o->pages_per_sequence), (long long)o->page_size);
    shape flat = INGOT_SHAPE(o->rows);
    rows r = {.count = o->rows,
              .tokens = ingot_input(b, "tokens", INGOT_I32, flat),
              .position = ingot_input(b, "position", INGOT_I32, flat),
              .sequence = ingot_input(b, "sequence", INGOT_I32, flat),
              .slot = ingot_input(b, "slot", INGOT_I32, flat),
              .block_table = ingot_input(b, "block_table", INGOT_I32, INGOT_SHAPE(o->sequences, o->pages_per_sequence)),
              .page_size = o->page_size,
              .positions = (int64_t)positions,
              .pages = o->pages};
    if (o->logit_rows) r.wanted = ingot_input(b, "wanted", INGOT_I32, INGOT_SHAPE(o->logit_rows));
    return ingot_cast(b, build_family(m, b, &r, NULL, o->frozen), INGOT_F32);
}
