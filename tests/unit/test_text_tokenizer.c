/* Training, encoding, decoding and files of tokenizers, on texts small enough to follow by hand. */
#include "tests_text.h"

/* ---- training ---- */

static void merges_the_most_frequent_pair_first(void **state)
{
    (void)state;
    /* (l,o) and (o,w) both occur 7 times; l comes before o, so (l,o) is first; then (lo,w). */
    ingot_tokenizer *t = train_on("low low low low low lower lower\n", 259, NULL);
    assert_int_equal(ingot_tokenizer_vocab_size(t), 259);
    assert_string_equal(ingot_token_spelling(t, 257), "lo");
    assert_string_equal(ingot_token_spelling(t, 258), "low");
    ingot_tokenizer_free(t);
}

static void overlapping_pairs_merge_from_the_left(void **state)
{
    (void)state;
    ingot_tokenizer *t = train_on("aaaaa\naaaaa\n", 258, NULL);
    int a = ingot_token_id(t, "a"), aa = ingot_token_id(t, "aa");
    int32_t expected[] = {aa, aa, a};
    assert_ids(t, "aaaaa", 5, INGOT_ENCODE_PLAIN, expected, 3);
    ingot_tokenizer_free(t);
}

static void a_vocabulary_larger_than_the_text_gives_is_a_warning(void **state)
{
    (void)state;
    warnings = 0;
    ingot_tokenizer *t = train_on("ab", 5000, NULL);
    assert_int_equal(ingot_tokenizer_vocab_size(t), 258);
    assert_int_equal(warnings, 1);
    ingot_tokenizer_free(t);
    t = train_on("", 5000, NULL);
    assert_int_equal(ingot_tokenizer_vocab_size(t), 257);
    ingot_tokenizer_free(t);
}

static void impossible_training_options_are_refused(void **state)
{
    (void)state;
    ingot_tokenizer *t;
    test_document d = {.bytes = "text", .count = 4};
    ingot_tokenizer_training small = {.vocab_size = 256}, pattern = {.vocab_size = 300, .pattern = "gpt-5"};
    assert_int_equal(ingot_tokenizer_train(ctx, &small, one_document, &d, &t), INGOT_ERROR_ARGUMENT);
    assert_non_null(strstr(ingot_message(ctx), "at least 257"));
    assert_int_equal(ingot_tokenizer_train(ctx, &pattern, one_document, &d, &t), INGOT_ERROR_ARGUMENT);
    assert_null(t);
}

static void a_word_never_crosses_a_line_end(void **state)
{
    (void)state;
    ingot_tokenizer *t = train_on("\n\n\n\n\n\n", 300, NULL);
    assert_int_equal(ingot_tokenizer_vocab_size(t), 257);
    ingot_tokenizer_free(t);
}

static void min_frequency_stops_early(void **state)
{
    (void)state;
    test_document d = {.bytes = "ab ab ab cd", .count = 11};
    ingot_tokenizer *t;
    ingot_tokenizer_training options = {.vocab_size = 300, .min_frequency = 2};
    assert_ok(ingot_tokenizer_train(ctx, &options, one_document, &d, &t));
    assert_true(ingot_token_id(t, "ab") >= 0);
    assert_int_equal(ingot_token_id(t, "cd"), -1);
    ingot_tokenizer_free(t);
}

/* ---- encoding and decoding ---- */

static void special_tokens_count_only_when_asked(void **state)
{
    (void)state;
    ingot_tokenizer *t = train_on("a b", 257, NULL);
    int a = ingot_token_id(t, "a"), eot = ingot_tokenizer_eot(t);
    assert_int_equal(eot, 0);
    assert_true(ingot_token_is_special(t, eot));
    int32_t with[] = {a, eot, a};
    assert_ids(t, "a<|endoftext|>a", 15, INGOT_ENCODE_SPECIALS, with, 3);
    int32_t *ids;
    int64_t count;
    assert_ok(ingot_encode(t, "<|endoftext|>", 13, INGOT_ENCODE_PLAIN, &ids, &count));
    assert_int_equal(count, 13);
    free(ids);
    ingot_tokenizer_free(t);
}

static void random_bytes_round_trip(const ingot_tokenizer *t, uint64_t seed, bool few_letters)
{
    rng r = rng_make(seed, 0);
    char bytes[3000];
    int64_t length = 1 + rng_below(&r, sizeof bytes - 1);
    for (int64_t i = 0; i < length; i++)
        bytes[i] = few_letters ? "ab  \n'"[rng_below(&r, 6)] : (char)rng_below(&r, 256);
    assert_round_trip(t, bytes, length);
}

static void every_byte_sequence_round_trips(void **state)
{
    (void)state;
    char all[256];
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    for (const char *const *pattern = split_known_names(); *pattern; pattern++) {
        ingot_tokenizer *t = train_on("the cat and the other cat, abab  baba aaaa 1234\n", 300, *pattern);
        assert_string_equal(ingot_tokenizer_pattern(t), *pattern);
        assert_round_trip(t, all, 256);
        assert_round_trip(t, "", 0);
        for (uint64_t seed = 0; seed < 200; seed++) random_bytes_round_trip(t, seed, seed % 2);
        ingot_tokenizer_free(t);
    }
}

static void long_words_merge_like_short_ones(void **state)
{
    (void)state;
    ingot_tokenizer *t = train_on("abab baab aabb bbaa abba ababab bababa aaabbb\n", 280, NULL);
    rng r = rng_make(7, 7);
    for (int length = 1; length <= 200; length++) {
        char word[200];
        for (int i = 0; i < length; i++) word[i] = "ab"[rng_below(&r, 2)];
        assert_same_as_definition(t, word, length);
    }
    ingot_tokenizer_free(t);
}

static void an_encoder_remembers_without_changing_ids(void **state)
{
    (void)state;
    ingot_tokenizer *t = train_on("abab baab aabb bbaa abba ababab bababa aaabbb\n", 280, NULL);
    ingot_encoder *e;
    assert_ok(ingot_encoder_new(t, &e));
    rng r = rng_make(8, 8);
    for (int round = 0; round < 3000; round++) { /* enough different words to make its memory grow and forget */
        char words[64];
        int64_t length = 1 + rng_below(&r, sizeof words - 1), count, expected_count;
        for (int64_t i = 0; i < length; i++) words[i] = "abcdefgh "[rng_below(&r, 9)];
        const int32_t *ids;
        int32_t *expected;
        assert_ok(ingot_encoder_run(e, words, length, INGOT_ENCODE_PLAIN, &ids, &count));
        assert_ok(ingot_encode(t, words, length, INGOT_ENCODE_PLAIN, &expected, &expected_count));
        assert_int_equal(count, expected_count);
        assert_memory_equal(ids, expected, (size_t)count * sizeof *ids);
        free(expected);
    }
    ingot_encoder_free(e);
    ingot_tokenizer_free(t);
}

static void decoding_an_unknown_id_is_an_error(void **state)
{
    (void)state;
    ingot_tokenizer *t = train_on("a", 257, NULL);
    char *decoded;
    int64_t bytes;
    assert_int_equal(ingot_decode(t, (int32_t[]){3, 257}, 2, &decoded, &bytes), INGOT_ERROR_ARGUMENT);
    assert_int_equal(ingot_decode(t, (int32_t[]){-1}, 1, &decoded, &bytes), INGOT_ERROR_ARGUMENT);
    assert_null(decoded);
    ingot_tokenizer_free(t);
}

static void a_decoder_never_ends_within_a_sequence(void **state)
{
    (void)state;
    ingot_tokenizer *t = train_on("a", 257, NULL);
    ingot_decoder *d;
    assert_ok(ingot_decoder_new(t, &d));
    const struct {
        const char *fed;
        int given[8]; /* bytes that come out after each byte in */
    } cases[] = {
        {"a\xE2\x82\xAC", {1, 0, 0, 3}},    /* the euro sign in three bytes */
        {"\xF0\x9F\x98\x80", {0, 0, 0, 4}}, /* a face in four */
        {"\xE2\x82\x61", {0, 0, 3}},        /* broken off: passed on with what follows */
        {"\xFF\x80", {1, 1}},               /* nothing can complete these */
        {"\xED\xA0\x80", {0, 2, 1}},        /* a surrogate: hopeless after its second byte */
        {"\xC3\xC3\xA9", {0, 1, 2}},
    };
    const char *bytes;
    int64_t count;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int j = 0; cases[i].fed[j]; j++) {
            assert_ok(ingot_decoder_next(d, t->byte_id[(uint8_t)cases[i].fed[j]], &bytes, &count));
            assert_int_equal(count, cases[i].given[j]);
        }
        ingot_decoder_end(d, &bytes, &count);
        assert_int_equal(count, 0);
    }
    assert_ok(ingot_decoder_next(d, t->byte_id[0xC3], &bytes, &count));
    assert_int_equal(count, 0);
    ingot_decoder_end(d, &bytes, &count);
    assert_int_equal(count, 1);
    assert_int_equal((uint8_t)bytes[0], 0xC3);
    assert_int_equal(ingot_decoder_next(d, 257, &bytes, &count), INGOT_ERROR_ARGUMENT);
    ingot_decoder_free(d);
    ingot_tokenizer_free(t);
}

/* ---- files ---- */

static void a_saved_tokenizer_loads_as_itself(void **state)
{
    (void)state;
    for (const char *const *pattern = split_known_names(); *pattern; pattern++) {
        ingot_tokenizer *t = train_on("to be or not to be, \"that\\\" is the \x01 question\n", 280, *pattern), *again;
        assert_ok(ingot_tokenizer_save(t, "test_text_saved.json"));
        assert_ok(ingot_tokenizer_load(ctx, "test_text_saved.json", &again));
        assert_true(ingot_tokenizer_checksum(t) == ingot_tokenizer_checksum(again));
        assert_string_equal(ingot_tokenizer_pattern(again), *pattern);
        assert_int_equal(ingot_tokenizer_merge_count(t), ingot_tokenizer_merge_count(again));
        assert_int_equal(ingot_tokenizer_eot(again), 0);
        ingot_tokenizer_free(again);
        ingot_tokenizer_free(t);
    }
    remove("test_text_saved.json");
}

static void checksums_tell_tokenizers_apart(void **state)
{
    (void)state;
    ingot_tokenizer *a = train_on("abc abc", 259, NULL), *b = train_on("abd abd", 259, NULL),
                    *c = train_on("abc abc", 259, "qwen2");
    assert_true(ingot_tokenizer_checksum(a) != ingot_tokenizer_checksum(b));
    assert_true(ingot_tokenizer_checksum(a) != ingot_tokenizer_checksum(c));
    ingot_tokenizer_free(a);
    ingot_tokenizer_free(b);
    ingot_tokenizer_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_the_most_frequent_pair_first),
        cmocka_unit_test(overlapping_pairs_merge_from_the_left),
        cmocka_unit_test(a_vocabulary_larger_than_the_text_gives_is_a_warning),
        cmocka_unit_test(impossible_training_options_are_refused),
        cmocka_unit_test(a_word_never_crosses_a_line_end),
        cmocka_unit_test(min_frequency_stops_early),
        cmocka_unit_test(special_tokens_count_only_when_asked),
        cmocka_unit_test(every_byte_sequence_round_trips),
        cmocka_unit_test(long_words_merge_like_short_ones),
        cmocka_unit_test(an_encoder_remembers_without_changing_ids),
        cmocka_unit_test(decoding_an_unknown_id_is_an_error),
        cmocka_unit_test(a_decoder_never_ends_within_a_sequence),
        cmocka_unit_test(a_saved_tokenizer_loads_as_itself),
        cmocka_unit_test(checksums_tell_tokenizers_apart),
    };
    return cmocka_run_group_tests(tests, make_context, free_context);
}
