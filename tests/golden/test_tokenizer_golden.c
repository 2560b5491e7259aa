/* Ids, entries and merges against Hugging Face `tokenizers`: files made by tests/reference/tokenizer.py. */
#include "../unit/tests_text.h"
#include "formats/json.h"

static char golden_path[512];

static const char *golden(const char *name, const char *end)
{
    snprintf(golden_path, sizeof golden_path, "%s/golden/tokenizer/%s%s", TEST_FILES, name, end);
    return golden_path;
}

static json_t *read_golden(const char *name, const char *end)
{
    json_t *root;
    assert_ok(json_read_file(ctx, golden(name, end), JSON_MOST_BYTES, &root));
    return root;
}

static void assert_case(const ingot_tokenizer *t, const json_t *item, const char *key, ingot_encode_mode mode)
{
    const json_t *expected = json_object_get(item, key), *input = json_object_get(item, "text");
    int32_t ids[2048];
    size_t count = json_array_size(expected);
    assert_true(json_is_array(expected) && json_is_string(input) && count <= COUNT(ids));
    for (size_t i = 0; i < count; i++) ids[i] = (int32_t)json_integer_value(json_array_get(expected, i));
    assert_ids(t, json_string_value(input), (int64_t)json_string_length(input), mode, ids, (int64_t)count);
}

static void assert_all_cases(const ingot_tokenizer *t, const char *name)
{
    json_t *cases = read_golden(name, ".cases.json");
    assert_true(json_array_size(cases) > 100);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        assert_case(t, json_array_get(cases, i), "ids", INGOT_ENCODE_SPECIALS);
        assert_case(t, json_array_get(cases, i), "plain", INGOT_ENCODE_PLAIN);
    }
    json_decref(cases);
}

/* The file as `tokenizers` wrote it, and the same file written again here. */
static void assert_golden(const char *name)
{
    ingot_tokenizer *t, *again;
    assert_ok(ingot_tokenizer_load(ctx, golden(name, ".json"), &t));
    assert_string_equal(ingot_tokenizer_pattern(t), name);
    assert_all_cases(t, name);
    assert_ok(ingot_tokenizer_save(t, "test_golden_saved.json"));
    assert_ok(ingot_tokenizer_load(ctx, "test_golden_saved.json", &again));
    assert_true(ingot_tokenizer_checksum(t) == ingot_tokenizer_checksum(again));
    assert_all_cases(again, name);
    remove("test_golden_saved.json");
    ingot_tokenizer_free(again);
    ingot_tokenizer_free(t);
}

static void gpt2_with_merges_as_strings(void **state)
{
    (void)state;
    assert_golden("gpt-2");
}

static void llama_with_ignore_merges(void **state)
{
    (void)state;
    assert_golden("llama-bpe");
}

static void qwen2_with_nfc(void **state)
{
    (void)state;
    assert_golden("qwen2");
}

static void smollm_with_digits(void **state)
{
    (void)state;
    assert_golden("smollm");
}

static void custom_through_pcre2(void **state)
{
    (void)state;
    assert_golden("custom");
}

static void assert_trained(const json_t *run, const json_t *learnt, const char *const *specials, int special_count)
{
    const json_t *tokens = json_object_get(run, "tokens"), *merges = json_object_get(run, "merges");
    ingot_tokenizer_training options = {.vocab_size = (int)json_integer_value(json_object_get(run, "vocab_size")),
                                        .specials = specials,
                                        .special_count = special_count,
                                        .pattern = json_string_value(json_object_get(run, "pattern"))};
    test_document d = {.bytes = json_string_value(learnt), .count = (int64_t)json_string_length(learnt)};
    ingot_tokenizer *t;
    assert_ok(ingot_tokenizer_train(ctx, &options, one_document, &d, &t));
    assert_int_equal(ingot_tokenizer_vocab_size(t), json_array_size(tokens));
    for (int id = 0; id < ingot_tokenizer_vocab_size(t); id++)
        assert_string_equal(ingot_token_spelling(t, id), json_string_value(json_array_get(tokens, (size_t)id)));
    assert_int_equal(ingot_tokenizer_merge_count(t), json_array_size(merges));
    for (int rank = 0; rank < ingot_tokenizer_merge_count(t); rank++)
        for (int side = 0; side < 2; side++)
            assert_string_equal(t->tokens[t->merges.pairs[rank][side]].spelling,
                                json_string_value(json_array_get(json_array_get(merges, (size_t)rank), (size_t)side)));
    ingot_tokenizer_free(t);
}

static void training_gives_their_entries_and_merges(void **state)
{
    (void)state;
    json_t *root = read_golden("training", ".json");
    const char *specials[8];
    const json_t *list = json_object_get(root, "specials"), *runs = json_object_get(root, "runs");
    int count = (int)json_array_size(list);
    for (int i = 0; i < count; i++) specials[i] = json_string_value(json_array_get(list, (size_t)i));
    assert_int_equal(json_array_size(runs), 4);
    for (size_t i = 0; i < json_array_size(runs); i++)
        assert_trained(json_array_get(runs, i), json_object_get(root, "text"), specials, count);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_with_merges_as_strings),
        cmocka_unit_test(llama_with_ignore_merges),
        cmocka_unit_test(qwen2_with_nfc),
        cmocka_unit_test(smollm_with_digits),
        cmocka_unit_test(custom_through_pcre2),
        cmocka_unit_test(training_gives_their_entries_and_merges),
    };
    return cmocka_run_group_tests(tests, make_context, free_context);
}
