#include "infer/prompt.h"

#include <inttypes.h>

int32_t prompt_begin(const session *s)
{
    if (s->info.bos_token >= 0) return s->info.bos_token;
    if (s->info.eos_count) return s->info.eos_tokens[0];
    return s->tokenizer ? ingot_tokenizer_eot(s->tokenizer) : -1;
}

bool prompt_ends(const session *s, int32_t token)
{
    for (int i = 0; i < s->info.eos_count; i++)
        if (s->info.eos_tokens[i] == token) return true;
    return !s->info.eos_count && s->tokenizer && token == ingot_tokenizer_eot(s->tokenizer);
}

static status encode(const session *s, const ingot_request *r, int64_t index, int32_t **tokens, int64_t *count)
{
    if (!s->tokenizer)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT,
                          "prompt %" PRId64
                          " is text, and this model came without a tokenizer; give one to the session, "
                          "or token ids",
                          index + 1);
    const char *given = r->prompt ? r->prompt : "";
    int64_t bytes = r->prompt_bytes ? r->prompt_bytes : (int64_t)strlen(given), encoded;
    int32_t *ids, begin = r->no_begin ? -1 : prompt_begin(s);
    TRY(ingot_encode(s->tokenizer, given, bytes, r->specials ? INGOT_ENCODE_SPECIALS : INGOT_ENCODE_PLAIN, &ids,
                     &encoded));
    *count = encoded + (begin >= 0);
    *tokens = malloc((size_t)(*count + 1) * sizeof **tokens);
    if (*tokens) {
        (*tokens)[0] = begin;
        if (encoded) memcpy(*tokens + (begin >= 0), ids, (size_t)encoded * sizeof *ids);
    }
    free(ids);
    return *tokens ? INGOT_OK : fail_memory(s->ctx, "a prompt", (uint64_t)*count * sizeof *ids);
}

static status copy_ids(const session *s, const ingot_request *r, int32_t **tokens, int64_t *count)
{
    *count = r->token_count;
    *tokens = malloc((size_t)MAX(r->token_count, 1) * sizeof **tokens);
    if (!*tokens) return fail_memory(s->ctx, "a prompt", (uint64_t)r->token_count * sizeof **tokens);
    if (r->token_count) memcpy(*tokens, r->tokens, (size_t)r->token_count * sizeof **tokens);
    return INGOT_OK;
}

static status check_tokens(const session *s, int64_t index, const int32_t *tokens, int64_t count)
{
    if (!count)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT,
                          "prompt %" PRId64 " is empty, and no token begins a text of this model; write some text",
                          index + 1);
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= s->info.vocab_size)
            return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT,
                              "token %" PRId64 " of prompt %" PRId64 " is %d; the model's vocabulary has %" PRId64
                              " entries: was it made with another tokenizer?",
                              i + 1, index + 1, (int)tokens[i], s->info.vocab_size);
    if (count < s->context_tokens) return INGOT_OK;
    return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT,
                      "prompt %" PRId64 " has %" PRId64 " tokens; with the %" PRId64
                      " positions of the context nothing can follow it.\nShorten it%s.",
                      index + 1, count, s->context_tokens,
                      s->info.rotary ? ", or use a larger --context"
                      : s->context_tokens < s->info.context
                          ? ", or use a larger --context (the model has more positions)"
                          : "; the model has no more positions");
}

static status find_limit(const session *s, const ingot_request *r, int64_t index, int64_t count, int64_t *limit)
{
    *limit = s->context_tokens;
    if (r->max_tokens) *limit = MIN(*limit, r->max_tokens < s->context_tokens ? count + r->max_tokens : *limit);
    int64_t most = s->pages.count * s->page_size;
    if (!r->max_tokens && count < most) *limit = MIN(*limit, most);
    if (pages_for(s, *limit) <= s->pages.count) return INGOT_OK;
    return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT,
                      "prompt %" PRId64 " needs room for %" PRId64 " tokens, the cache holds %" PRId64
                      "; give the session more cache_tokens, or generate fewer",
                      index + 1, *limit, most);
}

status prompt_tokens(const session *s, const ingot_request *r, int64_t index, int32_t **tokens, int64_t *count,
                     int64_t *limit)
{
    *tokens = NULL;
    if (r->max_tokens < 0 || r->samples < 0 || r->prompt_bytes < 0 || r->token_count < 0)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "counts of request %" PRId64 " must not be negative",
                          index + 1);
    TRY(r->tokens ? copy_ids(s, r, tokens, count) : encode(s, r, index, tokens, count));
    status failed = check_tokens(s, index, *tokens, *count);
    if (!failed) failed = find_limit(s, r, index, *count, limit);
    if (failed) {
        free(*tokens);
        *tokens = NULL;
    }
    return failed;
}
