/* --clean: each cause repaired and counted, code and mathematics left alone, and the set of documents seen. */
#include "context.h"
#include "data/clean.h"
#include "data/markup.h"

#define FFFD "\xEF\xBF\xBD"

static void test_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        clean_counts counts;
    } cases[] = {
        {"plain\ttext\n", "plain\ttext\n", {0}},
        {"a\r\nb\rc\xC2\x85"
         "d\xE2\x80\xA8"
         "e",
         "a\nb\nc\nd\ne",
         {.line_ends = 4}},
        {"\xEF\xBB\xBFx\x01\x7F\xC2\x80y", "xy", {.control_bytes = 7}},
        {"a\xFF"
         "b",
         "a" FFFD "b",
         {.broken_sequences = 1}},
        {"a\xE4\xBD"
         "b\xE4\xBD\xA0",
         "a" FFFD "b\xE4\xBD\xA0",
         {.broken_sequences = 1}},
        {"\xC0\xAF\xED\xA0\x80", FFFD FFFD, {.broken_sequences = 2}}, /* overlong, a surrogate */
        {"\xF0\x9F\x98", FFFD, {.broken_sequences = 1}},
        {"\x80\x80", FFFD FFFD, {.broken_sequences = 2}},
        {"", "", {0}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        clean_counts counts = {0};
        text out = {0};
        text_puts(&out, "old");
        int64_t length = (int64_t)strlen(cases[i].from);
        assert_int_equal(clean_text(ctx, &(ingot_clean_options){.enabled = 1}, cases[i].from, length, &out, &counts),
                         0);
        assert_string_equal(out.length ? out.at : "", cases[i].to);
        assert_memory_equal(&counts, &cases[i].counts, sizeof counts);
        assert_int_equal(clean_count_broken(cases[i].from, length), cases[i].counts.broken_sequences);
        text_free(&out);
    }
}

static void test_nfc(void **state)
{
    (void)state;
    clean_counts counts = {0};
    text out = {0};
    const char *decomposed = "cafe\xCC\x81";
    assert_int_equal(clean_text(ctx, &(ingot_clean_options){0}, decomposed, 6, &out, &counts), 0);
    assert_string_equal(out.at, decomposed);
    assert_int_equal(clean_text(ctx, &(ingot_clean_options){.nfc = 1}, decomposed, 6, &out, &counts), 0);
    assert_string_equal(out.at, "caf\xC3\xA9");
    assert_int_equal(counts.composed, 1);
    text_free(&out);
}

static void test_markup(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"<p>One</p><p class=\"x\">Two &amp; three</P>", "One\nTwo & three\n"},
        {"a<br/>b<b>c</b> <!-- no --> d", "a\nbc  d"},
        {"x<script type=\"a\">if (a < b) {}</script>y<style>p{}</style>z", "xyz"},
        {"x<script>never ended", "xnever ended"},
        {"x<!-- never ended <i>y</i>", "x<!-- never ended y"},
        {"#include <stdio.h>\nif (a<b && c>d) x <b && c> y <T> <p and q>", NULL},
        {"for (i = 0; i <n; i++) {} 1 < 2 > 0 <- -> <=> <<>> <a", NULL},
        {"&lt;b&gt; &#65;&#x42; &#0; &#xD800; &unknown; & &; &#99999999;",
         "<b> AB &#0; &#xD800; &unknown; & &; &#99999999;"},
        {"<a href=\"x\">link</a>", "link"},
        {"", ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        text t = {0};
        text_puts(&t, cases[i].from);
        int64_t removed = markup_strip(&t);
        assert_string_equal(t.at, cases[i].to ? cases[i].to : cases[i].from);
        assert_int_equal((size_t)removed, strlen(cases[i].from) - t.length);
        text_free(&t);
    }
}

/* Unclosed tags by the thousand must not take the square of the time. */
static void test_markup_is_linear(void **state)
{
    (void)state;
    text t = {0};
    for (int i = 0; i < 100000; i++) text_puts(&t, "<script><!-- <a ");
    int64_t removed = markup_strip(&t);
    assert_int_equal(removed, 100000 * 8);
    text_free(&t);
}

static void test_hash_set(void **state)
{
    (void)state;
    hash_set set = {0};
    enum { MANY = 100000 };
    for (int round = 0; round < 2; round++)
        for (uint64_t i = 0; i < MANY; i++) {
            bool seen;
            assert_int_equal(hash_set_add(ctx, &set, i * 0x9E3779B97F4A7C15u, &seen), 0);
            assert_int_equal(seen, round);
        }
    assert_int_equal(set.count, MANY);
    assert_true(set.capacity * sizeof *set.at <= 16 * MANY + 16);
    hash_set_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),    cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_markup),   cmocka_unit_test(test_markup_is_linear),
        cmocka_unit_test(test_hash_set),
    };
    return cmocka_run_group_tests(tests, context_open, context_close);
}
