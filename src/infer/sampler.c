/* Penalties, temperature, top-k, top-p, min-p, and the draw. */
#include "infer/sampler.h"

#include <math.h>

static bool has_penalty(const ingot_sampling *o)
{
    return (o->repetition_penalty != 0 && o->repetition_penalty != 1) || o->presence_penalty != 0 ||
           o->frequency_penalty != 0;
}

static status check_range(context *ctx, const char *name, double v, double low, double high, const char *range)
{
    if (v >= low && v <= high) return INGOT_OK; /* NaN is outside */
    return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%s is %g; it must be %s", name, v, range);
}

status sampling_check(context *ctx, const ingot_sampling *o, int64_t vocab)
{
    TRY(check_range(ctx, "temperature", o->temperature, 0, 1e6, "from 0 (the most likely token) to 1e6"));
    TRY(check_range(ctx, "top-k", (double)o->top_k, 0, INFINITY, "at least 1, or 0 for off"));
    TRY(check_range(ctx, "top-p", o->top_p, 0, 1, "more than 0 and at most 1"));
    TRY(check_range(ctx, "min-p", o->min_p, 0, 1, "from 0 to 1"));
    TRY(check_range(ctx, "repetition penalty", o->repetition_penalty, 0, 1e6, "more than 0; 1 is none"));
    TRY(check_range(ctx, "presence penalty", o->presence_penalty, -1e6, 1e6, "a number; 0 is none"));
    TRY(check_range(ctx, "frequency penalty", o->frequency_penalty, -1e6, 1e6, "a number; 0 is none"));
    for (int64_t i = 0; i < o->bias_count; i++) {
        if (o->bias_tokens[i] < 0 || o->bias_tokens[i] >= vocab)
            return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "a logit bias names token %d; the model's vocabulary has %lld",
                              (int)o->bias_tokens[i], (long long)vocab);
        if (isnan(o->biases[i]) || o->biases[i] == INFINITY)
            return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "the logit bias of token %d is %g; it must be a number",
                              (int)o->bias_tokens[i], (double)o->biases[i]);
    }
    return INGOT_OK;
}

status sampler_init(context *ctx, sampler *s, const ingot_sampling *o, int64_t vocab, uint64_t stream)
{
    *s = (sampler){.ctx = ctx, .options = o, .vocab = vocab, .rng = rng_make(o->seed, stream)};
    if (!has_penalty(o)) return INGOT_OK;
    s->seen = malloc(sizeof *s->seen * (size_t)vocab);
    s->seen_at = calloc((size_t)vocab, sizeof *s->seen_at);
    if (s->seen && s->seen_at) return INGOT_OK;
    sampler_free(s);
    return fail_memory(ctx, "a sampler", (uint64_t)vocab * 12);
}

void sampler_free(sampler *s)
{
    free(s->seen);
    free(s->seen_at);
    s->seen = NULL;
    s->seen_at = NULL;
}

void sampler_see(sampler *s, int32_t token, bool generated)
{
    if (!s->seen || token < 0 || token >= s->vocab) return;
    if (!s->seen_at[token]) {
        s->seen[s->seen_count] = (struct seen_token){.id = token};
        s->seen_at[token] = (int32_t)++s->seen_count;
    }
    s->seen[s->seen_at[token] - 1].generated += generated;
}

static void adjust(const sampler *s, float *logits)
{
    const ingot_sampling *o = s->options;
    for (int64_t i = 0; i < o->bias_count; i++) logits[o->bias_tokens[i]] += o->biases[i];
    double repetition = o->repetition_penalty != 0 ? o->repetition_penalty : 1;
    for (int64_t i = 0; i < s->seen_count; i++) {
        const struct seen_token *t = &s->seen[i];
        double l = logits[t->id];
        l = l > 0 ? l / repetition : l * repetition;
        if (t->generated) l -= o->presence_penalty + t->generated * o->frequency_penalty;
        logits[t->id] = (float)l;
    }
}

/* The largest logit's id, the lowest of equals; -1 when there is a NaN or nothing above -inf. */
static int64_t largest(const float *logits, int64_t vocab)
{
    int64_t best = -1;
    float top = -INFINITY;
    bool nan = false;
    for (int64_t i = 0; i < vocab; i++) {
        nan |= logits[i] != logits[i];
        if (logits[i] > top) top = logits[i], best = i;
    }
    return nan || top == INFINITY ? -1 : best;
}

static void sift_down(float *heap, int64_t count, int64_t at)
{
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1] < heap[child]) child++;
        if (heap[at] <= heap[child]) return;
        float kept = heap[at];
        heap[at] = heap[child];
        heap[child] = kept;
    }
}

/* The k-th largest of logits, by a heap of the k largest so far; k <= vocab. `heap` has room for k. */
static float kth_largest(const float *logits, int64_t vocab, int64_t k, float *heap)
{
    memcpy(heap, logits, sizeof *heap * (size_t)k);
    for (int64_t i = k / 2; i-- > 0;) sift_down(heap, k, i);
    for (int64_t i = k; i < vocab; i++) {
        if (logits[i] <= heap[0]) continue;
        heap[0] = logits[i];
        sift_down(heap, k, 0);
    }
    return heap[0];
}

static int by_weight(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

static double sum_weights(const candidate *c, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += c[i].weight;
    return sum;
}

/* Keeps the candidates whose weight is at least `least`. */
static int64_t keep_at_least(candidate *c, int64_t count, double least)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++)
        if (c[i].weight >= least) c[kept++] = c[i];
    return kept;
}

/* The fewest candidates that hold `top_p` of the weight, the heaviest first. */
static int64_t keep_top_p(candidate *c, int64_t count, double top_p)
{
    double total = sum_weights(c, count);
    /* All below this together hold less than 1 - top_p, so none of them is needed: a short list is left to sort. */
    count = keep_at_least(c, count, (1 - top_p) * total / (double)count);
    qsort(c, (size_t)count, sizeof *c, by_weight);
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        if ((sum += c[i].weight) >= top_p * total) return i + 1;
    return count;
}

static status adjusted_best(const sampler *s, float *logits, int64_t *best)
{
    adjust(s, logits);
    *best = largest(logits, s->vocab);
    if (*best >= 0) return INGOT_OK;
    return ingot_fail(s->ctx, INGOT_ERROR_NOT_FINITE,
                      "the logits hold a NaN or an infinity, or every token is forbidden; the weights are damaged, or "
                      "the logit biases leave nothing");
}

status sampler_candidates(sampler *s, float *logits, candidate *room, int64_t *count, double *total)
{
    const ingot_sampling *o = s->options;
    int64_t best;
    TRY(adjusted_best(s, logits, &best));
    float top = logits[best], least = -INFINITY;
    /* `room` is free until the candidates are collected, and a candidate is larger than a float. */
    if (o->top_k > 0 && o->top_k < s->vocab) least = kth_largest(logits, s->vocab, o->top_k, (float *)(void *)room);
    double scale = o->temperature > 0 ? 1 / o->temperature : 1;
    int64_t n = 0;
    for (int64_t i = 0; i < s->vocab; i++) {
        if (logits[i] < least || logits[i] == -INFINITY) continue;
        room[n++] = (candidate){.id = (int32_t)i, .logit = logits[i], .weight = exp((logits[i] - top) * scale)};
    }
    if (o->top_p > 0 && o->top_p < 1) n = keep_top_p(room, n, o->top_p);
    if (o->min_p > 0) n = keep_at_least(room, n, o->min_p); /* the largest weight is exp(0) */
    *count = n;
    *total = sum_weights(room, n);
    return INGOT_OK;
}

status sampler_draw(sampler *s, float *logits, candidate *room, int32_t *token)
{
    int64_t count, i;
    double total;
    if (s->options->temperature == 0) {
        TRY(adjusted_best(s, logits, &i));
        *token = (int32_t)i;
        return INGOT_OK;
    }
    TRY(sampler_candidates(s, logits, room, &count, &total));
    double left = rng_uniform(&s->rng) * total;
    for (i = 0; i + 1 < count && (left -= room[i].weight) >= 0;) i++;
    *token = room[i].id;
    return INGOT_OK;
}
