/* Requests to completions: a batch that runs until it is empty, and what it wrote. */
#include "ingot/generate.h"

#include "infer/batch.h"

/* Grows while its sample runs. */
typedef struct writing {
    text text;
    ARRAY(int32_t) tokens;
} writing;

typedef struct collector {
    ingot_completions *all;
    writing *writings;
    int64_t *first; /* by request: its first completion */
    ingot_on_piece *on_piece;
    void *user;
    bool failed; /* no memory */
} collector;

static int collect(void *user, const ingot_piece *piece)
{
    collector *c = user;
    int64_t at = c->first[piece->request] + piece->sample;
    writing *w = &c->writings[at];
    text_add(&w->text, piece->text, (size_t)piece->bytes);
    bool end = piece->finish != INGOT_GOING_ON;
    if (!end && !ARRAY_PUSH(&w->tokens, piece->token)) c->failed = true;
    if (end) c->all->at[at].finish = piece->finish;
    c->failed |= w->text.failed;
    return (c->on_piece && c->on_piece(c->user, piece)) || c->failed;
}

static status begin(context *ctx, collector *c, const ingot_request *requests, int64_t count)
{
    uint64_t total = 0;
    for (int64_t i = 0; i < count; i++)
        if (requests[i].samples < 0 || !checked_add(total, (uint64_t)MAX(requests[i].samples, 1), &total))
            return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "request %lld asks for %lld samples", (long long)i + 1,
                              (long long)requests[i].samples);
    c->all = calloc(1, sizeof *c->all);
    c->first = calloc((size_t)count + 1, sizeof *c->first);
    c->writings = calloc(total + 1, sizeof *c->writings);
    if (c->all) c->all->at = calloc(total + 1, sizeof *c->all->at);
    if (!c->all || !c->first || !c->writings || !c->all->at) return fail_memory(ctx, "completions", total * 64);
    for (int64_t i = 0; i < count; i++) {
        c->first[i] = c->all->count;
        for (int64_t k = 0; k < MAX(requests[i].samples, 1); k++)
            c->all->at[c->all->count++] = (ingot_completion){.request = i, .sample = k};
    }
    return INGOT_OK;
}

static status run(session *s, collector *c, const ingot_request *requests, int64_t count)
{
    batch *b;
    TRY(batch_new(s, collect, c, &b));
    status failed = INGOT_OK;
    for (int64_t i = 0; i < count && !failed; i++) {
        int64_t prompt;
        failed = batch_add(b, &requests[i], i, &prompt);
        int64_t end = i + 1 < count ? c->first[i + 1] : c->all->count;
        for (int64_t k = c->first[i]; k < end && !failed; k++) c->all->at[k].prompt_tokens = prompt;
    }
    while (!failed && batch_busy(b)) failed = batch_step(b);
    batch_free(b);
    if (!failed && c->failed) failed = fail_memory(s->ctx, "generated text", 0);
    return failed;
}

/* What was written becomes the completions'. */
static status hand_over(context *ctx, collector *c)
{
    for (int64_t i = 0; i < c->all->count; i++) {
        writing *w = &c->writings[i];
        text_add(&w->text, "", 0); /* an empty text is a text too */
        if (!w->text.at) return fail_memory(ctx, "generated text", 0);
        ingot_completion *done = &c->all->at[i];
        done->text = w->text.at;
        done->bytes = (int64_t)w->text.length;
        done->tokens = w->tokens.at;
        done->token_count = w->tokens.count;
        *w = (writing){0};
    }
    return INGOT_OK;
}

ingot_status ingot_generate(ingot_session *s, const ingot_request *requests, int64_t count, ingot_on_piece *on_piece,
                            void *user, ingot_completions **out)
{
    if (out) *out = NULL;
    collector c = {.on_piece = on_piece, .user = user};
    status failed = begin(s->ctx, &c, requests, count);
    if (!failed) failed = run(s, &c, requests, count);
    if (!failed) failed = hand_over(s->ctx, &c);
    for (int64_t i = 0; c.all && c.writings && i < c.all->count; i++) {
        text_free(&c.writings[i].text);
        ARRAY_FREE(&c.writings[i].tokens);
    }
    free(c.writings);
    free(c.first);
    if (failed || !out)
        ingot_completions_free(c.all);
    else
        *out = c.all;
    return failed;
}

void ingot_completions_free(ingot_completions *all)
{
    if (!all) return;
    for (int64_t i = 0; all->at && i < all->count; i++) {
        free(all->at[i].tokens);
        free(all->at[i].text);
    }
    free(all->at);
    free(all);
}
