/* The hand-written splitters against their regular expressions in PCRE2, and what is refused. */
#include "tests_text.h"
#include "text/utf8.h"

typedef ARRAY(size_t) cuts;

static void cut_with(cutter *c, const uint8_t *bytes, size_t length, cuts *out)
{
    size_t ends[CUT_WORDS];
    int count;
    out->count = 0;
    cutter_start(c, bytes, length);
    do {
        assert_ok(cutter_next(c, ends, &count));
        for (int i = 0; i < count; i++) assert_true(ARRAY_PUSH(out, ends[i]));
    } while (count);
}

typedef struct both {
    splitter *known, *steps;
    cutter known_cutter, steps_cutter;
    cuts by_hand, by_pcre2;
    const char *name;
} both;

static both both_of(const char *name)
{
    both b = {.name = name};
    split_step steps[SPLIT_STEPS];
    int count = split_known_steps(name, steps);
    assert_true(count > 0);
    assert_ok(splitter_new(ctx, steps, count, &b.known));
    assert_ok(splitter_new_by_steps(ctx, steps, count, &b.steps));
    assert_string_equal(split_known_name(splitter_known(b.known)), name);
    assert_int_equal(splitter_known(b.steps), SPLIT_BY_STEPS);
    assert_ok(cutter_init(&b.known_cutter, ctx, b.known));
    assert_ok(cutter_init(&b.steps_cutter, ctx, b.steps));
    return b;
}

static void free_both(both *b)
{
    cutter_free(&b->known_cutter);
    cutter_free(&b->steps_cutter);
    splitter_free(b->known);
    splitter_free(b->steps);
    ARRAY_FREE(&b->by_hand);
    ARRAY_FREE(&b->by_pcre2);
}

/* Both cut it; whether they cut alike. */
static bool same_cuts(both *b, const uint8_t *bytes, size_t length)
{
    cut_with(&b->known_cutter, bytes, length, &b->by_hand);
    cut_with(&b->steps_cutter, bytes, length, &b->by_pcre2);
    return b->by_hand.count == b->by_pcre2.count &&
           (!b->by_hand.count ||
            !memcmp(b->by_hand.at, b->by_pcre2.at, (size_t)b->by_hand.count * sizeof *b->by_hand.at));
}

static void assert_same_cuts(both *b, const uint8_t *bytes, size_t length)
{
    uint8_t *exact = malloc(length + !length); /* so that a sanitizer sees a byte read beyond the end */
    memcpy(exact, bytes, length);
    bool same = same_cuts(b, exact, length);
    free(exact);
    if (!same) {
        fprintf(stderr, "%s cuts differently:", b->name);
        for (size_t i = 0; i < length; i++) fprintf(stderr, " %02X", bytes[i]);
        fail_msg("see above");
    }
    if (length) assert_int_equal(b->by_hand.at[b->by_hand.count - 1], length);
}

/* Bits of text that sit at the edges of the patterns. */
static const char *const scraps[] = {
    " ",
    "  ",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\xC2\xA0",
    "\xE3\x80\x80",
    "\xE2\x80\xA8",
    "\xC2\x85",
    "\xE1\xA0\x8E",
    "a",
    "Z",
    "abc",
    "abcdefghijklmnop",
    "\xC3\xA9",
    "\xE6\xBC\xA2",
    "\xD0\x96",
    "e\xCC\x81",
    "\xC5\xBF",
    "\xE2\x84\xAA",
    "1",
    "12",
    "123",
    "1234",
    "\xD9\xA3",
    "\xC2\xBD",
    "\xE2\x85\xA7",
    "\xF0\x9D\x9F\x98",
    "'",
    "''",
    "'s",
    "'S",
    "'ll",
    "'LL",
    "'re",
    "'Ve",
    "'m",
    "'d",
    "'t",
    "'\xC5\xBF",
    "'r",
    "'l",
    ".",
    "!?",
    "_",
    "-",
    "\xE2\x80\x94",
    "\xF0\x9F\x98\x80",
    "\xE2\x80\x8D",
    "\xFF",
    "\xC3",
    "\xE2\x82",
    "\xED\xA0\x80",
};

static void random_scraps_are_cut_alike(void **state)
{
    (void)state;
    for (const char *const *name = split_known_names(); *name; name++) {
        both b = both_of(*name);
        rng r = rng_make(11, 0);
        for (int round = 0; round < 20000; round++) {
            text input = {0};
            for (uint32_t i = 0, count = rng_below(&r, 12); i < count; i++)
                text_puts(&input, scraps[rng_below(&r, COUNT(scraps))]);
            assert_same_cuts(&b, (const uint8_t *)(input.at ? input.at : ""), input.length);
            text_free(&input);
        }
        free_both(&b);
    }
}

static void every_code_point_is_cut_alike(void **state)
{
    (void)state;
    both b = both_of("llama-bpe"); /* its words depend on all four classes */
    int differing = 0;
    for (uint32_t code = 0; code < 0x110000; code++) {
        if (code >= 0xD800 && code < 0xE000) continue;
        uint8_t bytes[16];
        size_t length = 0;
        static const char *const around[] = {"a", " ", "1", "\n"};
        for (size_t i = 0; i < COUNT(around); i++) {
            bytes[length++] = (uint8_t)around[i][0];
            if (i % 2 == 0) length += utf8_encode(code, bytes + length);
        }
        differing += !same_cuts(&b, bytes, length);
    }
    /* utf8proc and PCRE2 may follow Unicode versions some years apart: each adds a few thousand letters. */
    assert_in_range(differing, 0, 12000);
    free_both(&b);
}

static void classes_are_unicode(void **state)
{
    (void)state;
    assert_int_equal(class_of(0x180E), CLASS_OTHER); /* was white space until Unicode 6.3; PCRE2's \s still takes it */
    assert_int_equal(class_of(0x85), CLASS_SPACE);
    assert_int_equal(class_of(0x200B), CLASS_OTHER);
    assert_int_equal(class_of(0x2028), CLASS_SPACE);
    assert_int_equal(class_of(0xBD), CLASS_NUMBER);
    assert_int_equal(class_of(0x5D0), CLASS_LETTER);
    assert_int_equal(class_of(0x301), CLASS_OTHER);
}

static void utf8_knows_what_is_valid(void **state)
{
    (void)state;
    static const char *const broken[] = {"\x80",
                                         "\xC0\x80",
                                         "\xC1\xBF",
                                         "\xE0\x80\x80",
                                         "\xE0\x9F\xBF",
                                         "\xED\xA0\x80",
                                         "\xF0\x80\x80\x80",
                                         "\xF0\x8F\xBF\xBF",
                                         "\xF4\x90\x80\x80",
                                         "\xF5\x80\x80\x80",
                                         "\xE2\x82",
                                         "\xF0\x9F\x98",
                                         "\xC3",
                                         "\xFF"};
    for (size_t i = 0; i < COUNT(broken); i++)
        assert_int_equal(utf8_valid((const uint8_t *)broken[i], strlen(broken[i])), 0);
    for (uint32_t code = 1; code < 0x110000; code++) {
        if (code == 0xD800) code = 0xE000;
        uint8_t bytes[4];
        size_t length = utf8_encode(code, bytes), decoded;
        assert_int_equal(utf8_valid(bytes, length), length);
        assert_int_equal(utf8_decode(bytes, &decoded), code);
        assert_int_equal(decoded, length);
    }
    assert_int_equal(utf8_valid((const uint8_t *)"0123456789abcde\xFFx", 17), 15);
}

static void byte_level_spelling_is_a_bijection(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) assert_int_equal(byte_level_byte(byte_level_code((uint8_t)byte)), byte);
    int spelled = 0;
    for (uint32_t code = 0; code < 0x300; code++) spelled += byte_level_byte(code) >= 0;
    assert_int_equal(spelled, 256);
    assert_int_equal(byte_level_code(' '), 0x120);
    assert_int_equal(byte_level_code('\n'), 0x10A);
}

static status try_pattern(const char *pattern)
{
    splitter *s;
    split_step step = {.kind = STEP_REGEX, .pattern = pattern, .length = strlen(pattern)};
    status failed = splitter_new(ctx, &step, 1, &s);
    splitter_free(s);
    return failed;
}

static void patterns_that_pcre2_cannot_follow_are_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {"(unclosed", "[a-z&&[^b]]", "[a[bc]]", "[\\W]", "\\p{NoSuchThing}",
                                          "",          "a\\C"};
    for (size_t i = 0; i < COUNT(refused); i++) {
        assert_int_equal(try_pattern(refused[i]), INGOT_ERROR_UNSUPPORTED);
        assert_true(strlen(ingot_message(ctx)) > 20);
    }
    static const char *const taken[] = {"\\s+",  "[^\\s\\p{L}]+",  "\\w+|\\W",  "[]x]",
                                        "[^]x]", "[[:alpha:]\\s]", "(?i:a)b++", "^a$"};
    for (size_t i = 0; i < COUNT(taken); i++) assert_ok(try_pattern(taken[i]));
}

static void gaps_and_empty_matches_are_words_too(void **state)
{
    (void)state;
    splitter *s;
    cuts found = {0};
    split_step steps[] = {{.kind = STEP_REGEX, .pattern = "\\d*", .length = 3},
                          {.kind = STEP_LITERAL, .pattern = "+", .length = 1}};
    assert_ok(splitter_new(ctx, steps, 2, &s));
    cutter c;
    assert_ok(cutter_init(&c, ctx, s));
    cut_with(&c, (const uint8_t *)"a+b12c", 6, &found);
    size_t expected[] = {1, 2, 3, 5, 6};
    assert_int_equal(found.count, COUNT(expected));
    assert_memory_equal(found.at, expected, sizeof expected);
    ARRAY_FREE(&found);
    cutter_free(&c);
    splitter_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_scraps_are_cut_alike),
        cmocka_unit_test(every_code_point_is_cut_alike),
        cmocka_unit_test(classes_are_unicode),
        cmocka_unit_test(utf8_knows_what_is_valid),
        cmocka_unit_test(byte_level_spelling_is_a_bijection),
        cmocka_unit_test(patterns_that_pcre2_cannot_follow_are_refused),
        cmocka_unit_test(gaps_and_empty_matches_are_words_too),
    };
    return cmocka_run_group_tests(tests, make_context, free_context);
}
