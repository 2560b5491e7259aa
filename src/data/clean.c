/* Cleaning of one document: UTF-8, controls and line ends in one pass, then markup, then NFC; see clean.h. */
#include "data/clean.h"
#include "data/markup.h"

#include <utf8proc.h>

enum { NEL = 0x85, LINE_SEPARATOR = 0x2028, PARAGRAPH_SEPARATOR = 0x2029, BYTE_ORDER_MARK = 0xFEFF, DELETE = 0x7F };

/* Bytes of the code point at `at`, 0 when it is broken. */
static int64_t decode(const char *at, int64_t left, utf8proc_int32_t *point)
{
    utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)at, left, point);
    return bytes > 0 ? bytes : 0;
}

/* Bytes of the broken sequence at `at`: its first byte and the continuations behind it that belong to no other. */
static int64_t broken_length(const char *at, int64_t left)
{
    uint8_t lead = (uint8_t)*at;
    int64_t most = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2, length = 1;
    if (lead < 0xC0 || lead >= 0xF8) return 1;
    while (length < MIN(most, left) && ((uint8_t)at[length] & 0xC0) == 0x80) length++;
    return length;
}

/* Bytes from `at` on that need no look: ASCII that is not a control, tabs, newlines. */
static int64_t plain_run(const char *at, int64_t left)
{
    int64_t i = 0;
    while (i < left && ((at[i] >= ' ' && at[i] < DELETE) || at[i] == '\n' || at[i] == '\t')) i++;
    return i;
}

static void clean_bytes(const char *bytes, int64_t count, text *out, clean_counts *counts)
{
    for (int64_t i = 0; i < count;) {
        int64_t plain = plain_run(bytes + i, count - i);
        text_add(out, bytes + i, (size_t)plain);
        i += plain;
        if (i == count) break;
        utf8proc_int32_t point;
        int64_t length = decode(bytes + i, count - i, &point);
        if (!length) {
            counts->broken_sequences++;
            text_puts(out, "\xEF\xBF\xBD");
            length = broken_length(bytes + i, count - i);
        } else if (point == '\r' || point == NEL || point == LINE_SEPARATOR || point == PARAGRAPH_SEPARATOR) {
            if (point == '\r' && i + 1 < count && bytes[i + 1] == '\n') length = 2;
            counts->line_ends++;
            text_puts(out, "\n");
        } else if (point < ' ' || (point >= DELETE && point < 0xA0) || point == BYTE_ORDER_MARK) {
            counts->control_bytes += length;
        } else {
            text_add(out, bytes + i, (size_t)length);
        }
        i += length;
    }
}

int64_t clean_count_broken(const char *bytes, int64_t count)
{
    int64_t broken = 0;
    for (int64_t i = 0; i < count;) {
        if ((uint8_t)bytes[i] < 0x80) {
            i++;
            continue;
        }
        utf8proc_int32_t point;
        int64_t length = decode(bytes + i, count - i, &point);
        if (!length) broken++;
        i += length ? length : broken_length(bytes + i, count - i);
    }
    return broken;
}

static bool is_ascii(const text *t)
{
    for (size_t i = 0; i < t->length; i++)
        if ((uint8_t)t->at[i] >= 0x80) return false;
    return true;
}

static status compose(context *ctx, text *t, clean_counts *counts)
{
    utf8proc_uint8_t *composed;
    utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)t->at, (utf8proc_ssize_t)t->length, &composed,
                                           UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    if (length < 0) return ingot_fail(ctx, INGOT_ERROR_MEMORY, "NFC: %s", utf8proc_errmsg(length));
    counts->composed += (size_t)length != t->length || memcmp(composed, t->at, t->length) != 0;
    t->length = 0;
    text_add(t, (const char *)composed, (size_t)length);
    free(composed);
    return INGOT_OK;
}

status clean_text(context *ctx, const ingot_clean_options *options, const char *bytes, int64_t count, text *out,
                  clean_counts *counts)
{
    out->length = 0;
    clean_bytes(bytes, count, out, counts);
    if (!options->keep_markup && !out->failed && out->length) counts->markup_bytes += markup_strip(out);
    if (out->failed) return fail_memory(ctx, "a document", (uint64_t)count);
    return options->nfc && !is_ascii(out) ? compose(ctx, out, counts) : INGOT_OK;
}

/* Linear probing between 1/2 and 3/4 full: 10.7 to 16 bytes an entry. */
static void insert(hash_set *set, uint64_t hash, bool *seen)
{
    uint64_t slot = (uint64_t)((unsigned __int128)hash * set->capacity >> 64);
    while (set->at[slot] && set->at[slot] != hash) slot = slot + 1 == set->capacity ? 0 : slot + 1;
    *seen = set->at[slot] == hash;
    set->at[slot] = hash;
    set->count += !*seen;
}

status hash_set_add(context *ctx, hash_set *set, uint64_t hash, bool *seen)
{
    if (!hash) hash = 1;
    if (set->count + 1 > set->capacity / 4 * 3) {
        hash_set grown = {.capacity = set->capacity ? set->capacity / 2 * 3 : 1024};
        grown.at = calloc(grown.capacity, sizeof *grown.at);
        if (!grown.at) return fail_memory(ctx, "the documents seen", grown.capacity * sizeof *grown.at);
        for (uint64_t i = 0; i < set->capacity; i++) {
            bool known;
            if (set->at[i]) insert(&grown, set->at[i], &known);
        }
        hash_set_free(set);
        *set = grown;
    }
    insert(set, hash, seen);
    return INGOT_OK;
}

void hash_set_free(hash_set *set)
{
    free(set->at);
    *set = (hash_set){0};
}
