/* Files: whole or not at all, on a full disk and beside a killed process too; links, folders, locks. */
#define _GNU_SOURCE
#include "tests.h"
#include "base/file.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static context *ctx;
static const char *const folder = "test_file.d";

static int set_up(void **state)
{
    (void)state;
    return directory_remove(ctx, folder) || directory_create(ctx, "test_file.d/a/b") || chdir(folder);
}

static int tear_down(void **state)
{
    (void)state;
    return chdir("..") || directory_remove(ctx, folder);
}

static int entries(const char *path)
{
    int count = 0;
    DIR *d = opendir(path);
    while (readdir(d)) count++;
    closedir(d);
    return count - 2;
}

static void holds(const char *path, const char *expected)
{
    text got = {0};
    assert_int_equal(file_read_whole(ctx, path, 1 << 20, &got), 0);
    assert_int_equal(got.length, strlen(expected));
    assert_memory_equal(got.at, expected, got.length);
    text_free(&got);
}

static void test_written_whole(void **state)
{
    (void)state;
    file_writer *w;
    umask(027);
    assert_int_equal(file_write_whole(ctx, "x", "old", 3), 0);
    struct stat info;
    assert_int_equal(stat("x", &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    umask(022);
    assert_int_equal(file_create(ctx, "x", &w), 0);
    assert_int_equal(file_printf(w, "%s %d", "new", 7), 0);
    holds("x", "old"); /* until it is committed */
    assert_int_equal(file_commit(w), 0);
    holds("x", "new 7");
    assert_int_equal(file_create(ctx, "x", &w), 0);
    assert_int_equal(file_write(w, "gone", 4), 0);
    file_abandon(w);
    file_abandon(NULL);
    holds("x", "new 7");
    assert_int_equal(entries("."), 2); /* x and a: nothing temporary is left */
    assert_int_equal(file_bytes("x"), 5);
    assert_int_equal(file_bytes("none"), 0);
}

static void test_full_disk(void **state)
{
    (void)state;
    static char big[200000];
    assert_int_equal(file_write_whole(ctx, "x", "old", 3), 0);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, limit;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 50000;
    setrlimit(RLIMIT_FSIZE, &limit);
    status large = file_write_whole(ctx, "x", big, sizeof big); /* fails in write */
    file_writer *w;
    assert_int_equal(file_create(ctx, "x", &w), 0);
    for (int i = 0; i < 50050; i += 50)
        (void)file_write(w, big, 50); /* fails in a flush, which commit must not forget */
    status small = file_commit(w);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(large, INGOT_ERROR_FILE);
    assert_int_equal(small, INGOT_ERROR_FILE);
    holds("x", "old");
    assert_int_equal(entries("."), 2);
    assert_int_equal(file_write_whole(ctx, "/dev/full", "y", 1), INGOT_ERROR_FILE);
    assert_non_null(strstr(ingot_message(ctx), "/dev/full: No space left"));
    assert_int_equal(file_write_whole(ctx, "/dev/null", big, sizeof big), 0);
}

static void test_killed_while_writing(void **state)
{
    (void)state;
    assert_int_equal(file_write_whole(ctx, "x", "old", 3), 0);
    pid_t child = fork();
    if (!child) {
        file_writer *w;
        if (!file_create(ctx, "x", &w) && !file_write(w, "half of it", 10)) raise(SIGKILL);
        _exit(1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    holds("x", "old");
    assert_int_equal(file_write_whole(ctx, "x", "new", 3), 0); /* what it left is in nobody's way */
    holds("x", "new");
}

static void test_unwritable(void **state)
{
    (void)state;
    assert_int_equal(file_write_whole(ctx, "none/x", "y", 1), INGOT_ERROR_FILE);
    assert_string_equal(ingot_message(ctx), "cannot write none/x: No such file or directory");
    assert_int_equal(file_write_whole(ctx, "a", "y", 1), INGOT_ERROR_FILE); /* a folder */
    file_map map;
    assert_int_equal(file_map_open(ctx, "a", &map), INGOT_ERROR_FILE);
    assert_int_equal(file_map_open(ctx, "none", &map), INGOT_ERROR_FILE);
    file_map_close(&map);
}

static void test_map(void **state)
{
    (void)state;
    file_map map;
    assert_int_equal(file_write_whole(ctx, "empty", "", 0), 0);
    assert_int_equal(file_map_open(ctx, "empty", &map), 0);
    assert_true(map.bytes == 0 && map.at);
    file_map_close(&map);
    assert_int_equal(file_write_whole(ctx, "x", "bytes", 5), 0);
    assert_int_equal(file_map_open(ctx, "x", &map), 0);
    assert_memory_equal(map.at, "bytes", 5);
    file_map_close(&map);
    text t = {0};
    assert_int_equal(file_read_whole(ctx, "x", 4, &t), INGOT_ERROR_FORMAT);
    text_free(&t);
}

static void test_folders(void **state)
{
    (void)state;
    assert_int_equal(directory_create(ctx, "p//q/r/"), 0);
    assert_true(directory_exists("p/q/r"));
    assert_int_equal(directory_create(ctx, "p/q"), 0);
    assert_int_equal(file_write_whole(ctx, "p/q/x", "y", 1), 0);
    assert_int_equal(directory_create(ctx, "p/q/x/z"), INGOT_ERROR_FILE);
    assert_int_equal(file_write_whole(ctx, "outside", "kept", 4), 0);
    assert_int_equal(symlink("../../outside", "p/q/link"), 0);
    assert_int_equal(symlink("../../a", "p/q/folder"), 0);
    assert_int_equal(directory_remove(ctx, "p"), 0);
    assert_false(file_exists("p"));
    holds("outside", "kept"); /* links are removed, not followed */
    assert_true(directory_exists("a/b"));
    assert_int_equal(directory_remove(ctx, "p"), 0);
}

static void test_links(void **state)
{
    (void)state;
    char target[16] = "";
    assert_int_equal(symlink_replace(ctx, "a", "last"), 0);
    assert_int_equal(symlink_replace(ctx, "a/b", "last"), 0);
    assert_int_equal(readlink("last", target, sizeof target - 1), 3);
    assert_string_equal(target, "a/b");
    assert_int_equal(entries("."), 2);
    assert_int_equal(symlink_replace(ctx, "a", "none/last"), INGOT_ERROR_FILE);
}

static void test_join(void **state)
{
    (void)state;
    static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *joined = path_join(cases[i][0], cases[i][1]);
        assert_string_equal(joined, cases[i][2]);
        free(joined);
    }
}

static void test_lock(void **state)
{
    (void)state;
    file_lock *held, *second;
    assert_int_equal(file_lock_take(ctx, "lock", &held), 0);
    assert_int_equal(file_lock_take(ctx, "lock", &second), INGOT_ERROR_FILE);
    assert_string_equal(ingot_message(ctx), "lock is held by another process");
    assert_null(second);
    pid_t child = fork();
    if (!child) _exit(file_lock_take(ctx, "lock", &second) == INGOT_ERROR_FILE ? 0 : 1);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    file_lock_release(held);
    assert_int_equal(file_lock_take(ctx, "lock", &second), 0);
    file_lock_release(second);
    file_lock_release(NULL);
}

int main(void)
{
    if (ingot_context_new(NULL, &ctx)) return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_written_whole), TEST(test_full_disk), TEST(test_killed_while_writing),
        TEST(test_unwritable),    TEST(test_map),       TEST(test_folders),
        TEST(test_links),         TEST(test_join),      TEST(test_lock),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ingot_context_free(ctx);
    return failed;
}
