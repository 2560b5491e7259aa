/* Text from tokens that come one by one: UTF-8 stays whole, stop strings are found across tokens and never shown. */
#include "tests_text.h"

#include "infer/stream.h"
#include "text/utf8.h"

/* Feeds the bytes of `input`, a token each; the text that came out, each piece in [ ] when `pieces`. */
static bool feed(const ingot_tokenizer *t, const char *input, const char *const *stops, int64_t stop_count, bool pieces,
                 char *out)
{
    stream s;
    const char *bytes;
    int64_t count;
    bool stopped = false;
    *out = 0;
    assert_ok(stops_check(ctx, stops, stop_count));
    assert_ok(stream_init(ctx, &s, t, stops, stop_count));
    for (const char *c = input; *c && !stopped; c++) {
        assert_ok(stream_next(&s, t->byte_id[(uint8_t)*c], &bytes, &count, &stopped));
        assert_int_equal(utf8_valid((const uint8_t *)bytes, (size_t)count), count);
        if (count) sprintf(out + strlen(out), pieces ? "[%.*s]" : "%.*s", (int)count, bytes);
    }
    if (!stopped) {
        assert_ok(stream_end(&s, &bytes, &count));
        if (count) sprintf(out + strlen(out), pieces ? "[%.*s]" : "%.*s", (int)count, bytes);
    }
    stream_free(&s);
    return stopped;
}

static void test_stops(void **state)
{
    (void)state;
    ingot_tokenizer *t = train_on("a", 257, NULL);
    const char *const one[] = {"\n\nQ:"}, *const two[] = {"aab", "b c"};
    char out[256];
    assert_true(feed(t, "42\n\nQ: more", one, 1, true, out));
    assert_string_equal(out, "[4][2]");
    assert_false(feed(t, "4\n\nP\nQ", one, 1, true, out)); /* what looked like one is given when it is none */
    assert_string_equal(out, "[4][\n\nP][\nQ]");
    assert_false(feed(t, "4\n\nQ", one, 1, true, out)); /* and at the end */
    assert_string_equal(out, "[4][\n\nQ]");
    assert_true(feed(t, "xaaab", two, 2, false, out)); /* overlapping beginnings */
    assert_string_equal(out, "xa");
    assert_true(feed(t, "aab c", two, 2, false, out)); /* the first to be whole */
    assert_string_equal(out, "");
    assert_true(feed(t, "ab cd", two, 2, false, out));
    assert_string_equal(out, "a");
    ingot_tokenizer_free(t);
}

static void test_utf8(void **state)
{
    (void)state;
    ingot_tokenizer *t = train_on("a", 257, NULL);
    const char *const stop[] = {"\u00e9!"};
    char out[256];
    assert_false(feed(t, "na\u00efve \u20ac \U0001F600.", NULL, 0, true, out));
    assert_string_equal(out, "[n][a][\u00ef][v][e][ ][\u20ac][ ][\U0001F600][.]");
    assert_true(feed(t, "\u00e8\u00e9\u00e9!", stop, 1, true, out));
    assert_string_equal(out, "[\u00e8][\u00e9]");
    const char *const replacement[] = {"\u20ac\xEF\xBF\xBD!"};
    assert_false(feed(t, "a\xC3(\x80\xE2\x82\xE2\x82\xAC\xF0\x9F\x98", NULL, 0, true, out)); /* never whole */
    assert_string_equal(out, "[a][\uFFFD(][\uFFFD][\uFFFD][\u20ac][\uFFFD]");
    assert_true(feed(t, "\xE2\x82\xAC\xFF!", replacement, 1, false, out));
    ingot_tokenizer_free(t);
}

static void test_specials_and_refusals(void **state)
{
    (void)state;
    ingot_tokenizer *t = train_on("a", 257, NULL);
    const char *const empty[] = {"x", ""}, *const broken[] = {"\xc3"};
    assert_int_equal(stops_check(ctx, empty, 2), INGOT_ERROR_ARGUMENT);
    assert_int_equal(stops_check(ctx, broken, 1), INGOT_ERROR_ARGUMENT);
    stream s;
    const char *bytes;
    int64_t count;
    bool stopped;
    assert_ok(stream_init(ctx, &s, t, NULL, 0));
    assert_ok(stream_next(&s, ingot_tokenizer_eot(t), &bytes, &count, &stopped)); /* special: no text */
    assert_int_equal(count, 0);
    assert_ok(stream_next(&s, 100000, &bytes, &count, &stopped)); /* a padded vocabulary's */
    assert_int_equal(count, 0);
    stream_free(&s);
    ingot_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_specials_and_refusals),
    };
    return cmocka_run_group_tests_name("stream", tests, make_context, free_context);
}
