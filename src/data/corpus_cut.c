/* Where a document may be cut so that its pieces, encoded apart, give the ids of the whole.
 *
 * Every pre-tokenizer here (GPT-2, Llama 3, Qwen2, digits) begins a word
 *   - behind a line end that stands alone: "x\ny", where neither x nor y is white space;
 *   - before a space that stands alone between two letters: "x y".
 * No match of their patterns reaches over such a place, and none looks ahead over it to another result.
 */
#include "data/corpus.h"

#include <utf8proc.h>

static bool is_ascii_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_continuation(char c)
{
    return ((uint8_t)c & 0xC0) == 0x80;
}

int64_t corpus_character_start(const char *bytes, int64_t at)
{
    for (int back = 0; back < 3 && at > 0 && is_continuation(bytes[at]); back++) at--;
    return at;
}

/* Whether a character that can be seen, not white space or control, begins at bytes[at]; false when in doubt. */
static bool is_visible(const char *bytes, int64_t at, int64_t end)
{
    if ((uint8_t)bytes[at] < 0x80) return bytes[at] > ' ' && bytes[at] < 0x7F;
    utf8proc_int32_t point;
    if (utf8proc_iterate((const utf8proc_uint8_t *)bytes + at, end - at, &point) < 0) return false;
    switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN: return false;
    default: return true;
    }
}

/* `<` is avoided behind a line end: a line <|endoftext|> may begin there, and the line end is then a part of it. */
static bool cuts_line(const char *bytes, int64_t at, int64_t end)
{
    return at >= 2 && bytes[at - 1] == '\n' && bytes[at] != '<' && is_visible(bytes, at, end) &&
           is_visible(bytes, corpus_character_start(bytes, at - 2), at);
}

static bool cuts_words(const char *bytes, int64_t at, int64_t end)
{
    return at >= 1 && at + 1 < end && bytes[at] == ' ' && is_ascii_letter(bytes[at - 1]) &&
           is_ascii_letter(bytes[at + 1]);
}

int64_t corpus_safe_cut(const char *bytes, int64_t count, int64_t least, int64_t most)
{
    for (int64_t at = most; at > least; at--)
        if (cuts_line(bytes, at, count)) return at;
    for (int64_t at = most; at > least; at--)
        if (cuts_words(bytes, at, count)) return at;
    return -1;
}
