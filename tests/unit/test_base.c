/* Arena, arrays, strings, names, messages: the ground that every room stands on. */
#include "tests.h"
#include "base/base.h"

#include <pthread.h>
#include <stdio.h>

static void test_arena(void **state)
{
    (void)state;
    arena *a = arena_new();
    uint8_t *pieces[400];
    for (size_t i = 0; i < COUNT(pieces); i++) {
        size_t bytes = i * i % 4096 + (i % 50 == 0 ? 100000 : 0) + 1;
        pieces[i] = arena_alloc(a, bytes);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t j = 0; j < bytes; j++) assert_int_equal(pieces[i][j], 0);
        memset(pieces[i], (int)(i % 255 + 1), bytes);
    }
    for (size_t i = 0; i < COUNT(pieces); i++) assert_int_equal(pieces[i][i * i % 4096], i % 255 + 1);
    assert_string_equal(arena_strdup(a, "two words"), "two words");
    assert_string_equal(arena_printf(a, "%d-%s", 7, "x"), "7-x");
    assert_false(arena_failed(a));
    assert_null(ARENA_ARRAY(a, double, INT64_MAX));
    assert_true(arena_failed(a));
    arena_free(a);
    a = arena_new();
    assert_null(ARENA_ARRAY(a, char, -1));
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_true(arena_failed(a));
    arena_free(a);
}

static void test_array(void **state)
{
    (void)state;
    ARRAY(int) numbers = {0};
    for (int i = 0; i < 10000; i++) assert_true(ARRAY_PUSH(&numbers, i));
    for (int i = 0; i < 10000; i++) assert_int_equal(numbers.at[i], i);
    assert_false(ARRAY_RESERVE(&numbers, INT64_MAX / 2));
    assert_int_equal(numbers.at[9999], 9999); /* a refusal leaves what was there */
    ARRAY_FREE(&numbers);
}

static void test_text(void **state)
{
    (void)state;
    text t = {0};
    text_add(&t, "", 0);
    assert_string_equal(t.at, "");
    for (int i = 0; i < 1000; i++) text_printf(&t, "%d,", i);
    assert_int_equal(t.length, 10 * 2 + 90 * 3 + 900 * 4);
    assert_true(strncmp(t.at, "0,1,2,", 6) == 0 && strcmp(t.at + t.length - 4, "999,") == 0);
    text_add(&t, "a\0b", 3);
    assert_int_equal(t.at[t.length - 2], 0);
    text_add(&t, "x", SIZE_MAX - 10);
    assert_true(t.failed);
    size_t length = t.length;
    text_puts(&t, "more");
    assert_int_equal(t.length, length);
    text_free(&t);
    assert_null(t.at);
}

static void test_nearest_name(void **state)
{
    (void)state;
    static const char *const names[] = {"steps", "batch-size", "lr", "learning-rate", "vocab-size"};
    assert_string_equal(nearest_name("step", names, COUNT(names)), "steps");
    assert_string_equal(nearest_name("batchsize", names, COUNT(names)), "batch-size");
    assert_string_equal(nearest_name("vocabsize", names, COUNT(names)), "vocab-size");
    assert_string_equal(nearest_name("stpes", names, COUNT(names)), "steps");
    static const char *const dtypes[] = {"float32", "bfloat16", "float16"};
    assert_string_equal(nearest_name("bf16", dtypes, COUNT(dtypes)), "bfloat16");
    assert_string_equal(nearest_name("f32", dtypes, COUNT(dtypes)), "float32");
    assert_string_equal(nearest_name("f16", dtypes, COUNT(dtypes)), "float16");
    assert_null(nearest_name("f64", dtypes, COUNT(dtypes)));
    assert_null(nearest_name("zzzzzz", names, COUNT(names)));
    assert_null(nearest_name("", names, COUNT(names)));
    assert_null(nearest_name("steps", names, 0));
    char long_word[201];
    memset(long_word, 'a', 200);
    long_word[200] = 0;
    assert_null(nearest_name(long_word, names, COUNT(names)));
}

static void test_format_bytes(void **state)
{
    (void)state;
    char out[24];
    assert_string_equal(format_bytes(out, 0), "0 bytes");
    assert_string_equal(format_bytes(out, 999), "999 bytes");
    assert_string_equal(format_bytes(out, 1000), "1.0 KB");
    assert_string_equal(format_bytes(out, 999960), "1.0 MB");
    assert_string_equal(format_bytes(out, 1234567890), "1.2 GB");
    assert_string_equal(format_bytes(out, UINT64_MAX), "18446.7 PB");
}

static void *fail_here(void *arg)
{
    context *ctx = arg;
    char own[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(own, sizeof own, "%p %d", (void *)own, i);
        ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%s", own);
        if (strcmp(ingot_message(ctx), own)) return ctx;
    }
    return NULL;
}

static void test_each_thread_has_its_message(void **state)
{
    (void)state;
    context *ctx;
    pthread_t threads[4];
    assert_int_equal(ingot_context_new(NULL, &ctx), 0);
    assert_string_equal(ingot_message(ctx), "");
    for (size_t i = 0; i < COUNT(threads); i++) assert_int_equal(pthread_create(&threads[i], NULL, fail_here, ctx), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    assert_string_equal(ingot_message(ctx), "");
    ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "inner");
    assert_int_equal(ingot_fail(ctx, INGOT_ERROR_FILE, "outer: %s", ingot_message(ctx)), INGOT_ERROR_FILE);
    assert_string_equal(ingot_message(ctx), "outer: inner");
    ingot_context_free(ctx);
}

static void take_line(void *user, ingot_log_level level, const char *line)
{
    snprintf(user, 64, "%d %s", (int)level, line);
}

static void test_log_and_interrupt(void **state)
{
    (void)state;
    char heard[64] = "";
    context *ctx;
    ingot_context_options options = {.log = take_line, .user = heard};
    assert_int_equal(ingot_context_new(&options, &ctx), 0);
    log_line(ctx, INGOT_LOG_WARNING, "%s %d", "seen", 3);
    assert_string_equal(heard, "2 seen 3");
    progress(ctx, "nobody listens", 1, 2, "steps");
    assert_false(ingot_interrupted(ctx));
    ingot_interrupt(ctx);
    assert_true(ingot_interrupted(ctx));
    ingot_interrupt_clear(ctx);
    assert_false(ingot_interrupted(ctx));
    ingot_context_free(ctx);
    ingot_context_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_nearest_name),
        cmocka_unit_test(test_format_bytes),
        cmocka_unit_test(test_each_thread_has_its_message),
        cmocka_unit_test(test_log_and_interrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
