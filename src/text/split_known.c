/* The patterns that most models use, cut by hand: the same words as their regular expressions give, several times
 * faster (tests/unit/test_text_split.c compares them with PCRE2; tools/peers/tokenizer.py measures).
 *
 *     gpt-2      's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *     smollm     each \p{N} alone, then gpt-2 within the pieces
 *     llama-bpe  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *     qwen2      the same with \p{N} in place of \p{N}{1,3}
 *
 * Each function gets valid UTF-8 and reads only [at, end).
 */
#include "text/split.h"
#include "text/utf8.h"

#define HIGH_BITS  0x8080808080808080u
#define EACH(byte) ((uint64_t)(byte)*0x0101010101010101u)

/* The high bit of each byte that is an ASCII letter. */
static inline uint64_t letters_of(uint64_t eight)
{
    uint64_t lower = (eight | EACH(0x20)) & ~HIGH_BITS;
    uint64_t from_a = lower + EACH(0x80 - 'a'), beyond_z = lower + EACH(0x7F - 'z');
    return from_a & ~beyond_z & ~eight & HIGH_BITS;
}

/* The end of the run of characters of class `class` that goes on at `at`. */
static inline size_t run_end(const uint8_t *bytes, size_t at, size_t end, code_class class)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (class == CLASS_LETTER) {
        uint64_t eight;
        while (at + 8 <= end) {
            memcpy(&eight, bytes + at, 8);
            uint64_t others = ~letters_of(eight) & HIGH_BITS;
            if (others) {
                at += (size_t)__builtin_ctzll(others) >> 3;
                break;
            }
            at += 8;
        }
    }
#endif
    for (size_t length; at < end; at += length)
        if (class_of(utf8_decode(bytes + at, &length)) != class) break;
    return at;
}

/* Bytes of the contraction at `at`, which is an apostrophe; 0 when it is none. */
static inline size_t contraction(const uint8_t *bytes, size_t at, size_t end, bool any_case)
{
    size_t left = end - at;
    if (left < 2) return 0;
    uint8_t fold = any_case ? 0x20 : 0, a = bytes[at + 1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (left < 3) return 0;
    uint8_t b = bytes[at + 2] | fold;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    /* U+017F, the long s, is an s to (?i: */
    return any_case && bytes[at + 1] == 0xC5 && bytes[at + 2] == 0xBF ? 3 : 0;
}

/* White space from `at` on, which is no prefix of what follows: all of it at the text's end (or, `number_ends`, before a
 * number), else all but its last character, else that one. */
static inline size_t space_end(const uint8_t *bytes, size_t at, size_t end, bool number_ends)
{
    size_t run = run_end(bytes, at, end, CLASS_SPACE), length;
    if (run == end || (number_ends && class_of(utf8_decode(bytes + run, &length)) == CLASS_NUMBER)) return run;
    size_t last = (size_t)(utf8_previous(bytes + at, bytes + run) - bytes);
    return last > at ? last : run;
}

static inline size_t gpt2_word(const uint8_t *bytes, size_t at, size_t end, bool digits_alone)
{
    size_t length;
    if (bytes[at] == '\'') {
        length = contraction(bytes, at, end, false);
        if (length) return at + length;
    }
    code_class class = class_of(utf8_decode(bytes + at, &length));
    if (class == CLASS_SPACE) {
        if (bytes[at] != ' ' || at + 1 == end) return space_end(bytes, at, end, digits_alone);
        class = class_of(utf8_decode(bytes + at + 1, &length));
        if (class == CLASS_SPACE || (digits_alone && class == CLASS_NUMBER))
            return space_end(bytes, at, end, digits_alone);
        length++;
    } else if (digits_alone && class == CLASS_NUMBER) {
        return at + length;
    }
    return run_end(bytes, at + length, end, class);
}

static inline size_t newlines_end(const uint8_t *bytes, size_t at, size_t end)
{
    while (at < end && (bytes[at] == '\n' || bytes[at] == '\r')) at++;
    return at;
}

/* White space in the newer patterns: through its last line end if it has one. */
static inline size_t lines_end(const uint8_t *bytes, size_t at, size_t end)
{
    size_t run = run_end(bytes, at, end, CLASS_SPACE), i = run;
    while (i > at && bytes[i - 1] != '\n' && bytes[i - 1] != '\r') i--;
    if (i > at) return i;
    return space_end(bytes, at, end, false);
}

static inline size_t modern_word(const uint8_t *bytes, size_t at, size_t end, int most_digits)
{
    size_t length, next = 0;
    if (bytes[at] == '\'') {
        length = contraction(bytes, at, end, true);
        if (length) return at + length;
    }
    code_class class = class_of(utf8_decode(bytes + at, &length));
    if (class == CLASS_LETTER) return run_end(bytes, at + length, end, CLASS_LETTER);
    if (class == CLASS_NUMBER) {
        size_t i = at + length;
        for (int digits = 1; digits < most_digits && i < end; digits++, i += next)
            if (class_of(utf8_decode(bytes + i, &next)) != CLASS_NUMBER) break;
        return i;
    }
    code_class second = CLASS_SPACE;
    size_t i = at + length;
    if (i < end) second = class_of(utf8_decode(bytes + i, &next));
    if (i < end && second == CLASS_LETTER && bytes[at] != '\n' && bytes[at] != '\r')
        return run_end(bytes, i + next, end, CLASS_LETTER);
    if (class == CLASS_OTHER) return newlines_end(bytes, run_end(bytes, i, end, CLASS_OTHER), end);
    if (bytes[at] == ' ' && i < end && second == CLASS_OTHER)
        return newlines_end(bytes, run_end(bytes, i + next, end, CLASS_OTHER), end);
    return lines_end(bytes, at, end);
}

/* One loop for each pattern, so that its flags are constants within it. */
#define CUT_LOOP(word)                                                                                                 \
    do {                                                                                                               \
        int count = 0;                                                                                                 \
        for (; at < end && count < CUT_WORDS; count++) ends[count] = at = (word);                                      \
        return count;                                                                                                  \
    } while (0)

int cut_known(split_known known, const uint8_t *bytes, size_t at, size_t end, size_t ends[CUT_WORDS])
{
    switch (known) {
    case SPLIT_LLAMA_BPE: CUT_LOOP(modern_word(bytes, at, end, 3));
    case SPLIT_QWEN2: CUT_LOOP(modern_word(bytes, at, end, 1));
    case SPLIT_SMOLLM: CUT_LOOP(gpt2_word(bytes, at, end, true));
    case SPLIT_GPT2: CUT_LOOP(gpt2_word(bytes, at, end, false));
    case SPLIT_BY_STEPS: break;
    }
    return 0;
}
