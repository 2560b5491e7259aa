/* Run folders: who may open one, what a checkpoint leaves at each moment; z-scores, step lines and log files. */
#define _GNU_SOURCE

#include "context.h"
#include "train/metrics.h"
#include "train/run.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static int begin(void **state)
{
    (void)state;
    if (ingot_context_new(&(ingot_context_options){.threads = 1}, &ctx)) return 1;
    return directory_remove(ctx, "run_test");
}

static int end(void **state)
{
    (void)state;
    status s = directory_remove(ctx, "run_test");
    ingot_context_free(ctx);
    return s;
}

static void save(run *r, int64_t step, bool best, int keep)
{
    const char *folder;
    char path[256];
    OK(run_checkpoint_begin(r, step, &folder));
    snprintf(path, sizeof path, "%s/weights", folder);
    OK(file_write_whole(ctx, path, &step, sizeof step));
    OK(run_checkpoint_commit(r, best, keep));
}

static void points_to(const char *link, int64_t step)
{
    char *path = run_checkpoint("run_test", link);
    assert_non_null(path);
    assert_int_equal(run_checkpoint_step(path), step);
    text held = {0};
    char file[256];
    snprintf(file, sizeof file, "%s/weights", path);
    OK(file_read_whole(ctx, file, 100, &held));
    assert_memory_equal(held.at, &step, sizeof step);
    text_free(&held);
    free(path);
}

static bool there(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "run_test/steps/%s", name);
    return directory_exists(path);
}

static void test_checkpoints(void **state)
{
    (void)state;
    run *r, *other;
    OK(run_check_new(ctx, "run_test"));
    assert_int_equal(run_open(ctx, "run_test", RUN_RESUME, &r), INGOT_ERROR_FILE);
    OK(run_open(ctx, "run_test", RUN_NEW, &r));
    assert_int_equal(run_open(ctx, "run_test", RUN_NEW, &other), INGOT_ERROR_FILE);
    assert_non_null(strstr(ingot_message(ctx), "another process trains"));
    assert_null(run_checkpoint("run_test", "last"));
    save(r, 5, true, 1);
    save(r, 10, false, 1);
    save(r, 15, false, 1);
    points_to("last", 15);
    points_to("best", 5);
    assert_true(there("000005") && !there("000010") && there("000015"));
    const char *folder; /* begun and given up: nothing changes */
    OK(run_checkpoint_begin(r, 20, &folder));
    assert_true(directory_exists(folder));
    run_checkpoint_abandon(r);
    assert_false(there("tmp-000020"));
    points_to("last", 15);
    save(r, 1234567, true, 0);
    points_to("best", 1234567);
    assert_true(there("000005") && there("000015"));
    run_close(r);
    assert_int_equal(run_open(ctx, "run_test", RUN_NEW, &r), INGOT_ERROR_FILE);
    assert_non_null(strstr(ingot_message(ctx), "--resume"));
    assert_non_null(strstr(ingot_message(ctx), "--overwrite"));
}

/* What a killed process may leave: a half-written checkpoint, one without its link, one half removed. */
static void test_leftovers(void **state)
{
    (void)state;
    run *r;
    OK(run_open(ctx, "run_test", RUN_OVERWRITE, &r));
    assert_null(run_checkpoint("run_test", "last"));
    save(r, 5, false, 0);
    run_close(r);
    OK(directory_create(ctx, "run_test/steps/tmp-000010"));
    OK(directory_create(ctx, "run_test/steps/tmp-old-000001/deep"));
    OK(file_write_whole(ctx, "run_test/steps/tmp-000010/weights", "half", 4));
    OK(directory_create(ctx, "run_test/steps/000010"));
    OK(file_write_whole(ctx, "run_test/steps/000010/weights", "unlinked", 8));
    OK(run_open(ctx, "run_test", RUN_RESUME, &r));
    assert_false(there("tmp-000010") || there("tmp-old-000001"));
    points_to("last", 5);
    save(r, 10, false, 0);
    points_to("last", 10);
    run_close(r);
    /* links that lead nowhere, or out of the run, are none */
    assert_int_equal(unlink("run_test/last"), 0);
    assert_int_equal(symlink("steps/000099", "run_test/last"), 0);
    assert_null(run_checkpoint("run_test", "last"));
    assert_int_equal(run_open(ctx, "run_test", RUN_RESUME, &r), INGOT_ERROR_FILE);
}

static void test_step_names(void **state)
{
    (void)state;
    assert_int_equal(run_checkpoint_step("run/steps/000200"), 200);
    assert_int_equal(run_checkpoint_step("000000"), 0);
    assert_int_equal(run_checkpoint_step("run/steps/tmp-000200"), -1);
    assert_int_equal(run_checkpoint_step("12x"), -1);
    assert_int_equal(run_checkpoint_step("99999999999999999999"), -1);
    assert_int_equal(run_checkpoint_step(""), -1);
}

static void test_zscore(void **state)
{
    (void)state;
    zscore z = {0};
    for (int i = 0; i < 8; i++) assert_true(isnan(zscore_add(&z, i % 2 ? 3 : 1)));
    assert_float_equal(zscore_add(&z, 4), 2, 1e-12); /* mean 2, deviation 1 */
    for (int i = 0; i < 128; i++) zscore_add(&z, 7);
    assert_float_equal(zscore_add(&z, 7), 0, 0); /* all equal: what came before has left the window */
}

static void test_line(void **state)
{
    (void)state;
    text line = {0};
    ingot_train_event e = {.result = {.step = 12, .loss = 3.912345, .norm = 0.9876, .lr = 6e-4},
                           .steps = 1000,
                           .loss_z = 0.12,
                           .norm_z = -0.3,
                           .seconds = 0.0412,
                           .seconds_left = 41,
                           .flops = 1.57e9,
                           .rows = 512,
                           .unit = "tok"};
    step_line(&line, &e);
    assert_string_equal(line.at, "step 12/1000 | loss 3.912345 (+0.12z)| norm 0.9876 (-0.30z)| lr 6.00e-04 | 41.2 ms | "
                                 "38.1 GFLOP/s | 12427 tok/s | 41 s left");
    text_free(&line);
}

static void test_log(void **state)
{
    (void)state;
    static const char *const paths[] = {"run_test/log.jsonl", "run_test/log.csv"};
    OK(directory_create(ctx, "run_test"));
    for (run_log_format format = LOG_JSONL; format <= LOG_CSV; format++) {
        run_log *log;
        text held = {0};
        OK(run_log_open(ctx, paths[format], format, 0, &log));
        for (int i = 1; i <= 5; i++) {
            ingot_train_event e = {.result = {.step = i, .loss = i}, .seconds = 1};
            OK(run_log_step(log, &e));
            if (i == 2) OK(run_log_evaluation(log, &e));
        }
        run_log_close(log);
        /* killed in the middle of a line, resumed at step 3 */
        FILE *f = fopen(paths[format], "a");
        assert_non_null(f);
        fputs(format == LOG_CSV ? "6,1." : "{\"step\":6,\"lo", f);
        fclose(f);
        OK(run_log_open(ctx, paths[format], format, 3, &log));
        OK(run_log_step(log, &(ingot_train_event){.result = {.step = 4, .loss = 40}, .seconds = 1}));
        run_log_close(log);
        OK(file_read_whole(ctx, paths[format], 10000, &held));
        int lines = 0;
        for (size_t i = 0; i < held.length; i++) lines += held.at[i] == '\n';
        assert_int_equal(lines, format == LOG_CSV ? 6 : 5); /* steps 1 2 3, an evaluation, step 4 */
        assert_non_null(strstr(held.at, format == LOG_CSV ? "\n4,40," : "{\"step\":4,\"loss\":40,"));
        assert_int_equal(held.at[held.length - 1], '\n');
        assert_null(strstr(held.at, format == LOG_CSV ? "\n5," : "{\"step\":5"));
        text_free(&held);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_checkpoints), cmocka_unit_test(test_leftovers),
                                       cmocka_unit_test(test_step_names),  cmocka_unit_test(test_zscore),
                                       cmocka_unit_test(test_line),        cmocka_unit_test(test_log)};
    return cmocka_run_group_tests(tests, begin, end);
}
