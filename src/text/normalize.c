/* Unicode normalisation forms (UAX 15), by utf8proc. ASCII is in every form already, so only the rest is looked at. */
#include "text/tokenizer.h"

#include <utf8proc.h>

static bool is_ascii(const uint8_t *bytes, size_t length)
{
    size_t i = 0;
    for (uint64_t eight; i + 8 <= length; i += 8)
        if (memcpy(&eight, bytes + i, 8), eight & 0x8080808080808080u) return false;
    for (; i < length; i++)
        if (bytes[i] & 0x80) return false;
    return true;
}

static utf8proc_option_t options_of(normal_form form)
{
    switch (form) {
    case NORMAL_NFC: return UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    case NORMAL_NFD: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    case NORMAL_NFKC: return UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    case NORMAL_NFKD: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    case NORMAL_NONE: break;
    }
    return 0;
}

/* A line at a time: no form composes across a line end, and utf8proc takes 4 bytes a code point of scratch. */
status normalize(context *ctx, normal_form form, const uint8_t *bytes, size_t length, text *out)
{
    for (size_t at = 0, end; at < length; at = end) {
        const uint8_t *newline = memchr(bytes + at, '\n', length - at);
        end = newline ? (size_t)(newline - bytes) + 1 : length;
        if (form == NORMAL_NONE || is_ascii(bytes + at, end - at)) {
            text_add(out, (const char *)bytes + at, end - at);
        } else {
            utf8proc_uint8_t *formed = NULL;
            utf8proc_ssize_t count = utf8proc_map(bytes + at, (utf8proc_ssize_t)(end - at), &formed, options_of(form));
            if (count < 0)
                return ingot_fail(ctx, INGOT_ERROR_MEMORY, "cannot normalise a line of %zu bytes: %s", end - at,
                                  utf8proc_errmsg(count));
            text_add(out, (const char *)formed, (size_t)count);
            free(formed);
        }
        if (out->failed) return fail_memory(ctx, "normalised text", length);
    }
    return INGOT_OK;
}
