/* data prepare: documents, EOT and splits as promised; pieces give the ids of the whole; cleaning; refusals. */
#include "context.h"
#include "base/file.h"
#include "base/rng.h"
#include "data/corpus.h"
#include "data/data.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef __APPLE__
enum { RSS_UNIT = 1 }; /* bytes of ru_maxrss */
#else
enum { RSS_UNIT = 1024 };
#endif

static ingot_tokenizer *tokenizer;

static status stories(void *user, const char **bytes, int64_t *count)
{
    static char story[INGOT_STORY_BYTES];
    int *next = user;
    *count = *next < 300 ? ingot_story(1, (uint64_t)(*next)++, story, NULL) : -1;
    *bytes = story;
    return INGOT_OK;
}

static int setup(void **state)
{
    (void)state;
    int next = 0;
    if (ingot_context_new(&(ingot_context_options){.threads = 2}, &ctx)) return 1;
    if (directory_create(ctx, "prepare_files")) return 1;
    if (ingot_tokenizer_train(ctx, &(ingot_tokenizer_training){.vocab_size = 700}, stories, &next, &tokenizer))
        return 1;
    return (int)ingot_tokenizer_save(tokenizer, "prepare_files/tok.json");
}

static int teardown(void **state)
{
    (void)state;
    directory_remove(ctx, "prepare_files");
    ingot_tokenizer_free(tokenizer);
    ingot_context_free(ctx);
    return 0;
}

static ingot_prepare_options options_for(const char *const *input)
{
    return (ingot_prepare_options){.inputs = input,
                                   .input_count = 1,
                                   .tokenizer = "prepare_files/tok.json",
                                   .output = "prepare_files/data",
                                   .val_fraction = .1,
                                   .overwrite = 1};
}

static void put(const char *path, const char *bytes, size_t count)
{
    assert_int_equal(file_write_whole(ctx, path, bytes, count), 0);
}

/* The split's documents as text, "[one][two]"; checks that each begins with EOT. */
static char *split_text(const char *split, ingot_split_info *info)
{
    ingot_data *data;
    text out = {0};
    text_puts(&out, "");
    *info = (ingot_split_info){0};
    if (ingot_data_open(ctx, "prepare_files/data", split, NULL, &data)) return out.at;
    *info = ingot_data_info(data);
    assert_true(ingot_data_tokenizer_checksum(data) == ingot_tokenizer_checksum(tokenizer));
    assert_int_equal(ingot_data_eot(data), ingot_tokenizer_eot(tokenizer));
    int64_t *starts, documents;
    assert_int_equal(data_documents(data, &starts, &documents), 0);
    assert_int_equal(documents, info->documents);
    int64_t bytes = 0;
    for (int64_t d = 0; d < documents; d++) {
        int64_t count = starts[d + 1] - starts[d], length;
        int32_t *ids = malloc(sizeof *ids * (size_t)count);
        assert_int_equal(ingot_data_read(data, starts[d], count, ids), 0);
        assert_int_equal(ids[0], ingot_tokenizer_eot(tokenizer));
        char *decoded;
        assert_int_equal(ingot_decode(tokenizer, ids + 1, count - 1, &decoded, &length), 0);
        text_printf(&out, "[");
        text_add(&out, decoded, (size_t)length);
        text_printf(&out, "]");
        bytes += length;
        free(decoded);
        free(ids);
    }
    assert_int_equal(bytes, info->text_bytes);
    free(starts);
    ingot_data_free(data);
    return out.at;
}

static void expect(const char *content, bool clean, const char *train, const char *val)
{
    const char *input = "prepare_files/a.txt";
    put(input, content, strlen(content));
    ingot_prepare_options options = options_for(&input);
    options.val_fraction = .3;
    options.clean = (ingot_clean_options){.enabled = clean, .min_bytes = 3};
    if (ingot_data_prepare(ctx, &options, NULL)) fail_msg("%s", ingot_message(ctx));
    ingot_split_info info;
    char *text_of_train = split_text("train", &info), *text_of_val = split_text("val", &info);
    assert_string_equal(text_of_train, train);
    assert_string_equal(text_of_val, val);
    free(text_of_train);
    free(text_of_val);
}

static void test_few_documents(void **state)
{
    (void)state;
    expect("aaaa\nbbbb\ncccc\ndddd\n", false, "[aaaa\nbbbb\ncccc\n]", "[dddd\n]");
    expect("aaaa\nbbbb\ncccc\ndddd", false, "[aaaa\nbbbb\ncccc\n]", "[dddd]");
    expect("aaaaaaaaaaaaaaaaaaaa", false, "[aaaaaaaaaaaaaa]", "[aaaaaa]"); /* one line: cut inside */
    expect("a\n<|endoftext|>\nbbbb\n<|endoftext|>\ncccc\ndd\n", false, "[a][bbbb][cccc\n]", "[dd]");
    expect("aaaa\nbbbb\n<|endoftext|>\ncc\n<|endoftext|>\ndd\n", false, "[aaaa\nbbbb][cc]", "[dd]");
    expect("aaaaaaaa\nbbbbbbbbbbbbbbb", false, "[aaaaaaaa\nbbbbbbbb]", "[bbbbbbb]"); /* the last line is most of it */
    expect("aaaaaaaa\r\nbb", true, "[aaaaaaaa\n]", "");                              /* val is too short for --clean */
}

static void test_many_documents(void **state)
{
    (void)state;
    enum { DOCUMENTS = 2000 };
    text file = {0};
    for (int i = 0; i < DOCUMENTS; i++) {
        char story[INGOT_STORY_BYTES];
        ingot_story(2, (uint64_t)i, story, NULL);
        text_printf(&file, "%s\n<|endoftext|>\n", story);
    }
    const char *input = "prepare_files/a.txt";
    put(input, file.at, file.length);
    ingot_prepare_options options = options_for(&input);
    options.shard_tokens = 10000;
    ingot_prepare_report report;
    assert_int_equal(ingot_data_prepare(ctx, &options, &report), 0);
    assert_int_equal(report.train.documents + report.val.documents, DOCUMENTS);
    assert_in_range(report.val.documents, 150, 250);
    assert_true(file_exists("prepare_files/data/train_000001.bin"));
    ingot_split_info train, val;
    char *text_of_train = split_text("train", &train), *text_of_val = split_text("val", &val);
    assert_memory_equal(&train, &report.train, sizeof train);
    assert_memory_equal(&val, &report.val, sizeof val);
    int64_t at_train = 0, at_val = 0; /* both keep the order of the file */
    for (int i = 0; i < DOCUMENTS; i++) {
        char story[INGOT_STORY_BYTES + 3] = "[";
        int64_t length = ingot_story(2, (uint64_t)i, story + 1, NULL) + 2;
        story[length - 1] = ']';
        bool in_val = !strncmp(text_of_val + at_val, story, (size_t)length);
        if (!in_val) assert_memory_equal(text_of_train + at_train, story, (size_t)length);
        *(in_val ? &at_val : &at_train) += length;
    }
    /* Again, the same bytes; other documents before them change no story's side. */
    ingot_prepare_report again;
    assert_int_equal(ingot_data_prepare(ctx, &options, &again), 0);
    assert_memory_equal(&again, &report, sizeof report);
    free(text_of_train);
    free(text_of_val);
    text_free(&file);
}

/* A document of several pieces gives the ids that encoding it at once gives. */
static void test_pieces_encode_like_the_whole(void **state)
{
    (void)state;
    static const char *const parts[] = {"Anna", " found", " an",      " old",         " key",         ". ",  "\n",
                                        "\n\n", " ",      "  ",       "don't",        "'s",           "123", "\r\n",
                                        "\t",   "!?",     "\xc3\xa9", "\xe4\xbd\xa0", "\xe3\x80\x80", "x"};
    rng dice = rng_make(4, 0);
    text file = {0};
    while (file.length < 5 * CORPUS_PIECE_BYTES) text_puts(&file, parts[rng_below(&dice, COUNT(parts))]);
    const char *input = "prepare_files/a.txt";
    put(input, file.at, file.length);
    ingot_prepare_options options = options_for(&input);
    options.val_fraction = 0;
    assert_int_equal(ingot_data_prepare(ctx, &options, NULL), 0);
    int32_t *ids, *stored;
    int64_t count;
    assert_int_equal(ingot_encode(tokenizer, file.at, (int64_t)file.length, INGOT_ENCODE_PLAIN, &ids, &count), 0);
    ingot_data *data;
    assert_int_equal(ingot_data_open(ctx, "prepare_files/data", "train", NULL, &data), 0);
    assert_int_equal(ingot_data_info(data).tokens, count + 1);
    stored = malloc(sizeof *stored * (size_t)count);
    assert_int_equal(ingot_data_read(data, 1, count, stored), 0);
    assert_memory_equal(stored, ids, sizeof *ids * (size_t)count);
    ingot_data_free(data);
    assert_int_not_equal(ingot_data_open(ctx, "prepare_files/data", "val", NULL, &data), 0);
    free(ids), free(stored);
    text_free(&file);
}

/* The promise behind the pieces: wherever corpus_safe_cut cuts, under every pattern, the two sides give the ids of the
 * whole. Small texts, every character class beside every other. */
static void test_safe_cuts_under_every_pattern(void **state)
{
    (void)state;
    static const char *const patterns[] = {"gpt-2", "llama-bpe", "qwen2", "smollm"};
    static const char *const parts[] = {"a",
                                        "Bc",
                                        "'s",
                                        "'",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\r",
                                        "\t",
                                        "1",
                                        "234",
                                        ".",
                                        "!<",
                                        "_",
                                        "\xc3\xa9",
                                        "e\xcc\x81",
                                        "\xe4\xbd\xa0",
                                        "\xe3\x80\x80",
                                        "\xc2\xa0",
                                        "\xc2\x85",
                                        "\xd9\xa3",
                                        "\xff",
                                        "\xf0\x9f\x98\x80"};
    for (size_t k = 0; k < COUNT(patterns); k++) {
        int next = 0, cuts = 0;
        ingot_tokenizer *t;
        const ingot_tokenizer_training training = {.vocab_size = 600, .pattern = patterns[k]};
        assert_int_equal(ingot_tokenizer_train(ctx, &training, stories, &next, &t), 0);
        rng dice = rng_make(k, 7);
        for (int round = 0; round < 3000; round++) {
            text whole = {0};
            for (int i = 0; i < 14; i++) text_puts(&whole, parts[rng_below(&dice, COUNT(parts))]);
            int64_t length = (int64_t)whole.length, cut = corpus_safe_cut(whole.at, length, 0, length - 1), counts[3];
            if (cut > 0) {
                int32_t *ids[3];
                ingot_encode(t, whole.at, length, INGOT_ENCODE_PLAIN, &ids[0], &counts[0]);
                ingot_encode(t, whole.at, cut, INGOT_ENCODE_PLAIN, &ids[1], &counts[1]);
                ingot_encode(t, whole.at + cut, length - cut, INGOT_ENCODE_PLAIN, &ids[2], &counts[2]);
                assert_int_equal(counts[0], counts[1] + counts[2]);
                assert_memory_equal(ids[0], ids[1], sizeof *ids[0] * (size_t)counts[1]);
                assert_memory_equal(ids[0] + counts[1], ids[2], sizeof *ids[0] * (size_t)counts[2]);
                for (int i = 0; i < 3; i++) free(ids[i]);
                cuts++;
            }
            text_free(&whole);
        }
        assert_true(cuts > 300);
        ingot_tokenizer_free(t);
    }
}

/* What is in memory does not grow with the text: 48 MB of it add less than 40. Runs first, before a test used more. */
static void test_memory_is_flat(void **state)
{
    (void)state;
    const char *input = "prepare_files/large.txt";
    text block = {0};
    for (uint64_t i = 0; block.length < 1 << 20; i++) {
        char story[INGOT_STORY_BYTES];
        ingot_story(3, i, story, NULL);
        text_printf(&block, "%s\n", story);
    }
    FILE *file = fopen(input, "wb");
    for (int i = 0; i < 48; i++) assert_int_equal(fwrite(block.at, 1, block.length, file), block.length);
    fclose(file);
    text_free(&block);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    ingot_prepare_options options = options_for(&input);
    assert_int_equal(ingot_data_prepare(ctx, &options, NULL), 0);
    getrusage(RUSAGE_SELF, &after);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__has_feature)
    assert_true((int64_t)(after.ru_maxrss - before.ru_maxrss) * RSS_UNIT < 40 << 20);
#endif
    unlink(input);
}

static void test_cleaning(void **state)
{
    (void)state;
    const char *input = "prepare_files/a.jsonl";
    text file = {0};
    for (int i = 0; i < 30; i++) text_printf(&file, "{\"text\": \"A document, number %d of many.\\r\\n\"}\n", i);
    text_puts(&file, "{\"text\": \"short\"}\n{\"text\": \"A document, number 3 of many.\\n\"}\n");
    text_puts(&file, "{\"text\": \"<p>With \\u0000some \\u0007 marks.</p>\"}\n");
    put(input, file.at, file.length);
    ingot_prepare_options options = options_for(&input);
    options.clean.enabled = 1;
    ingot_prepare_report r;
    if (ingot_data_prepare(ctx, &options, &r)) fail_msg("%s", ingot_message(ctx));
    assert_int_equal(r.train.documents + r.val.documents, 31);
    assert_int_equal(r.dropped_short, 1);
    assert_int_equal(r.dropped_duplicate, 1);
    assert_int_equal(r.line_ends, 30);
    assert_int_equal(r.control_bytes, 2);
    assert_int_equal(r.markup_bytes, 7 - 1);
    text_free(&file);
}

static void refuse(const ingot_prepare_options *options, const char *says)
{
    assert_int_not_equal(ingot_data_prepare(ctx, options, NULL), 0);
    if (!strstr(ingot_message(ctx), says)) fail_msg("\"%s\" does not say \"%s\"", ingot_message(ctx), says);
}

static void test_refusals(void **state)
{
    (void)state;
    const char *input = "prepare_files/b.txt";
    put(input, "some text\nand more\n", 19);
    ingot_prepare_options good = options_for(&input), bad = good;
    assert_int_equal(ingot_data_prepare(ctx, &good, NULL), 0);
    bad.overwrite = 0, refuse(&bad, "already holds data");
    bad = good, bad.tokenizer = "missing.json", refuse(&bad, "missing.json");
    bad = good, bad.val_fraction = 1, refuse(&bad, "val fraction");
    bad = good, bad.rows = "rows", refuse(&bad, "stream or document");
    const char *missing = "prepare_files/none.txt";
    bad = good, bad.inputs = &missing, refuse(&bad, "cannot open prepare_files/none.txt");
    assert_true(file_exists("prepare_files/data/meta.json")); /* a wrong name cost nothing */
    put(input, "", 0);
    refuse(&good, "there is no text");
    assert_false(file_exists("prepare_files/data/meta.json"));
    put(input, "ab\0", 3);
    refuse(&good, "byte 2 is zero");
    put(input, "ab", 2);
    good.clean.enabled = 1, refuse(&good, "nothing is left");
    ingot_data *data;
    assert_int_not_equal(ingot_data_open(ctx, "prepare_files/data", "train", NULL, &data), 0);
    assert_non_null(strstr(ingot_message(ctx), "was not finished"));
}

/* Bytes of each file flipped, one at a time: refused or read, never a crash, and never another token count. */
static void test_damaged_folder(void **state)
{
    (void)state;
    const char *input = "prepare_files/b.txt";
    put(input, "some text\nand more\n", 19);
    ingot_prepare_options options = options_for(&input);
    assert_int_equal(ingot_data_prepare(ctx, &options, NULL), 0);
    static const char *const names[] = {"prepare_files/data/meta.json", "prepare_files/data/train.bin"};
    for (size_t n = 0; n < COUNT(names); n++) {
        text whole = {0};
        assert_int_equal(file_read_whole(ctx, names[n], 1 << 20, &whole), 0);
        for (size_t i = 0; i < MIN(whole.length, 400); i++) {
            char kept = whole.at[i];
            whole.at[i] ^= (char)(1 << i % 8);
            FILE *file = fopen(names[n], "wb"); /* not file_write_whole: 800 syncs take their time */
            assert_int_equal(fwrite(whole.at, 1, whole.length, file), whole.length);
            fclose(file);
            ingot_data *data;
            if (!ingot_data_open(ctx, "prepare_files/data", "train", NULL, &data)) {
                int32_t ids[64];
                assert_int_equal(ingot_data_read(data, 0, MIN(ingot_data_info(data).tokens, 64), ids), 0);
                ingot_data_free(data);
            }
            whole.at[i] = kept;
        }
        put(names[n], whole.at, whole.length);
        text_free(&whole);
    }
}

/* 300 stories as a file give the tokenizer that they give one by one. */
static void test_tokenizer_of_a_file(void **state)
{
    (void)state;
    const char *file = "prepare_files/made.txt";
    int64_t bytes = 0;
    char story[INGOT_STORY_BYTES];
    for (uint64_t i = 0; i < 300; i++) bytes += ingot_story(1, i, story, NULL) + (int64_t)strlen("\n<|endoftext|>\n");
    OK(ingot_stories_make(ctx, file, 1, bytes));
    ingot_tokenizer *t;
    OK(ingot_tokenizer_train_corpus(ctx, &(ingot_tokenizer_training){.vocab_size = 700},
                                    &(ingot_corpus_options){.inputs = &file, .input_count = 1}, &t));
    assert_true(ingot_tokenizer_checksum(t) == ingot_tokenizer_checksum(tokenizer));
    ingot_tokenizer_free(t);
    const char *none = "prepare_files/nowhere.txt";
    assert_int_not_equal(ingot_tokenizer_train_corpus(ctx, &(ingot_tokenizer_training){.vocab_size = 700},
                                                      &(ingot_corpus_options){.inputs = &none, .input_count = 1}, &t),
                         INGOT_OK);
    assert_null(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_flat),
        cmocka_unit_test(test_few_documents),
        cmocka_unit_test(test_many_documents),
        cmocka_unit_test(test_pieces_encode_like_the_whole),
        cmocka_unit_test(test_safe_cuts_under_every_pattern),
        cmocka_unit_test(test_cleaning),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_damaged_folder),
        cmocka_unit_test(test_tokenizer_of_a_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
