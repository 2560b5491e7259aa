/* UTF-8 and the classes of code points that pre-tokenizers know: letter, number, white space, anything else.
 *
 * Text is bytes and may hold anything; utf8_valid says how much of it is UTF-8 (RFC 3629: no surrogates, no long forms),
 * and only such stretches reach the functions that decode.
 */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H

#include "base/base.h"

/* Length of the longest valid UTF-8 prefix, whole sequences only. */
size_t utf8_valid(const uint8_t *at, size_t length);

/* Length of the valid sequence at `at`, 0 when there is none. length > 0. */
size_t utf8_sequence(const uint8_t *at, size_t length);

/* Can more bytes make a valid sequence of these? length from 1 to 4. */
bool utf8_begins(const uint8_t *at, size_t length);

/* Appends the bytes with U+FFFD in place of what is no UTF-8, one for each broken sequence: as Python's
 * bytes.decode(errors="replace") and Hugging Face's decoders do it. */
void utf8_repair(text *out, const char *bytes, size_t length);

/* How many bytes the sequence that `lead` begins has; 0 when no sequence begins so. */
static inline size_t utf8_expected(uint8_t lead)
{
    if (lead < 0x80) return 1;
    if (lead < 0xC2) return 0;
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
}

/* The code point at `at`, which is valid UTF-8; *bytes is its length. */
static inline uint32_t utf8_decode(const uint8_t *at, size_t *bytes)
{
    if (at[0] < 0x80) return *bytes = 1, at[0];
    if (at[0] < 0xE0) return *bytes = 2, (at[0] & 0x1Fu) << 6 | (at[1] & 0x3Fu);
    if (at[0] < 0xF0) return *bytes = 3, (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu);
    *bytes = 4;
    return (at[0] & 0x07u) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu);
}

/* The start of the sequence that ends before `at` (at > begin). */
static inline const uint8_t *utf8_previous(const uint8_t *begin, const uint8_t *at)
{
    do at--;
    while (at > begin && (*at & 0xC0) == 0x80);
    return at;
}

/* Writes the code point and returns how many bytes it took (1 to 4). */
size_t utf8_encode(uint32_t code, uint8_t out[4]);

typedef enum code_class { CLASS_OTHER, CLASS_LETTER, CLASS_NUMBER, CLASS_SPACE } code_class;

/* \p{L}, \p{N}, \p{White_Space} of code points from 0x80 on. */
code_class class_beyond_ascii(uint32_t code);

static inline code_class class_of(uint32_t code)
{
    if (code >= 0x80) return class_beyond_ascii(code);
    if ((code | 0x20) - 'a' < 26) return CLASS_LETTER;
    if (code - '0' < 10) return CLASS_NUMBER;
    return code == ' ' || code - '\t' < 5 ? CLASS_SPACE : CLASS_OTHER;
}

/* \w of Unicode's regular expressions: letters, marks, decimal numbers, connectors, joiners. */
bool is_word_character(uint32_t code);

/* Byte-level spelling (GPT-2): each byte is written as a printable character, so that tokens are readable text. Space is
 * U+0120, written with a dot above a G; letters, digits and punctuation are themselves. */
uint32_t byte_level_code(uint8_t byte);
int byte_level_byte(uint32_t code); /* -1: no byte is spelled so */

/* Both ways, appended to out. The second is false, with nothing appended, when `spelling` is not such a spelling. */
void byte_level_spell(text *out, const uint8_t *bytes, size_t length);
bool byte_level_bytes(text *out, const char *spelling, size_t length);

#endif
