/* Continuations on standard output: one after the other, each as it comes when its turn is there. */
#include "cli/generate.h"

#include <stdio.h>

static void show(generation *g, const char *bytes, size_t count)
{
    if (!count) return;
    fwrite(bytes, 1, count, stdout);
    g->newline = bytes[count - 1] == '\n';
}

/* The turn of continuation g->current: its prompt if asked for, then what waited. */
static void begin_turn(generation *g)
{
    if (g->begun) return;
    g->begun = true;
    g->newline = false;
    const text *prompt = &g->prompts[g->current / g->o->samples];
    if (g->o->echo) show(g, prompt->at, prompt->length);
}

/* Ends what has ended, in order; a line with <|endoftext|> alone stands between two. */
static void take_turns(generation *g)
{
    int64_t all = g->count * g->o->samples;
    while (g->current < all) {
        text *waited = &g->waiting[g->current];
        begin_turn(g);
        show(g, waited->at, waited->length);
        text_free(waited);
        if (!g->ended[g->current]) break;
        if (!g->newline) putchar('\n');
        if (++g->current < all) puts("<|endoftext|>");
        g->begun = false;
    }
    fflush(stdout);
}

int generation_show(void *user, const ingot_piece *piece)
{
    generation *g = user;
    int64_t at = piece->request * g->o->samples + piece->sample;
    if (piece->bytes) text_add(&g->waiting[at], piece->text, (size_t)piece->bytes);
    g->ended[at] = piece->finish != INGOT_GOING_ON;
    if (at == g->current) take_turns(g);
    return ferror(stdout) != 0;
}

static double rate(int64_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : 0;
}

void generation_statistics(call *c, const generation *g)
{
    ingot_session_stats s = ingot_session_describe(g->session);
    log_line(c->ctx, INGOT_LOG_INFO,
             "prefill %lld tokens, %.1f tok/s; decode %lld tokens, %.1f tok/s (and %.1f %% of the time drawing)",
             (long long)s.prefill_tokens, rate(s.prefill_tokens, s.prefill_seconds), (long long)s.decode_tokens,
             rate(s.decode_tokens, s.decode_seconds),
             100 * s.sample_seconds / (s.prefill_seconds + s.decode_seconds + s.sample_seconds + 1e-12));
}

static json_t *phase(int64_t tokens, double seconds)
{
    return json_pack("{s:I, s:f, s:f}", "tokens", (json_int_t)tokens, "seconds", seconds, "tokens_per_second",
                     rate(tokens, seconds));
}

static json_t *completion(const generation *g, const ingot_completion *one)
{
    static const char *const finishes[] = {"error", "stop", "length", "cancel"};
    const text *prompt = &g->prompts[one->request];
    text whole = {0};
    if (g->o->echo) text_add(&whole, prompt->at, prompt->length);
    text_add(&whole, one->text, (size_t)one->bytes);
    json_t *ids = json_array();
    for (int64_t i = 0; i < one->token_count; i++) json_array_append_new(ids, json_integer(one->tokens[i]));
    json_t *written = whole.failed ? NULL : json_text(whole.at ? whole.at : "", whole.length);
    text_free(&whole);
    return json_pack("{s:I, s:I, s:o, s:o, s:I, s:I, s:s}", "prompt", (json_int_t)one->request, "sample",
                     (json_int_t)one->sample, "text", written, "tokens", ids, "prompt_tokens",
                     (json_int_t)one->prompt_tokens, "completion_tokens", (json_int_t)one->token_count, "finish_reason",
                     finishes[one->finish]);
}

status generation_json(call *c, const generation *g, const ingot_completions *all)
{
    ingot_session_stats s = ingot_session_describe(g->session);
    json_t *list = json_array();
    for (int64_t i = 0; i < all->count; i++) json_array_append_new(list, completion(g, &all->at[i]));
    return print_json(c, json_pack("{s:s, s:I, s:o, s:o, s:o}", "model", g->o->model, "seed", (json_int_t)g->o->seed,
                                   "completions", list, "prefill", phase(s.prefill_tokens, s.prefill_seconds), "decode",
                                   phase(s.decode_tokens, s.decode_seconds)));
}
