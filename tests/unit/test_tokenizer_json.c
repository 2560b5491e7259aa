/* Broken and hostile tokenizer.json files: each is refused with words that say what and where. */
#include "base/file.h"
#include "tests_text.h"

/* A small file of our own making; every test changes one thing in it. */
static text base;

static int make_base(void **state)
{
    if (make_context(state)) return 1;
    ingot_tokenizer *t = train_on("abc abc abd abd\n", 262, NULL);
    assert_ok(ingot_tokenizer_save(t, "test_base.json"));
    assert_ok(file_read_whole(ctx, "test_base.json", 1 << 20, &base));
    remove("test_base.json");
    ingot_tokenizer_free(t);
    return 0;
}

static int free_base(void **state)
{
    text_free(&base);
    return free_context(state);
}

static text changed(const char *from, const char *to)
{
    text out = {0};
    const char *at = strstr(base.at, from);
    if (!at) fail_msg("the base file has no %s", from);
    text_add(&out, base.at, (size_t)(at - base.at));
    text_puts(&out, to);
    text_puts(&out, at + strlen(from));
    return out;
}

static status parse(const text *json)
{
    ingot_tokenizer *t;
    status s = ingot_tokenizer_parse(ctx, json->at, (int64_t)json->length, "the file", &t);
    assert_true(!s == !!t);
    ingot_tokenizer_free(t);
    return s;
}

typedef struct change {
    const char *from, *to;
    status expected;
    const char *words; /* of the message */
} change;

static void each_change(const change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        text json = changed(changes[i].from, changes[i].to);
        status s = parse(&json);
        text_free(&json);
        if (s != changes[i].expected || (s && !strstr(ingot_message(ctx), changes[i].words)))
            fail_msg("%s -> %s: status %d, message \"%s\", not \"%s\"", changes[i].from, changes[i].to, (int)s,
                     s ? ingot_message(ctx) : "", changes[i].words);
    }
}

static void the_base_is_fine(void **state)
{
    (void)state;
    assert_ok(parse(&base));
}

static void a_cut_file_is_refused_wherever_it_is_cut(void **state)
{
    (void)state;
    for (size_t length = 0; length + 2 < base.length; length += 7) {
        text cut = {0};
        text_add(&cut, base.at, length);
        if (!cut.at) text_puts(&cut, "");
        assert_int_equal(parse(&cut), INGOT_ERROR_FORMAT);
        text_free(&cut);
    }
}

static void broken_vocabularies(void **state)
{
    (void)state;
    static const change changes[] = {
        {"\"!\": 1,", "\"!\": 2,", INGOT_ERROR_FORMAT, "have the same id 2"},
        {"\"!\": 1,", "\"!\": 1, \"!\": 1,", INGOT_ERROR_FORMAT, "uplicate"},
        {"\"!\": 1,", "\"!\": -1,", INGOT_ERROR_FORMAT, "whole number"},
        {"\"!\": 1,", "\"!\": 1.5,", INGOT_ERROR_FORMAT, "whole number"},
        {"\"!\": 1,", "\"!\": \"1\",", INGOT_ERROR_FORMAT, "whole number"},
        {"\"!\": 1,", "\"!\": null,", INGOT_ERROR_FORMAT, "whole number"},
        {"\"!\": 1,", "\"!\": 4294967297,", INGOT_ERROR_FORMAT, "whole number"},
        {"\"!\": 1,", "\"!\": 99999999999999999999999,", INGOT_ERROR_FORMAT, "whole number"},
        {"\"!\": 1,", "\"!\": 16000000,", INGOT_ERROR_FORMAT, "ids go up to 16000000"},
        {"\"!\": 1,", "", INGOT_ERROR_FORMAT, "no token has id 1"},
        {"\"!\": 1,", "\"!?\": 1,", INGOT_ERROR_UNSUPPORTED, "0x21"},
        {"\"!\": 1,", "\"!\": 1, \"\": 262,", INGOT_ERROR_FORMAT, "0 bytes"},
        {"\"vocab\": {", "\"vocab\": [], \"not\": {", INGOT_ERROR_FORMAT, "model.vocab"},
        {"\"type\": \"BPE\"", "\"type\": \"Unigram\"", INGOT_ERROR_UNSUPPORTED, "Unigram"},
        {"\"model\":", "\"nodel\":", INGOT_ERROR_FORMAT, "model"},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"", INGOT_ERROR_UNSUPPORTED, "</w>"},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"\"", INGOT_OK, ""},
        {"\"version\"", "\xFF", INGOT_ERROR_FORMAT, "0xff"},
    };
    each_change(changes, COUNT(changes));
}

static void broken_merges(void **state)
{
    (void)state;
    static const change changes[] = {
        {"\"a b\"", "\"a xyz\"", INGOT_ERROR_FORMAT, "\"xyz\", which is not in the vocabulary"},
        {"\"a b\"", "\"ab\"", INGOT_ERROR_FORMAT, "merge 0 should be"},
        {"\"a b\"", "\"a b c\"", INGOT_ERROR_FORMAT, "merge 0 should be"},
        {"\"a b\"", "\" \"", INGOT_ERROR_FORMAT, "merge 0"},
        {"\"a b\"", "[\"a\"]", INGOT_ERROR_FORMAT, "merge 0 should be"},
        {"\"a b\"", "[\"a\", 7]", INGOT_ERROR_FORMAT, "merge 0 should be"},
        {"\"a b\"", "[\"a\", \"b\", \"c\"]", INGOT_ERROR_FORMAT, "merge 0 should be"},
        {"\"a b\"", "17", INGOT_ERROR_FORMAT, "merge 0 should be"},
        {"\"a b\"", "\"b a\"", INGOT_ERROR_FORMAT, "makes \"ba\""},
        {"\"a b\"", "[\"a\", \"b\"]", INGOT_OK, ""},
        {"\"a b\"", "\"#version: 0.2\", \"a b\"", INGOT_OK, ""},
        {"\"merges\": [", "\"merges\": {}, \"not\": [", INGOT_ERROR_FORMAT, "model.merges"},
    };
    each_change(changes, COUNT(changes));
}

static void broken_added_tokens(void **state)
{
    (void)state;
    static const change changes[] = {
        {"{\"id\": 0,", "{\"id\": 3,", INGOT_ERROR_FORMAT, "says id 3, but the vocabulary gives it 0"},
        {"{\"id\": 0,", "{\"id\": -7,", INGOT_ERROR_FORMAT, "whole number"},
        {"{\"id\": 0,", "{", INGOT_ERROR_FORMAT, "whole number"},
        {"{\"id\": 0,", "7, {\"id\": 0,", INGOT_ERROR_FORMAT, "content"},
        {"{\"id\": 0,", "{\"id\": 9, \"content\": \"new\"}, {\"id\": 0,", INGOT_ERROR_FORMAT, "has id 9, which is"},
        {"{\"id\": 0,", "{\"id\": 262, \"content\": \"new\"}, {\"id\": 0,", INGOT_OK, ""},
        {"{\"id\": 0,", "{\"id\": 263, \"content\": \"new\"}, {\"id\": 0,", INGOT_ERROR_FORMAT, "no token has id 262"},
        {"{\"id\": 0,", "{\"id\": 16000000, \"content\": \"new\"}, {\"id\": 0,", INGOT_ERROR_FORMAT, "no token has id"},
        {"{\"id\": 0,", "{\"id\": 0, \"content\": \"<|endoftext|>\"}, {\"id\": 0,", INGOT_ERROR_FORMAT, "twice"},
        {"\"content\": \"<|endoftext|>\"", "\"content\": \"\"", INGOT_ERROR_FORMAT, "not empty"},
        {"\"content\": \"<|endoftext|>\"", "\"content\": []", INGOT_ERROR_FORMAT, "not empty"},
        {"\"added_tokens\": [", "\"added_tokens\": 5, \"not\": [", INGOT_ERROR_FORMAT, "added_tokens"},
    };
    each_change(changes, COUNT(changes));
}

#define BYTE_LEVEL     "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}"
#define SEQUENCE(step) "{\"type\": \"Sequence\", \"pretokenizers\": [" step ", " BYTE_LEVEL "]}"
#define SPLIT(pattern, behavior)                                                                                       \
    "{\"type\": \"Split\", \"pattern\": " pattern ", \"behavior\": \"" behavior "\", \"invert\": false}"

static void pre_tokenizers_and_normalizers_that_cannot_be_followed(void **state)
{
    (void)state;
    static const change changes[] = {
        {BYTE_LEVEL, "null", INGOT_ERROR_UNSUPPORTED, "null"},
        {BYTE_LEVEL, "{\"type\": \"Whitespace\"}", INGOT_ERROR_UNSUPPORTED, "Whitespace"},
        {BYTE_LEVEL, "{\"type\": \"Digits\", \"individual_digits\": true}", INGOT_ERROR_UNSUPPORTED, "ByteLevel"},
        {BYTE_LEVEL, "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", INGOT_ERROR_UNSUPPORTED,
         "add_prefix_space"},
        {BYTE_LEVEL, SEQUENCE(BYTE_LEVEL), INGOT_ERROR_UNSUPPORTED, "after ByteLevel"},
        {BYTE_LEVEL, SEQUENCE(SPLIT("{\"Regex\": \"\\\\p{L}+\"}", "Isolated")), INGOT_OK, ""},
        {BYTE_LEVEL, SEQUENCE(SPLIT("{\"String\": \"+(\"}", "Isolated")), INGOT_OK, ""},
        {BYTE_LEVEL, SEQUENCE(SPLIT("{\"Regex\": \"+(\"}", "Isolated")), INGOT_ERROR_UNSUPPORTED, "PCRE2 says"},
        {BYTE_LEVEL, SEQUENCE(SPLIT("{\"Regex\": \"a\"}", "Removed")), INGOT_ERROR_UNSUPPORTED, "Removed"},
        {BYTE_LEVEL, SEQUENCE(SPLIT("{\"Regex\": 3}", "Isolated")), INGOT_ERROR_FORMAT, "pattern"},
        {BYTE_LEVEL, SEQUENCE(SPLIT("\"a\"", "Isolated")), INGOT_ERROR_FORMAT, "pattern"},
        {BYTE_LEVEL, SEQUENCE("3"), INGOT_ERROR_UNSUPPORTED, "type"},
        {BYTE_LEVEL, "{\"type\": \"Sequence\"}", INGOT_ERROR_FORMAT, "pretokenizers"},
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}", INGOT_ERROR_UNSUPPORTED, "Lowercase"},
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"NFKC\"}", INGOT_OK, ""},
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}]}",
         INGOT_OK, ""},
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": 1}", INGOT_ERROR_FORMAT,
         "normalizers"},
        {"\"normalizer\": null", "\"normalizer\": 1", INGOT_ERROR_UNSUPPORTED, "normalizer"},
    };
    each_change(changes, COUNT(changes));
}

static void deep_and_huge_files_are_refused(void **state)
{
    (void)state;
    text deep = {0};
    for (int i = 0; i < 100000; i++) text_puts(&deep, "[");
    assert_int_equal(parse(&deep), INGOT_ERROR_FORMAT);
    text_free(&deep);
    ingot_tokenizer *t;
    assert_int_equal(ingot_tokenizer_parse(ctx, "", INT64_MAX, "huge", &t), INGOT_ERROR_FORMAT);
    assert_int_equal(ingot_tokenizer_parse(ctx, "", -1, "huge", &t), INGOT_ERROR_FORMAT);
    assert_int_equal(ingot_tokenizer_load(ctx, "nowhere.json", &t), INGOT_ERROR_FILE);
    assert_int_equal(ingot_tokenizer_load(ctx, "/", &t), INGOT_ERROR_FILE);
    assert_null(t);
}

static void a_folder_names_the_token_that_ends_a_text(void **state)
{
    (void)state;
    static const char *const configs[] = {"{\"eos_token\": \"abc\"}", "{\"eos_token\": {\"content\": \"abc\"}}"};
    text json = changed("\"added_tokens\": [", "\"added_tokens\": [], \"not\": [");
    for (char *at; (at = strstr(json.at, "<|endoftext|>"));) at[1] = '!';
    for (size_t i = 0; i < COUNT(configs); i++) {
        assert_ok(directory_create(ctx, "test_folder"));
        assert_ok(file_write_whole(ctx, "test_folder/tokenizer.json", json.at, json.length));
        assert_ok(file_write_whole(ctx, "test_folder/tokenizer_config.json", configs[i], strlen(configs[i])));
        ingot_tokenizer *t;
        assert_ok(ingot_tokenizer_load(ctx, "test_folder", &t));
        assert_int_equal(ingot_tokenizer_eot(t), ingot_token_id(t, "abc"));
        assert_true(ingot_tokenizer_eot(t) > 0);
        ingot_tokenizer_free(t);
        assert_ok(ingot_tokenizer_load(ctx, "test_folder/tokenizer.json", &t));
        assert_int_equal(ingot_tokenizer_eot(t), -1);
        ingot_tokenizer_free(t);
        assert_ok(directory_remove(ctx, "test_folder"));
    }
    text_free(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_base_is_fine),
        cmocka_unit_test(a_cut_file_is_refused_wherever_it_is_cut),
        cmocka_unit_test(broken_vocabularies),
        cmocka_unit_test(broken_merges),
        cmocka_unit_test(broken_added_tokens),
        cmocka_unit_test(pre_tokenizers_and_normalizers_that_cannot_be_followed),
        cmocka_unit_test(deep_and_huge_files_are_refused),
        cmocka_unit_test(a_folder_names_the_token_that_ends_a_text),
    };
    return cmocka_run_group_tests(tests, make_base, free_base);
}
