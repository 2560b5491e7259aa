/* Learning-rate schedules: the host's formula against values worked out by hand, and the graph's against the host's. */
#include "tests.h"
#include "ingot/ops.h"
#include "train/schedule.h"

#include <math.h>

static void near(double got, double wanted)
{
    if (!(fabs(got - wanted) <= 1e-12 * fmax(1, fabs(wanted)))) fail_msg("%.17g, not %.17g", got, wanted);
}

static void test_values(void **state)
{
    (void)state;
    ingot_schedule s = {INGOT_COSINE, .lr = 1, .final_ratio = 0.1, .warmup = 10, .steps = 110};
    near(ingot_schedule_rate(&s, 0), 0.1);
    near(ingot_schedule_rate(&s, 9), 1);
    near(ingot_schedule_rate(&s, 10), 1);
    near(ingot_schedule_rate(&s, 35), 0.1 + 0.9 * 0.5 * (1 + sqrt(0.5)));
    near(ingot_schedule_rate(&s, 60), 0.55);
    near(ingot_schedule_rate(&s, 110), 0.1);
    near(ingot_schedule_rate(&s, 5000), 0.1);
    s.kind = INGOT_LINEAR;
    near(ingot_schedule_rate(&s, 60), 0.55);
    near(ingot_schedule_rate(&s, 35), 0.775);
    near(ingot_schedule_rate(&s, 111), 0.1);
    s.kind = INGOT_WSD; /* the fall takes a fifth of 110: 22 steps */
    near(ingot_schedule_rate(&s, 87), 1);
    near(ingot_schedule_rate(&s, 99), 0.55);
    near(ingot_schedule_rate(&s, 110), 0.1);
    s.decay = 100;
    near(ingot_schedule_rate(&s, 60), 0.55);
    s.kind = INGOT_CONSTANT;
    near(ingot_schedule_rate(&s, 4), 0.5);
    near(ingot_schedule_rate(&s, 1000), 1);
    s.warmup = 0;
    near(ingot_schedule_rate(&s, 0), 1);
    s = (ingot_schedule){INGOT_COSINE, .lr = 1, .final_ratio = 0.1, .warmup = 20, .steps = 20}; /* warm-up alone */
    near(ingot_schedule_rate(&s, 19), 1);
    near(ingot_schedule_rate(&s, 20), 0.1);
}

/* A schedule of no steps, or shorter than its warm-up, stays defined. */
static void test_degenerate(void **state)
{
    (void)state;
    for (int kind = INGOT_COSINE; kind <= INGOT_CONSTANT; kind++) {
        for (int64_t steps = 0; steps < 4; steps++) {
            ingot_schedule s = {kind, .lr = 2, .final_ratio = 0.5, .warmup = 3, .steps = steps};
            for (int64_t i = 0; i < 8; i++) {
                double rate = ingot_schedule_rate(&s, i);
                assert_true(rate > 0 && rate <= 2);
            }
        }
    }
}

static void test_graph_equals_host(void **state)
{
    (void)state;
    ingot_context *ctx;
    ingot_device *d;
    assert_int_equal(ingot_context_new(&(ingot_context_options){.threads = 1}, &ctx), INGOT_OK);
    assert_int_equal(ingot_device_open(ctx, "cpu", NULL, &d), INGOT_OK);
    const int64_t steps[] = {0, 1, 4, 5, 6, 40, 80, 81, 96, 99, 100, 101, 5000};
    for (int kind = INGOT_COSINE; kind <= INGOT_CONSTANT; kind++) {
        ingot_schedule s = {kind, .lr = 6e-4, .final_ratio = 0.1, .warmup = 5, .steps = 100};
        ingot_build *b = ingot_build_new(ctx, "rate");
        ingot_output(b, "rate", schedule_build(b, &s, ingot_input(b, "step", INGOT_F32, INGOT_SCALAR)));
        ingot_program *p;
        if (ingot_compile(b, d, NULL, &p)) fail_msg("%s", ingot_message(ctx));
        for (size_t i = 0; i < COUNT(steps); i++) {
            float step = (float)steps[i], rate;
            assert_int_equal(ingot_write(p, "step", &step, sizeof step), INGOT_OK);
            assert_int_equal(ingot_run(p, NULL), INGOT_OK);
            assert_int_equal(ingot_read(p, "rate", &rate, sizeof rate), INGOT_OK);
            double wanted = ingot_schedule_rate(&s, steps[i]);
            if (!(fabs(rate - wanted) <= 2e-6 * wanted))
                fail_msg("%s at %lld: %g, not %g", ingot_schedule_names()[kind], (long long)steps[i], (double)rate,
                         wanted);
        }
        ingot_program_free(p);
    }
    ingot_device_close(d);
    ingot_context_free(ctx);
}

static void test_refused(void **state)
{
    (void)state;
    ingot_context *ctx;
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    assert_int_equal(schedule_check(ctx, &(ingot_schedule){INGOT_COSINE, .lr = NAN}), INGOT_ERROR_ARGUMENT);
    assert_int_equal(schedule_check(ctx, &(ingot_schedule){INGOT_COSINE, .lr = 1, .final_ratio = 2}),
                     INGOT_ERROR_ARGUMENT);
    assert_int_equal(schedule_check(ctx, &(ingot_schedule){INGOT_COSINE, .lr = 1, .warmup = -1}), INGOT_ERROR_ARGUMENT);
    assert_int_equal(schedule_check(ctx, &(ingot_schedule){INGOT_COSINE, .lr = 1, .steps = 1 << 24}),
                     INGOT_ERROR_ARGUMENT);
    ingot_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_degenerate),
                                       cmocka_unit_test(test_graph_equals_host), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
