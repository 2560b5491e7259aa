#define _GNU_SOURCE /* memmem */
#include "infer/stream.h"

#include "text/utf8.h"

status stops_check(context *ctx, const char *const *stops, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        size_t length = strlen(stops[i]);
        if (length && utf8_valid((const uint8_t *)stops[i], length) == length) continue;
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "stop string %lld %s", (long long)i + 1,
                          length ? "is not UTF-8; generated text is cut between characters only" : "is empty");
    }
    return INGOT_OK;
}

status stream_init(context *ctx, stream *s, const ingot_tokenizer *t, const char *const *stops, int64_t stop_count)
{
    *s = (stream){.ctx = ctx, .tokenizer = t, .stops = stops, .stop_count = stop_count};
    return t ? ingot_decoder_new(t, &s->decoder) : INGOT_OK;
}

void stream_free(stream *s)
{
    ingot_decoder_free(s->decoder);
    s->decoder = NULL;
    text_free(&s->held);
}

/* Where the first stop string in the text begins, or its length. */
static size_t first_stop(const stream *s)
{
    size_t first = s->held.length;
    for (int64_t i = 0; i < s->stop_count; i++) {
        const char *at = memmem(s->held.at, s->held.length, s->stops[i], strlen(s->stops[i]));
        if (at && (size_t)(at - s->held.at) < first) first = (size_t)(at - s->held.at);
    }
    return first;
}

/* Where the longest end of the text that begins a stop string starts, or the text's length. */
static size_t possible_stop(const stream *s)
{
    size_t first = s->held.length;
    for (int64_t i = 0; i < s->stop_count; i++) {
        size_t most = MIN(strlen(s->stops[i]) - 1, s->held.length);
        for (size_t length = most; length; length--) {
            if (memcmp(s->held.at + s->held.length - length, s->stops[i], length)) continue;
            first = MIN(first, s->held.length - length);
            break;
        }
    }
    return first;
}

static void drop_given(stream *s)
{
    if (!s->given) return;
    s->held.length -= s->given;
    memmove(s->held.at, s->held.at + s->given, s->held.length + 1);
    s->given = 0;
}

static status give(stream *s, const char *more, int64_t bytes, bool last, const char **out, int64_t *count,
                   bool *stopped)
{
    drop_given(s);
    utf8_repair(&s->held, more, (size_t)bytes);
    if (s->held.failed) return fail_memory(s->ctx, "generated text", (uint64_t)bytes);
    size_t length = s->held.length, end = length ? first_stop(s) : 0;
    *stopped = end < length;
    s->given = *stopped || last || !length ? end : possible_stop(s);
    *out = length ? s->held.at : "";
    *count = (int64_t)s->given;
    if (*stopped) s->held.length = s->given; /* what follows a stop string is nobody's */
    return INGOT_OK;
}

status stream_next(stream *s, int32_t token, const char **bytes, int64_t *count, bool *stopped)
{
    const char *more = "";
    int64_t more_bytes = 0;
    /* Vocabularies of models are often padded: an id that the tokenizer lacks is no text. */
    if (s->decoder && ingot_token_spelling(s->tokenizer, token) && !ingot_token_is_special(s->tokenizer, token))
        TRY(ingot_decoder_next(s->decoder, token, &more, &more_bytes));
    return give(s, more, more_bytes, false, bytes, count, stopped);
}

status stream_end(stream *s, const char **bytes, int64_t *count)
{
    bool stopped; /* it is the end anyway */
    const char *more = "";
    int64_t more_bytes = 0;
    if (s->decoder) ingot_decoder_end(s->decoder, &more, &more_bytes);
    return give(s, more, more_bytes, true, bytes, count, &stopped);
}
