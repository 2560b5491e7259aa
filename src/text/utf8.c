/* UTF-8, character classes (utf8proc's Unicode data), and the byte-level spelling. */
#include "text/utf8.h"

#include <utf8proc.h>

size_t utf8_sequence(const uint8_t *at, size_t length)
{
    size_t bytes = utf8_expected(at[0]);
    if (bytes < 2 || bytes > length) return bytes == 1;
    for (size_t i = 1; i < bytes; i++)
        if ((at[i] & 0xC0) != 0x80) return 0;
    bool long_form = (at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xF0 && at[1] < 0x90);
    bool surrogate = at[0] == 0xED && at[1] >= 0xA0;
    bool too_high = at[0] == 0xF4 && at[1] >= 0x90;
    return long_form || surrogate || too_high ? 0 : bytes;
}

bool utf8_begins(const uint8_t *at, size_t length)
{
    size_t expected = utf8_expected(*at);
    if (length > expected) return false;
    /* Completed with the least or the greatest continuation it is valid, or nothing completes it. */
    uint8_t least[4] = {0x80, 0x80, 0x80, 0x80}, most[4] = {0xBF, 0xBF, 0xBF, 0xBF};
    memcpy(least, at, length);
    memcpy(most, at, length);
    return utf8_sequence(least, expected) || utf8_sequence(most, expected);
}

void utf8_repair(text *out, const char *bytes, size_t length)
{
    const uint8_t *at = (const uint8_t *)bytes;
    for (size_t i = 0; i < length;) {
        size_t valid = utf8_valid(at + i, length - i), broken = 1;
        text_add(out, bytes + i, valid);
        i += valid;
        if (i == length) return;
        while (broken < 3 && i + broken < length && utf8_begins(at + i, broken + 1)) broken++;
        text_puts(out, "\xEF\xBF\xBD");
        i += broken;
    }
}

size_t utf8_valid(const uint8_t *at, size_t length)
{
    size_t i = 0;
    while (i < length) {
        uint64_t eight;
        while (i + 8 <= length && (memcpy(&eight, at + i, 8), !(eight & 0x8080808080808080u))) i += 8;
        if (i == length) break;
        size_t bytes = utf8_sequence(at + i, length - i);
        if (!bytes) break;
        i += bytes;
    }
    return i;
}

size_t utf8_encode(uint32_t code, uint8_t out[4])
{
    if (code < 0x80) return out[0] = (uint8_t)code, 1;
    size_t bytes = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = bytes - 1; i > 0; i--, code >>= 6) out[i] = (uint8_t)(0x80 | (code & 0x3F));
    out[0] = (uint8_t)((0xF00 >> bytes) | code);
    return bytes;
}

code_class class_beyond_ascii(uint32_t code)
{
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return CLASS_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return CLASS_NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return CLASS_SPACE;
    default: return code == 0x85 ? CLASS_SPACE : CLASS_OTHER;
    }
}

bool is_word_character(uint32_t code)
{
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return code == 0x200C || code == 0x200D;
    }
}

/* Bytes that are not printable in Latin-1 take U+0100 and on, in their order: 00-20, 7F-A0, AD. */
uint32_t byte_level_code(uint8_t byte)
{
    if (byte <= 0x20) return 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0) return 0x121u + (byte - 0x7Fu);
    return byte == 0xAD ? 0x143 : byte;
}

int byte_level_byte(uint32_t code)
{
    if (code >= 0x100 && code <= 0x120) return (int)(code - 0x100);
    if (code >= 0x121 && code <= 0x142) return (int)(code - 0x121 + 0x7F);
    if (code == 0x143) return 0xAD;
    return code < 0x100 && byte_level_code((uint8_t)code) == code ? (int)code : -1;
}

void byte_level_spell(text *out, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        uint8_t sequence[4];
        size_t count = utf8_encode(byte_level_code(bytes[i]), sequence);
        text_add(out, (const char *)sequence, count);
    }
}

bool byte_level_bytes(text *out, const char *spelling, size_t length)
{
    const uint8_t *at = (const uint8_t *)spelling;
    size_t before = out->length;
    for (size_t i = 0, bytes; i < length; i += bytes) {
        bytes = utf8_sequence(at + i, length - i);
        int byte = bytes ? byte_level_byte(utf8_decode(at + i, &bytes)) : -1;
        if (byte < 0) {
            out->length = before;
            return false;
        }
        char c = (char)byte;
        text_add(out, &c, 1);
    }
    return true;
}
