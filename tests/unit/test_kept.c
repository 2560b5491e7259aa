/* What is kept by content: found again whole, or not at all. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/kept.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static context *ctx;
static const char *const folder = "test_kept.d";
static const kept_key key = {"kernels", "nvrtc 13.0 sm_90", "__global__ void f() {}"};

static int clean(void **state)
{
    (void)state;
    return directory_remove(ctx, folder);
}

static char *only_file(void)
{
    static char path[512];
    DIR *d = opendir("test_kept.d/kernels");
    assert_non_null(d);
    int count = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && ++count) snprintf(path, sizeof path, "test_kept.d/kernels/%s", e->d_name);
    closedir(d);
    assert_int_equal(count, 1);
    return path;
}

static void test_found_again(void **state)
{
    (void)state;
    text found;
    const kept_key others[] = {{key.kind, key.maker, "__global__ void g() {}"}, {key.kind, "nvrtc 13.1", key.source}};
    assert_false(kept_read(ctx, folder, &key, &found));
    kept_write(ctx, folder, &key, "a\0bytes", 7);
    assert_true(kept_read(ctx, folder, &key, &found));
    assert_int_equal(found.length, 7);
    assert_memory_equal(found.at, "a\0bytes", 7);
    text_free(&found);
    for (size_t i = 0; i < COUNT(others); i++) assert_false(kept_read(ctx, folder, &others[i], &found));
    (void)only_file();
}

/* Every byte of the file changed, and every shorter file: as good as none; and it can be written again. */
static void test_damaged(void **state)
{
    (void)state;
    text whole = {0}, found;
    kept_write(ctx, folder, &key, "bytes", 5);
    char *path = only_file();
    assert_int_equal(file_read_whole(ctx, path, 1 << 20, &whole), INGOT_OK);
    for (size_t i = 0; i < whole.length; i++) {
        whole.at[i] ^= 1;
        assert_int_equal(file_write_whole(ctx, path, whole.at, whole.length), INGOT_OK);
        assert_false(kept_read(ctx, folder, &key, &found));
        whole.at[i] ^= 1;
        assert_int_equal(file_write_whole(ctx, path, whole.at, i), INGOT_OK);
        assert_false(kept_read(ctx, folder, &key, &found));
    }
    text_free(&whole);
    kept_write(ctx, folder, &key, "bytes", 5);
    assert_true(kept_read(ctx, folder, &key, &found));
    text_free(&found);
}

static void test_nowhere_to_write(void **state)
{
    (void)state;
    text found;
    kept_write(ctx, "/proc/nowhere", &key, "bytes", 5);
    assert_false(kept_read(ctx, "/proc/nowhere", &key, &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_found_again, clean, clean),
        cmocka_unit_test_setup_teardown(test_damaged, clean, clean),
        cmocka_unit_test(test_nowhere_to_write),
    };
    if (ingot_context_new(NULL, &ctx)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ingot_context_free(ctx);
    return failed;
}
