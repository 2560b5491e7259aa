/* Token files: written, read back, byte layout as llm.c has it, and everything that is not one refused. */
#include "context.h"
#include "formats/jsonl.h"
#include "formats/token_bin.h"

#include <unistd.h>

static void round_trip(int id_bytes, const int32_t *ids, int64_t count)
{
    const char *path = "test_token_bin.bin";
    token_bin_writer *w;
    assert_int_equal(token_bin_create(ctx, path, id_bytes, &w), 0);
    assert_int_equal(token_bin_add(w, ids, count / 2), 0);
    assert_int_equal(token_bin_add(w, ids + count / 2, count - count / 2), 0);
    assert_int_equal(token_bin_written(w), count);
    assert_false(file_exists(path)); /* nothing under the name before it is whole */
    assert_int_equal(token_bin_commit(w), 0);
    token_bin t;
    assert_int_equal(token_bin_open(ctx, path, false, &t), 0);
    assert_int_equal(t.count, count);
    assert_int_equal(t.id_bytes, id_bytes);
    int32_t *back = malloc(sizeof *back * (size_t)(count + 1));
    token_bin_read(&t, 0, count, back);
    assert_memory_equal(back, ids, sizeof *ids * (size_t)count);
    if (count > 3) {
        token_bin_read(&t, 3, 1, back);
        assert_int_equal(back[0], ids[3]);
    }
    free(back);
    token_bin_close(&t);
    unlink(path);
}

static void test_round_trip(void **state)
{
    (void)state;
    enum { MANY = 30001 };
    static int32_t ids[MANY];
    for (int i = 0; i < MANY; i++) ids[i] = (i * 7919) & 0xffff;
    round_trip(2, ids, MANY);
    round_trip(4, ids, MANY);
    round_trip(2, ids, 0);
    ids[17] = INT32_MAX;
    round_trip(4, ids, MANY);
}

static void test_layout(void **state)
{
    (void)state;
    uint8_t file[1024 + 6] = {0x88, 0xD8, 0x34, 0x01, 1, 0, 0, 0, 3, 0, 0, 0}; /* 20240520 = 0x0134D888 */
    memcpy(file + 1024, (uint8_t[]){1, 0, 0, 2, 0xff, 0xff}, 6);
    token_bin t;
    assert_int_equal(token_bin_parse(ctx, "x", file, sizeof file, false, &t), 0);
    int32_t ids[3];
    token_bin_read(&t, 0, 3, ids);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], 512);
    assert_int_equal(ids[2], 65535);
    assert_int_equal(token_bin_parse(ctx, "x", file + 1024, 6, true, &t), 0);
    assert_int_equal(t.count, 3);
    uint8_t wide[1024 + 8] = {0xA1, 0xD9, 0x34, 0x01, 7, 0, 0, 0, 2, 0, 0, 0}; /* 20240801 */
    memcpy(wide + 1024, (uint8_t[]){1, 0, 2, 0, 0xff, 0xff, 0xff, 0xff}, 8);
    assert_int_equal(token_bin_parse(ctx, "x", wide, sizeof wide, false, &t), 0);
    token_bin_read(&t, 0, 2, ids);
    assert_int_equal(ids[0], 0x20001);
    assert_true(ids[1] < 0);
}

static void refuse(const uint8_t *bytes, uint64_t count, bool raw, const char *says)
{
    token_bin t;
    assert_int_not_equal(token_bin_parse(ctx, "x.bin", bytes, count, raw, &t), 0);
    if (!strstr(ingot_message(ctx), says)) fail_msg("\"%s\" does not say \"%s\"", ingot_message(ctx), says);
    assert_int_equal(t.count, 0);
}

static void test_refusals(void **state)
{
    (void)state;
    uint8_t file[1024 + 6] = {0x88, 0xD8, 0x34, 0x01, 1, 0, 0, 0, 3, 0, 0, 0};
    refuse(file, 0, false, "fewer than the header");
    refuse(file, 1023, false, "fewer than the header");
    refuse(file, 1024 + 5, false, "promises 3 tokens");
    refuse(file, 1024 + 4, false, "promises 3 tokens");
    refuse(file, sizeof file, true, "leave out --raw-u16");
    refuse(file + 1, 5, true, "odd number");
    file[4] = 2;
    refuse(file, sizeof file, false, "version 2");
    file[4] = 1, file[11] = 0xff;
    refuse(file, sizeof file, false, "promises 4278190083 tokens");
    file[0] = 0x89;
    refuse(file, sizeof file, false, "--raw-u16");
    file[0] = 0xC6, file[1] = 0xD7; /* 20240326 = 0x0134D7C6 */
    refuse(file, sizeof file, false, "a model of llm.c");
}

static void test_writer_refuses_what_does_not_fit(void **state)
{
    (void)state;
    token_bin_writer *w;
    assert_int_equal(token_bin_create(ctx, "test_token_bin.bin", 2, &w), 0);
    assert_int_not_equal(token_bin_add(w, (int32_t[]){65536}, 1), 0);
    assert_int_not_equal(token_bin_add(w, (int32_t[]){-1}, 1), 0);
    token_bin_abandon(w);
    assert_false(file_exists("test_token_bin.bin"));
}

static void test_jsonl(void **state)
{
    (void)state;
    static const struct {
        const char *line, *is, *says;
    } cases[] = {
        {"{\"text\": \"a\\nb\\u00e9\"}", "a\nb\xc3\xa9", NULL},
        {"{\"id\": 3, \"text\": \"\"} ", "", NULL},
        {"{\"texts\": \"a\", \"n\": 1}", NULL, "f.jsonl:4: the object has no \"text\"; it has"},
        {"{\"text\": 3}", NULL, "not a string"},
        {"[\"text\"]", NULL, "must be a JSON object"},
        {"{\"text\": \"a\"", NULL, "not JSON"},
        {"{\"text\": \"a\"} x", NULL, "not JSON"},
        {"\"\\ud800\"", NULL, "not JSON"},
        {"{}", NULL, "it has nothing"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        text out = {0};
        status s = jsonl_string(ctx, "f.jsonl", 4, cases[i].line, (int64_t)strlen(cases[i].line), "text", &out);
        assert_int_equal(s != 0, cases[i].is == NULL);
        if (s)
            assert_non_null(strstr(ingot_message(ctx), cases[i].says));
        else
            assert_string_equal(out.at, cases[i].is);
        text_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_layout),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_writer_refuses_what_does_not_fit),
        cmocka_unit_test(test_jsonl),
    };
    return cmocka_run_group_tests(tests, context_open, context_close);
}
