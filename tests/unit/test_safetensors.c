/* Reading files of the format's own library and hostile ones; writing, and reading that back. */
#define _GNU_SOURCE
#include "tests.h"
#include "formats/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define GOLDEN TEST_FILES "/golden/safetensors/"

static context *ctx;

static archive *open_ok(const char *path)
{
    archive *a;
    if (archive_open(ctx, path, &a)) fail_msg("%s", ingot_message(ctx));
    return a;
}

static void read_as(const archive *a, const char *name, dtype to, void *out)
{
    const archive_tensor *t = archive_find(a, name);
    assert_non_null(t);
    if (archive_read(a, t, to, out)) fail_msg("%s", ingot_message(ctx));
}

static void test_reads_every_dtype(void **state)
{
    (void)state;
    archive *a = open_ok(GOLDEN "plain.safetensors");
    assert_int_equal(archive_count(a), 11);
    assert_string_equal(json_string_value(json_object_get(archive_metadata(a), "note")), "caf\xc3\xa9");
    double d[6];
    read_as(a, "f32", INGOT_F64, d);
    for (int i = 0; i < 6; i++) assert_true(d[i] == i - 2.5);
    read_as(a, "f64", INGOT_F64, d);
    assert_true(d[0] == 1.0 / 3 && d[1] == -1e300);
    float f[3];
    read_as(a, "bf16", INGOT_F32, f);
    assert_true(f[0] == 1.5f && f[1] == -2 && f[2] == 3.140625f);
    read_as(a, "f16", INGOT_F32, f);
    assert_true(f[0] == 65504 && f[1] == 0x1p-24f && f[2] == 0 && signbit(f[2]));
    int64_t wide[3];
    read_as(a, "i64", INGOT_I64, wide);
    assert_true(wide[0] == INT64_MIN && wide[1] == INT64_MAX);
    read_as(a, "i32", INGOT_I64, wide);
    assert_true(wide[0] == -7 && archive_find(a, "i32")->dims == 0 && archive_find(a, "i32")->elements == 1);
    read_as(a, "i8", INGOT_I64, wide);
    assert_true(wide[0] == -128 && wide[1] == 127 && wide[2] == 0);
    read_as(a, "u8", INGOT_I64, wide);
    assert_int_equal(wide[0], 255);
    read_as(a, "bool", INGOT_I64, wide);
    assert_true(wide[0] == 1 && wide[1] == 0 && wide[2] == 1);
    const archive_tensor *empty = archive_find(a, "empty");
    assert_true(empty->elements == 0 && empty->dims == 2 && empty->shape[1] == 4);
    assert_null(archive_find(a, "f3"));
    assert_int_equal(archive_read(a, archive_find(a, "f8"), INGOT_F32, f), INGOT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(ingot_message(ctx), "F8_E4M3"));
    archive_close(a);
}

static void test_reads_unaligned_data(void **state)
{
    (void)state;
    archive *a = open_ok(GOLDEN "unaligned.safetensors");
    assert_int_equal((uintptr_t)archive_at(a, 0)->bytes % 2, 1);
    float f[2];
    read_as(a, "x", INGOT_F32, f);
    assert_true(f[0] == 0.5f && f[1] == -4);
    double d[2];
    read_as(a, "x", INGOT_F64, d);
    assert_true(d[0] == 0.5 && d[1] == -4);
    archive_close(a);
}

static void test_reads_shards(void **state)
{
    (void)state;
    archive *a = open_ok(GOLDEN "shards");
    assert_int_equal(archive_count(a), 3);
    float f;
    read_as(a, "b", INGOT_F32, &f);
    assert_true(f == 3);
    read_as(a, "c", INGOT_F32, &f);
    assert_true(f == 4);
    archive_close(a);
}

static void index_refused(const char *json, const char *message)
{
    assert_int_equal(directory_create(ctx, "st-shards"), 0);
    assert_int_equal(file_write_whole(ctx, "st-shards/model.safetensors.index.json", json, strlen(json)), 0);
    archive *a;
    assert_int_not_equal(archive_open(ctx, "st-shards", &a), 0);
    if (!strstr(ingot_message(ctx), message)) fail_msg("%s gave: %s", json, ingot_message(ctx));
    assert_null(a);
    assert_int_equal(directory_remove(ctx, "st-shards"), 0);
}

static void test_refuses_a_bad_index(void **state)
{
    (void)state;
    index_refused("{}", "weight_map is missing");
    index_refused("[]", "an object");
    index_refused("{\"weight_map\": {\"a\": 3}}", "weight_map.a is not a file name");
    index_refused("{\"weight_map\": {\"a\": \"../../etc/passwd\"}}", "is no plain file name");
    index_refused("{\"weight_map\": {\"a\": \"..\"}}", "is no plain file name");
    index_refused("{\"weight_map\": {\"a\": \"gone.safetensors\"}}", "cannot open");
    index_refused("{\"weight_map\": ", "line 1");
}

/* A file of this header and this many zero bytes of data. */
static status open_made(const char *header, size_t data_bytes)
{
    size_t length = strlen(header), count = 8 + length + data_bytes;
    uint8_t *bytes = calloc(count, 1); /* exactly sized, so that a sanitizer sees a byte too far */
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(length >> (8 * i));
    memcpy(bytes + 8, header, length);
    archive *a;
    status s = archive_open_bytes(ctx, "made", bytes, count, &a);
    archive_close(a);
    free(bytes);
    return s;
}

static void refused(const char *header, size_t data_bytes, const char *message)
{
    if (!open_made(header, data_bytes)) fail_msg("%s was taken", header);
    if (!strstr(ingot_message(ctx), message)) fail_msg("%s gave: %s", header, ingot_message(ctx));
}

#define T(name, dtype, shape, begin, end)                                                                              \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void test_takes_what_is_legal(void **state)
{
    (void)state;
    assert_int_equal(open_made("{}", 0), 0);
    assert_int_equal(open_made("{}      ", 0), 0);
    assert_int_equal(open_made("{" T("x", "F32", "[]", "0", "4") "}", 4), 0);
    assert_int_equal(open_made("{" T("e", "F32", "[0]", "0", "0") "," T("x", "U8", "[3]", "0",
                                                                        "3") "," T("g", "F32", "[9,0]", "3", "3") "}",
                               3),
                     0);
    assert_int_equal(open_made("{\"__metadata__\":{}}", 0), 0);
}

static void test_refuses_what_is_not(void **state)
{
    (void)state;
    refused("{" T("x", "F32", "[2]", "0", "8") "}", 7, "it was cut short");
    refused("{" T("x", "F32", "[2]", "0", "8") "}", 9, "1 bytes after the last tensor belong to none");
    refused("{" T("x", "F32", "[3]", "0", "8") "}", 8, "F32 (3) does not take 8 bytes");
    refused("{" T("x", "F32", "[1]", "0", "4") "," T("y", "F32", "[1]", "2", "6") "}", 6, "overlaps");
    refused("{" T("x", "F32", "[1]", "0", "4") "," T("y", "F32", "[1]", "0", "4") "}", 4, "overlaps");
    refused("{" T("x", "F32", "[1]", "0", "4") "," T("y", "F32", "[1]", "5", "9") "}", 9, "a hole");
    refused("{" T("x", "F32", "[1]", "4", "8") "}", 8, "a hole");
    refused("{" T("x", "F32", "[4294967296,4294967296,4]", "0", "0") "}", 0, "does not fit in 64 bits");
    refused("{" T("x", "F32", "[4611686018427387904]", "0", "0") "}", 0, "does not take 0 bytes");
    refused("{" T("x", "F32", "[-1]", "0", "4") "}", 4, "not a whole number");
    refused("{" T("x", "F32", "[1.0]", "0", "4") "}", 4, "not a whole number");
    refused("{" T("x", "F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "more than 8 dimensions");
    refused("{" T("x", "F32", "3", "0", "4") "}", 4, "shape is not a list");
    refused("{" T("x", "F32", "[1]", "8", "4") "}", 8, "data_offsets is not");
    refused("{" T("x", "F32", "[1]", "-4", "0") "}", 8, "data_offsets is not");
    refused("{" T("x", "F32", "[1]", "0", "99999999999999999999999") "}", 8, "not a whole number");
    refused("{" T("x", "F4", "[2]", "0", "1") "}", 1, "less than a byte");
    refused("{" T("x", "Q4", "[2]", "0", "1") "}", 1, "unknown dtype 'Q4'");
    refused("{" T("x", "F32", "[1]", "0", "4") "," T("x", "F32", "[1]", "4", "8") "}", 8, "duplicate");
    refused("{\"x\":3}", 0, "not an object");
    refused("{\"__metadata__\":{\"a\":1}}", 0, "'a' is not a string");
    refused("{\"__metadata__\":[]}", 0, "not an object");
    refused("{\"x\":", 0, "line 1");
    refused("[]", 0, "does not begin as one");
    refused("", 0, "does not begin as one");
    archive *a;
    uint8_t huge[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    assert_int_not_equal(archive_open_bytes(ctx, "huge", huge, sizeof huge, &a), 0);
    assert_non_null(strstr(ingot_message(ctx), "its header says"));
    assert_int_not_equal(archive_open(ctx, "/nonexistent", &a), 0);
    assert_int_not_equal(archive_open(ctx, GOLDEN, &a), 0); /* a folder without a model */
    assert_non_null(strstr(ingot_message(ctx), "holds no model"));
}

static void test_every_cut_is_refused(void **state)
{
    (void)state;
    file_map map;
    assert_int_equal(file_map_open(ctx, GOLDEN "plain.safetensors", &map), 0);
    for (uint64_t length = 0; length < map.bytes; length++) {
        uint8_t *bytes = malloc(length + !length);
        memcpy(bytes, map.at, length);
        archive *a;
        assert_int_not_equal(archive_open_bytes(ctx, "cut", bytes, length, &a), 0);
        free(bytes);
    }
    file_map_close(&map);
}

static void test_writes_what_it_reads(void **state)
{
    (void)state;
    const char *path = "written.safetensors";
    const float x[6] = {0, 1, 2, 3, 4, 5}, scalar = 2.5f;
    const uint16_t half = float_to_bf16(1.5f);
    safetensors_writer *w;
    assert_int_equal(safetensors_create(ctx, path, &w), 0);
    safetensors_metadata(w, "format", "pt");
    safetensors_declare(w, "x", INGOT_F32, 2, (int64_t[]){2, 3});
    safetensors_declare(w, "scalar", INGOT_F32, 0, NULL);
    safetensors_declare(w, "none", INGOT_F32, 2, (int64_t[]){0, 7});
    safetensors_declare(w, "half", INGOT_BF16, 1, (int64_t[]){1});
    safetensors_append(w, x, 10); /* pieces need not follow tensors or elements */
    safetensors_append(w, (const char *)x + 10, 14);
    safetensors_append(w, &scalar, 4);
    safetensors_append(w, &half, 2);
    if (safetensors_commit(w)) fail_msg("%s", ingot_message(ctx));
    archive *a = open_ok(path);
    float out[6];
    read_as(a, "x", INGOT_F32, out);
    assert_memory_equal(out, x, sizeof x);
    read_as(a, "scalar", INGOT_F32, out);
    assert_true(out[0] == 2.5f);
    read_as(a, "half", INGOT_F32, out);
    assert_true(out[0] == 1.5f);
    assert_int_equal((uintptr_t)archive_at(a, 0)->bytes % 64, 0); /* maps begin at a page */
    assert_string_equal(json_string_value(json_object_get(archive_metadata(a), "format")), "pt");
    archive_close(a);
    if (!getenv("INGOT_KEEP_FILES")) unlink(path);
}

static void test_writer_refuses(void **state)
{
    (void)state;
    const char *path = "refused.safetensors";
    safetensors_writer *w;
    int64_t one = 1, huge[2] = {INT64_MAX, 8};
    struct {
        const char *first, *second;
        int64_t *shape;
        int dims;
        int append;
    } bad[] = {{"x", "x", &one, 1, 8},    {"x", "__metadata__", &one, 1, 8},
               {"x", "\xff", &one, 1, 8}, {"x", "y", huge, 2, 4},
               {"x", "y", &one, 1, 4},    {"x", "y", &one, 1, 9}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        const char zeros[16] = {0};
        assert_int_equal(safetensors_create(ctx, path, &w), 0);
        safetensors_declare(w, bad[i].first, INGOT_F32, 1, &one);
        safetensors_declare(w, bad[i].second, INGOT_F32, bad[i].dims, bad[i].shape);
        safetensors_append(w, zeros, (uint64_t)bad[i].append);
        assert_int_not_equal(safetensors_commit(w), 0);
        assert_false(file_exists(path));
    }
    assert_int_equal(safetensors_create(ctx, path, &w), 0);
    safetensors_append(w, NULL, 0);
    safetensors_declare(w, "late", INGOT_F32, 1, &one);
    assert_int_not_equal(safetensors_commit(w), 0);
    assert_non_null(strstr(ingot_message(ctx), "'late' was declared after"));
}

int main(void)
{
    if (ingot_context_new(NULL, &ctx)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_every_dtype),    cmocka_unit_test(test_reads_unaligned_data),
        cmocka_unit_test(test_reads_shards),         cmocka_unit_test(test_refuses_a_bad_index),
        cmocka_unit_test(test_takes_what_is_legal),  cmocka_unit_test(test_refuses_what_is_not),
        cmocka_unit_test(test_every_cut_is_refused), cmocka_unit_test(test_writes_what_it_reads),
        cmocka_unit_test(test_writer_refuses),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ingot_context_free(ctx);
    return failed;
}
