/* Every op of the table, in every sample and layout, at two rungs of the cpu's ladder: the same as `ingot check`. */
#include "tests.h"
#include "check/check.h"

#include <stdio.h>

static void check_level(const char *level, dtype d, bool small)
{
    context *ctx;
    check_report report = {0};
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    check_options o = {.device = "cpu", .level = level, .seed = 7, .dtype = d, .small = small};
    if (check_ops(ctx, &o, &report)) fail_msg("%s", ingot_message(ctx));
    assert_true(report.rows.count > 40);
    for (int64_t i = 0; i < report.rows.count; i++) {
        const check_row *r = &report.rows.at[i];
        if (r->failure) print_error("%s: %s\n", level, r->failure);
        if (!r->runs && !r->failure) print_error("%s: %s ran nothing\n", level, r->name);
        if (!r->runs) report.failures++;
    }
    assert_int_equal(report.failures, 0);
    check_report_free(&report);
    ingot_context_free(ctx);
}

static void test_naive(void **state)
{
    (void)state;
    check_level("naive", INGOT_F32, false);
}

static void test_best(void **state)
{
    (void)state;
    check_level("best", INGOT_F32, false);
}

static void test_bfloat16(void **state)
{
    (void)state;
    check_level("best", INGOT_BF16, false);
    check_level("parallel", INGOT_BF16, true); /* what `best` seldom takes */
}

static void test_float16(void **state)
{
    (void)state;
    check_level("best", INGOT_F16, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_naive), cmocka_unit_test(test_best),
                                       cmocka_unit_test(test_bfloat16), cmocka_unit_test(test_float16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
