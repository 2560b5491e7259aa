/* JSON's limits and the messages of typed fields. */
#define _GNU_SOURCE
#include "tests.h"
#include "formats/json.h"

#include "base/file.h"

#include <unistd.h>

static context *ctx;

static json_t *parse(const char *source)
{
    json_t *root;
    if (json_read(ctx, "f.json", source, strlen(source), &root)) fail_msg("%s", ingot_message(ctx));
    return root;
}

static void test_fields(void **state)
{
    (void)state;
    json_t *root =
        parse("{\"n\": 3, \"real\": 4.0, \"x\": 0.5, \"b\": true, \"s\": \"text\", \"none\": null, \"l\": [1],"
              " \"o\": {\"theta\": 1e4}, \"huge\": 1000000000000000019884624838656}");
    json_fields f = json_fields_of(ctx, "f.json", root);
    assert_int_equal(field_int(&f, "n", 1, 9), 3);
    assert_true(field_double_or(&f, "x", 9) == 0.5 && field_double_or(&f, "none", 9) == 9);
    assert_true(field_int_or(&f, "none", 0, 9, 7) == 7 && field_int(&f, "real", 0, 9) == 4);
    assert_true(field_bool_or(&f, "b", false) && !field_bool_or(&f, "c", false));
    assert_string_equal(field_string(&f, "s"), "text");
    assert_string_equal(field_string_or(&f, "t", "other"), "other");
    assert_int_equal(json_array_size(field_list(&f, "l")), 1);
    json_fields o = json_fields_in(&f, "o"), missing = json_fields_in(&f, "p");
    assert_true(field_double(&o, "theta") == 1e4);
    assert_null(missing.object);
    assert_int_equal(field_int_or(&missing, "x", 0, 9, 5), 5);
    assert_true(field_double(&f, "huge") == 1e30);
    assert_false(f.error);
    json_decref(root);
}

static void test_messages(void **state)
{
    (void)state;
    struct {
        const char *source;
        int kind;
        const char *message;
    } cases[] = {
        {"{}", 0, "f.json: n is missing"},
        {"{\"n\": null}", 0, "f.json: n is missing"},
        {"{\"n\": \"3\"}", 0, "f.json: n is not a whole number"},
        {"{\"n\": 2.5}", 0, "f.json: n is not a whole number"},
        {"{\"n\": 1e300}", 0, "f.json: n is not a whole number"},
        {"{\"n\": 12}", 0, "f.json: n is 12; it must be 1 to 9"},
        {"{\"n\": 3}", 1, "f.json: n is not a string"},
        {"{\"n\": 3}", 2, "f.json: n is not a list"},
        {"{\"n\": {\"m\": false}}", 3, "f.json: n.m is not a number"},
        {"{\"n\": 3}", 3, "f.json: n is not an object"},
        {"[]", 0, "f.json: an object { ... } belongs here"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *root = parse(cases[i].source);
        json_fields f = json_fields_of(ctx, "f.json", root);
        if (cases[i].kind == 0) field_int(&f, "n", 1, 9);
        if (cases[i].kind == 1) field_string(&f, "n");
        if (cases[i].kind == 2) field_list(&f, "n");
        json_fields inner = json_fields_in(&f, "n");
        if (cases[i].kind == 3) field_double(&inner, "m");
        assert_int_equal(f.error, INGOT_ERROR_FORMAT);
        assert_string_equal(ingot_message(ctx), cases[i].message);
        field_int(&f, "another", 0, 1); /* the first error stays */
        assert_string_equal(ingot_message(ctx), cases[i].message);
        json_decref(root);
    }
}

static void test_refused(void **state)
{
    (void)state;
    char deep[10001];
    memset(deep, '[', 10000);
    deep[10000] = 0;
    const char *const bad[] = {deep, "{", "{\"a\": 1, \"a\": 2}", "{\"a\": \"\\ud800\"}", "\"\xff\"", "{} x", ""};
    for (size_t i = 0; i < COUNT(bad); i++) {
        json_t *root;
        assert_int_equal(json_read(ctx, "f.json", bad[i], strlen(bad[i]), &root), INGOT_ERROR_FORMAT);
        assert_null(root);
        assert_non_null(strstr(ingot_message(ctx), "f.json, line 1, column "));
    }
    json_t *root;
    assert_int_equal(file_write_whole(ctx, "limit.json", "[1, 2, 3]", 9), 0);
    assert_int_equal(json_read_file(ctx, "limit.json", 9, &root), 0);
    json_decref(root);
    assert_int_equal(json_read_file(ctx, "limit.json", 8, &root), INGOT_ERROR_FORMAT);
    assert_null(root);
    unlink("limit.json");
}

static void test_written_in_order(void **state)
{
    (void)state;
    json_t *root = json_pack("{s:i, s:[f], s:s}", "z", 1, "a", 0.1, "m", "caf\xc3\xa9");
    assert_int_equal(json_write_file(ctx, "order.json", root), 0);
    json_decref(root);
    text bytes = {0};
    assert_int_equal(file_read_whole(ctx, "order.json", 100, &bytes), 0);
    assert_string_equal(bytes.at, "{\n  \"z\": 1,\n  \"a\": [\n    0.1\n  ],\n  \"m\": \"caf\xc3\xa9\"\n}\n");
    text_free(&bytes);
    unlink("order.json");
}

int main(void)
{
    if (ingot_context_new(NULL, &ctx)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_written_in_order),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ingot_context_free(ctx);
    return failed;
}
