/* Ids to text: at once, or one by one without ever ending within a UTF-8 sequence. */
#include "text/tokenizer.h"
#include "text/utf8.h"

static status unknown_id(const tokenizer *t, int id)
{
    return ingot_fail(t->ctx, INGOT_ERROR_ARGUMENT,
                      "id %d is not in this tokenizer's vocabulary (0 to %d); were these ids made with another one?",
                      id, t->size - 1);
}

status ingot_decode(const ingot_tokenizer *t, const int32_t *ids, int64_t count, char **out, int64_t *bytes)
{
    *out = NULL;
    *bytes = 0;
    uint64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= t->size) return unknown_id(t, ids[i]);
        total += t->tokens[ids[i]].length;
    }
    char *decoded = total < INT64_MAX ? malloc((size_t)total + 1) : NULL;
    if (!decoded) return fail_memory(t->ctx, "decoded text", total);
    char *at = decoded;
    for (int64_t i = 0; i < count; i++) {
        const token_entry *entry = &t->tokens[ids[i]];
        memcpy(at, entry->bytes, entry->length);
        at += entry->length;
    }
    *at = 0;
    *out = decoded;
    *bytes = (int64_t)total;
    return INGOT_OK;
}

struct ingot_decoder {
    const tokenizer *t;
    text bytes; /* what was given out by the last call, then what is held back */
    size_t given;
};

status ingot_decoder_new(const ingot_tokenizer *t, ingot_decoder **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return fail_memory(t->ctx, "a decoder", sizeof **out);
    (*out)->t = t;
    return INGOT_OK;
}

void ingot_decoder_free(ingot_decoder *d)
{
    if (!d) return;
    text_free(&d->bytes);
    free(d);
}

/* How many bytes at the end begin a sequence that may still become whole. */
static size_t unfinished(const uint8_t *bytes, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        const uint8_t *lead = bytes + length - back;
        if ((*lead & 0xC0) == 0x80) continue;
        return back < utf8_expected(*lead) && utf8_begins(lead, back) ? back : 0;
    }
    return 0;
}

status ingot_decoder_next(ingot_decoder *d, int id, const char **bytes, int64_t *count)
{
    *bytes = "";
    *count = 0;
    const tokenizer *t = d->t;
    if (id < 0 || id >= t->size) return unknown_id(t, id);
    if (d->given) memmove(d->bytes.at, d->bytes.at + d->given, d->bytes.length - d->given);
    d->bytes.length -= d->given;
    d->given = 0;
    text_add(&d->bytes, (const char *)t->tokens[id].bytes, t->tokens[id].length);
    if (d->bytes.failed) return fail_memory(t->ctx, "decoded text", t->tokens[id].length);
    d->given = d->bytes.length - unfinished((const uint8_t *)d->bytes.at, d->bytes.length);
    *bytes = d->bytes.at;
    *count = (int64_t)d->given;
    return INGOT_OK;
}

void ingot_decoder_end(ingot_decoder *d, const char **bytes, int64_t *count)
{
    *bytes = d->bytes.at ? d->bytes.at + d->given : "";
    *count = (int64_t)(d->bytes.length - d->given);
    d->bytes.length = d->given = 0;
}
