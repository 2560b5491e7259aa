/* Regular expressions of tokenizer.json, through PCRE2 with UTF, UCP and its JIT.
 *
 * They are written for another engine (Oniguruma with Ruby's syntax); what PCRE2 reads differently is rewritten or
 * refused:
 *   \s \S   White_Space as in Unicode (PCRE2's own also takes U+180E)
 *   \w \W   letters, marks, decimal numbers, connectors; \h \H hexadecimal digits; \W and \H within a set are refused
 *   [a[bc]] [a&&b]   sets within sets, intersections: refused
 *   ^ $     at every line
 */
#include "text/split.h"

#include <pcre2.h>

#define JIT_STACK_BYTES (4 << 20) /* patterns of real tokenizers use less than 32 KB, whatever the text */

struct regex {
    pcre2_code *code;
};

struct regex_scratch {
    pcre2_match_data *match;
    pcre2_match_context *options;
    pcre2_jit_stack *stack;
};

#define WORD_CLASSES "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define HEX_DIGITS   "0-9a-fA-F"

/* What the escape \e stands for, NULL for itself or when it cannot be said within a set. */
static const char *translated_escape(char e, bool in_set)
{
    switch (e) {
    case 's': return "\\p{White_Space}";
    case 'S': return "\\P{White_Space}";
    case 'w': return in_set ? WORD_CLASSES : "[" WORD_CLASSES "]";
    case 'h': return in_set ? HEX_DIGITS : "[" HEX_DIGITS "]";
    case 'W': return in_set ? NULL : "[^" WORD_CLASSES "]";
    case 'H': return in_set ? NULL : "[^" HEX_DIGITS "]";
    default: return NULL;
    }
}

static status translate(context *ctx, const char *pattern, size_t length, text *out)
{
    bool in_set = false;
    for (size_t i = 0, set_start = 0; i < length; i++) {
        char c = pattern[i], next = i + 1 < length ? pattern[i + 1] : 0;
        if (c == '\\' && next) {
            const char *other = translated_escape(next, in_set);
            if (!other && (next == 'W' || next == 'H'))
                return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                                  "the pre-tokenizer's pattern has \\%c within a set; write out its classes", next);
            if (other)
                text_puts(out, other);
            else
                text_add(out, pattern + i, 2);
            i++;
            continue;
        }
        if (in_set && ((c == '[' && next != ':') || (c == '&' && next == '&')))
            return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                              "the pre-tokenizer's pattern has a set within a set, which PCRE2 reads differently; "
                              "rewrite it with an alternative or a look-ahead");
        if (in_set && c == '[') { /* [:alpha:] */
            text_add(out, pattern + i, 2);
            for (i += 2; i < length && pattern[i] != ']'; i++) text_add(out, pattern + i, 1);
            if (i < length) text_add(out, "]", 1);
            continue;
        }
        if (!in_set && c == '[') {
            in_set = true;
            set_start = i + 1 + (next == '^');
        } else if (in_set && c == ']' && i > set_start) {
            in_set = false;
        }
        text_add(out, &c, 1);
    }
    return out->failed ? fail_memory(ctx, "a pattern", length) : INGOT_OK;
}

static status compile(context *ctx, const text *pattern, uint32_t options, const char *shown, int shown_length,
                      pcre2_code **out)
{
    int error;
    PCRE2_SIZE where;
    *out = pcre2_compile((PCRE2_SPTR)pattern->at, pattern->length, options, &error, &where, NULL);
    if (*out) {
        pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where there is no JIT, the interpreter runs */
        return INGOT_OK;
    }
    PCRE2_UCHAR message[160];
    pcre2_get_error_message(error, message, sizeof message);
    return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                      "the pre-tokenizer's pattern \"%.*s\" cannot be used: PCRE2 says \"%s\" (near byte %zu); cut the "
                      "text with a pattern that PCRE2 knows",
                      MIN(shown_length, 300), shown, (char *)message, (size_t)where);
}

status regex_new(context *ctx, const char *pattern, size_t length, bool literal, regex **out)
{
    *out = NULL;
    if (!length)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "the pre-tokenizer has an empty pattern, which cuts nothing");
    if (length > 65536)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "the pre-tokenizer's pattern has %zu bytes; at most 65536",
                          length);
    text translated = {0};
    status s = INGOT_OK;
    if (literal)
        text_add(&translated, pattern, length);
    else
        s = translate(ctx, pattern, length, &translated);
    if (!s && translated.failed) s = fail_memory(ctx, "a pattern", length);
    pcre2_code *code = NULL;
    if (!s)
        s = compile(ctx, &translated,
                    PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C),
                    pattern, (int)length, &code);
    text_free(&translated);
    if (s) return s;
    *out = malloc(sizeof **out);
    if (!*out) {
        pcre2_code_free(code);
        return fail_memory(ctx, "a pattern", sizeof **out);
    }
    (*out)->code = code;
    return INGOT_OK;
}

void regex_free(regex *r)
{
    if (!r) return;
    pcre2_code_free(r->code);
    free(r);
}

status regex_scratch_new(context *ctx, regex_scratch **out)
{
    regex_scratch *s = calloc(1, sizeof *s);
    *out = s;
    if (s) {
        s->match = pcre2_match_data_create(1, NULL);
        s->options = pcre2_match_context_create(NULL);
        s->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_BYTES, NULL);
    }
    if (s && s->match && s->options) {
        if (s->stack) pcre2_jit_stack_assign(s->options, NULL, s->stack);
        return INGOT_OK;
    }
    regex_scratch_free(s);
    *out = NULL;
    return fail_memory(ctx, "a regular expression", sizeof *s);
}

void regex_scratch_free(regex_scratch *s)
{
    if (!s) return;
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->options);
    pcre2_jit_stack_free(s->stack);
    free(s);
}

status regex_find(const regex *r, regex_scratch *s, context *ctx, const uint8_t *subject, size_t length, size_t at,
                  size_t *from, size_t *to)
{
    *from = *to = length;
    while (at < length) {
        int found = pcre2_match(r->code, subject, length, at, PCRE2_NO_UTF_CHECK, s->match, s->options);
        if (found == PCRE2_ERROR_NOMATCH) return INGOT_OK;
        if (found < 0) {
            PCRE2_UCHAR message[160];
            pcre2_get_error_message(found, message, sizeof message);
            return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                              "the pre-tokenizer's pattern gave up at byte %zu of a text of %zu: %s", at, length,
                              (char *)message);
        }
        PCRE2_SIZE *range = pcre2_get_ovector_pointer(s->match);
        if (range[1] > range[0] && range[0] >= at) {
            *from = range[0];
            *to = range[1];
            return INGOT_OK;
        }
        at = MAX(at, range[1]);
        do at++; /* an empty match: look on from the next character */
        while (at < length && (subject[at] & 0xC0) == 0x80);
    }
    return INGOT_OK;
}
