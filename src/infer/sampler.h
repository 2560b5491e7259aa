/* From logits to a token, on the host. What the options mean and their order: ingot/generate.h. */
#ifndef INFER_SAMPLER_H
#define INFER_SAMPLER_H

#include "base/base.h"
#include "base/rng.h"
#include "ingot/generate.h"

typedef struct candidate {
    int32_t id;
    float logit;
    double weight; /* probability, not normalised */
} candidate;

/* One sequence's. The options' arrays stay the caller's. */
typedef struct sampler {
    context *ctx;
    const ingot_sampling *options;
    int64_t vocab;
    rng rng;
    /* Kept only when a penalty is on: ids seen in the order they came, and by id 0 or 1 + the place in `seen`. */
    struct seen_token {
        int32_t id;
        int32_t generated; /* times */
    } * seen;
    int64_t seen_count;
    int32_t *seen_at;
} sampler;

/* Checks the options: every number finite and in its range, biased ids inside the vocabulary. */
status sampling_check(context *ctx, const ingot_sampling *o, int64_t vocab);
status sampler_init(context *ctx, sampler *s, const ingot_sampling *o, int64_t vocab, uint64_t stream);
void sampler_free(sampler *s);

/* The text so far grows: a token of the prompt, or one that was generated. */
void sampler_see(sampler *s, int32_t token, bool generated);

/* Draws from logits (V), which it changes. `room`: V candidates of workspace. INGOT_ERROR_NOT_FINITE for NaN, and when no
 * token is left. */
status sampler_draw(sampler *s, float *logits, candidate *room, int32_t *token);

/* What the draw chooses from: candidates in room[0 .. *count - 1] with weights that sum to *total. For tests. */
status sampler_candidates(sampler *s, float *logits, candidate *room, int64_t *count, double *total);

#endif
