/* Small models that write: after a prompt, tokens one by one, each token's logits against the float64 oracle's.
 *
 * Errors go through layers upon layers and through the cache, so the tolerance is a share of the logits' size, by dtype; what
 * it finds are steps that read what was not there yet, or rows that went elsewhere, not last bits.
 */
#include "check/check.h"
#include "infer/session.h"

#include <math.h>

typedef struct decode_case {
    const char *name;
    ingot_model_options options;
    int64_t prompt, tokens, page_size; /* page_size 0: one page */
} decode_case;

#define SMALL .vocab_size = 61, .layers = 2, .heads = 4, .ffn_dim = 104, .context = 1024

static const decode_case cases[] = {
    {"tokens llama", {.family = "llama", SMALL, .dim = 64, .kv_heads = 2}, 9, 24, 0},
    {"tokens llama, pages", {.family = "llama", SMALL, .dim = 64, .kv_heads = 1, .tied = INGOT_YES}, 3, 24, 4},
    {"tokens llama, long", {.family = "llama", SMALL, .dim = 128, .kv_heads = 4}, 700, 4, 32},
    {"tokens gpt2", {.family = "gpt2", SMALL, .dim = 64}, 5, 12, 0},
};

typedef struct writer {
    ingot_device *device;
    session *s;
    cached cache;
} writer;

static status open_writer(context *ctx, const ingot_model *m, const char *device, const check_options *o,
                          const decode_case *c, writer *w)
{
    const ingot_device_options how = {.level = o->level,
                                      .prefer = o->prefer,
                                      .cache = o->cache,
                                      .no_overlap = o->no_overlap,
                                      .persistent = o->persistent};
    const ingot_session_options sizes = {
        .context = c->prompt + c->tokens, .sequences = 1, .page_size = c->page_size, .seed = o->seed};
    bool oracle = !strcmp(device, "ref");
    TRY(ingot_device_open(ctx, device, oracle ? NULL : &how, &w->device));
    TRY(ingot_session_new(m, w->device, &sizes, &w->s));
    if (session_open(w->s, &w->cache, c->prompt + c->tokens, NULL, 0)) return INGOT_OK;
    return ingot_fail(ctx, INGOT_ERROR_INTERNAL, "the cache has no room for one sequence");
}

static void close_writer(writer *w)
{
    ingot_session_free(w->s);
    if (w->device) ingot_device_close(w->device);
}

static status take_in(writer *w, const int32_t *tokens, int64_t count)
{
    while (count) {
        rows_begin(w->s);
        int64_t part = MIN(count, rows_left(w->s));
        rows_add(w->s, &w->cache, tokens, part, 1);
        TRY(rows_run(w->s));
        tokens += part;
        count -= part;
    }
    return INGOT_OK;
}

/* The largest difference of a logit, in units of what the tolerance is of their size. */
static double difference(const float *found, const float *wanted, int64_t count, double tolerance)
{
    double worst = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        squares += (double)wanted[i] * wanted[i];
        double d = fabs((double)found[i] - wanted[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst / (tolerance * sqrt(squares / (double)count));
}

static double tolerance_of(dtype d)
{
    return d == INGOT_BF16 ? 0.04 : d == INGOT_F16 ? 0.006 : 2e-5;
}

static status compare(context *ctx, const check_options *o, const decode_case *c, writer *found, writer *wanted,
                      check_row *row)
{
    int32_t tokens[1024];
    int64_t vocabulary = found->s->info.vocab_size;
    for (int64_t i = 0; i < c->prompt + c->tokens; i++) tokens[i] = (int32_t)((i * 29 + i * i / 7) % vocabulary);
    for (int64_t i = 0, at = 0; i <= c->tokens; i++) {
        int64_t count = i ? 1 : c->prompt;
        TRY(take_in(found, tokens + at, count));
        TRY(take_in(wanted, tokens + at, count));
        at += count;
        double off = difference(found->s->logits, wanted->s->logits, vocabulary, tolerance_of(o->dtype));
        row->runs++;
        if (!(off <= row->worst)) row->worst = off;
        if (off <= 1) continue;
        row->failures++;
        if (row->failure) continue;
        text why = {0};
        text_printf(&why, "%s: after %lld tokens a logit is off by %.3g of the tolerance (seed %llu)", c->name,
                    (long long)at, off, (unsigned long long)o->seed);
        if (why.failed) return fail_memory(ctx, "a report", 64);
        row->failure = why.at;
    }
    return INGOT_OK;
}

static status check_case(context *ctx, const check_options *o, const decode_case *c, check_row *row)
{
    writer found = {0}, wanted = {0};
    ingot_model *m;
    TRY(ingot_model_new(ctx, &c->options, &m));
    status s = ingot_model_set_dtype(m, o->dtype);
    if (!s) s = open_writer(ctx, m, o->device, o, c, &found);
    if (!s) s = open_writer(ctx, m, "ref", o, c, &wanted);
    if (!s) s = compare(ctx, o, c, &found, &wanted, row);
    close_writer(&found);
    close_writer(&wanted);
    ingot_model_free(m);
    return s;
}

status check_decoding(context *ctx, const check_options *o, check_report *out)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        check_row row = {.name = cases[i].name, .samples = 1};
        double began = session_seconds();
        progress(ctx, cases[i].name, (double)i, (double)COUNT(cases), "models");
        status s = check_case(ctx, o, &cases[i], &row);
        row.seconds = session_seconds() - began;
        out->failures += row.failures;
        if (!s && !ARRAY_PUSH(&out->rows, row)) s = fail_memory(ctx, "a report", sizeof row);
        if (s) free(row.failure);
        TRY(s);
    }
    return INGOT_OK;
}
