/* The corpus reader: which files, which documents, pieces that join to the document, and inputs it must refuse. */
#include "context.h"
#include "base/file.h"
#include "base/rng.h"
#include "data/corpus.h"

#include <unistd.h>

static int warnings;

static void count_warning(void *user, ingot_log_level level, const char *line)
{
    (void)user, (void)line;
    warnings += level == INGOT_LOG_WARNING;
}

static int setup(void **state)
{
    (void)state;
    if (ingot_context_new(&(ingot_context_options){.log = count_warning}, &ctx)) return 1;
    return (int)directory_create(ctx, "corpus_files/deep/.hidden");
}

static int teardown(void **state)
{
    (void)state;
    directory_remove(ctx, "corpus_files");
    ingot_context_free(ctx);
    return 0;
}

static void put(const char *path, const char *bytes, size_t count)
{
    assert_int_equal(file_write_whole(ctx, path, bytes, count), 0);
}

/* Documents of one input joined as "[one][two]"; pieces of a document must begin, continue and end it in order. */
static status read_all(const char *input, const char *field, bool allow_nul, text *out, int64_t *pieces)
{
    ingot_corpus *c;
    TRY(ingot_corpus_open(
        ctx, &(ingot_corpus_options){.inputs = &input, .input_count = 1, .field = field, .allow_nul = allow_nul}, &c));
    ingot_corpus_piece piece;
    int64_t documents = 0;
    bool inside = false;
    status s;
    *pieces = 0;
    while (!(s = ingot_corpus_next(c, &piece)) && piece.bytes) {
        assert_int_equal(piece.begins, !inside);
        documents += piece.begins;
        assert_int_equal(piece.document, documents - 1);
        assert_true(piece.count <= CORPUS_PIECE_BYTES + 64);
        if (piece.begins) text_puts(out, "[");
        text_add(out, piece.bytes, (size_t)piece.count);
        if (piece.ends) text_puts(out, "]");
        inside = !piece.ends;
        ++*pieces;
    }
    if (!s) assert_false(inside);
    ingot_corpus_free(c);
    return s;
}

static void expect(const char *name, const char *content, const char *documents)
{
    put(name, content, strlen(content));
    text out = {0};
    int64_t pieces;
    text_puts(&out, "");
    assert_int_equal(read_all(name, NULL, false, &out, &pieces), 0);
    assert_string_equal(out.at, documents);
    text_free(&out);
    unlink(name);
}

static void test_documents(void **state)
{
    (void)state;
    expect("a.txt", "one\ntwo\n", "[one\ntwo\n]");
    expect("a.txt", "one", "[one]");
    expect("a.txt", "\n", "[\n]");
    expect("a.txt", "one\n<|endoftext|>\ntwo\n<|endoftext|>\n", "[one][two]");
    expect("a.txt", "one\n<|endoftext|>\ntwo\n", "[one][two]");
    expect("a.txt", "<|endoftext|>\none\n<|endoftext|>\n\n<|endoftext|>\n<|endoftext|>\ntwo", "[one][two]");
    expect("a.txt", "one\r\n<|endoftext|>\r\ntwo\r\n<|endoftext|>", "[one][two]");
    expect("a.txt", "one <|endoftext|>\n<|endoftext|> two\n<|endoftext|>x\n",
           "[one <|endoftext|>\n<|endoftext|> two\n<|endoftext|>x\n]");
    expect("a.txt", "<|endoftext|>", "");
    expect("a.jsonl", "{\"text\": \"one\\ntwo\"}\n\n{\"text\": \"\"}\r\n{\"text\": \"<|endoftext|>\\n\"}",
           "[one\ntwo][<|endoftext|>\n]");
    warnings = 0;
    expect("a.txt", "", "");
    assert_int_equal(warnings, 1);
}

static void refuse(const char *name, const char *content, size_t count, const char *says)
{
    if (content) put(name, content, count ? count : strlen(content));
    text out = {0};
    int64_t pieces;
    assert_int_not_equal(read_all(name, NULL, false, &out, &pieces), 0);
    if (!strstr(ingot_message(ctx), says)) fail_msg("\"%s\" does not say \"%s\"", ingot_message(ctx), says);
    text_free(&out);
    unlink(name);
}

static void test_refusals(void **state)
{
    (void)state;
    refuse("a.txt", "ab\0cd", 5, "byte 2 is zero");
    refuse("missing.txt", NULL, 0, "cannot open missing.txt");
    refuse("missing*.txt", NULL, 0, "no file matches");
    refuse("a.jsonl", "{\"text\": \"a\"}\n{\"txt\": \"a\"}", 0, "a.jsonl:2: the object has no \"text\"");
    refuse("a.jsonl", "{\"text\": \"a\\u0000\"}", 0, "holds \\u0000");
    char *line = malloc(CORPUS_LONGEST_LINE + 10);
    memset(line, ' ', CORPUS_LONGEST_LINE + 10);
    refuse("a.jsonl", line, CORPUS_LONGEST_LINE + 10, "longer than 32 MB");
    free(line);
}

static void test_folders_and_globs(void **state)
{
    (void)state;
    put("corpus_files/b.txt", "b", 1);
    put("corpus_files/a.c", "a", 1);
    put("corpus_files/deep/c.jsonl", "{\"body\": \"c\"}", 13);
    put("corpus_files/deep/.hidden/d.txt", "d", 1);
    put("corpus_files/e.bin", "e\0", 2);
    text out = {0};
    int64_t pieces;
    warnings = 0;
    assert_int_equal(read_all("corpus_files", "body", false, &out, &pieces), 0);
    assert_string_equal(out.at, "[a][b][c]");
    assert_int_equal(warnings, 1); /* e.bin */
    out.length = 0;
    assert_int_equal(read_all("corpus_files/*.?*t", NULL, false, &out, &pieces), 0);
    assert_string_equal(out.at, "[b]");
    out.length = 0;
    assert_int_equal(read_all("corpus_files/e.bin", NULL, true, &out, &pieces), 0);
    assert_int_equal(out.length, 4);
    text_free(&out);
}

/* Random documents of up to some megabytes against what they were joined from. */
static void test_pieces_join(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "word", " ",  "\n",      "\r\n", "<|endoftext|>", "\xe4\xbd\xa0\xe5\xa5\xbd", "\n\n",
        "  ",   "\t", "<|endof", "1",    ". And "};
    rng dice = rng_make(1, 2);
    int64_t most = 0;
    for (int round = 0; round < 6; round++) {
        text file = {0}, wanted = {0}, got = {0};
        int documents = 1 + (int)rng_below(&dice, 4);
        for (int d = 0; d < documents; d++) {
            text_puts(&wanted, "[");
            uint32_t length = 1 + rng_below(&dice, 3 << 20), kinds = 1 + rng_below(&dice, COUNT(parts));
            size_t start = file.length;
            while (file.length - start < length) {
                const char *part = parts[rng_below(&dice, kinds)];
                if (part[0] == '<') text_puts(&file, "-"); /* not at the start of a line */
                text_puts(&file, part);
            }
            text_puts(&file, ".");
            text_add(&wanted, file.at + start, file.length - start);
            text_puts(&wanted, "]");
            text_puts(&file, "\n<|endoftext|>\n");
        }
        put("a.txt", file.at, file.length);
        int64_t pieces;
        assert_int_equal(read_all("a.txt", NULL, false, &got, &pieces), 0);
        most = MAX(most, pieces);
        assert_int_equal(got.length, wanted.length);
        assert_memory_equal(got.at, wanted.at, wanted.length);
        text_free(&file), text_free(&wanted), text_free(&got);
    }
    assert_true(most > 4);
    unlink("a.txt");
}

static void test_safe_cut(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        int64_t at;
    } cases[] = {
        {"one\ntwo", 4},
        {"one two", 3},
        {"one  two", -1},
        {"one\n two", -1},
        {"one \ntwo", -1},
        {"\nx", -1},
        {"one\n\ntwo", -1},
        {"one\n<two", -1},
        {"1 2 3", -1},
        {"one\n\xe3\x80\x80x", -1},
        {"\xe3\x80\x82\n\xe4\xbd\xa0", 4},
        {"\xe3\x80\x80\n\xe4\xbd\xa0", -1},
        {"one\r\ntwo", -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t count = (int64_t)strlen(cases[i].bytes);
        assert_int_equal(corpus_safe_cut(cases[i].bytes, count, 0, count - 1), cases[i].at);
    }
    assert_int_equal(corpus_character_start("a\xe4\xbd\xa0", 3), 1);
    assert_int_equal(corpus_character_start("abc", 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents),   cmocka_unit_test(test_refusals), cmocka_unit_test(test_folders_and_globs),
        cmocka_unit_test(test_pieces_join), cmocka_unit_test(test_safe_cut),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
