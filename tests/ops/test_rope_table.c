/* The table of rotary positions against libm: plain, and bent for long contexts as Llama 3.1's configuration says. */
#define _GNU_SOURCE
#include <math.h>

#include "tests.h"
#include "ingot/ops.h"
#include "ingot/program.h"

enum { POSITIONS = 300, DIM = 64 };

static void table(double theta, const ingot_rope_scaling *scaling, float *out)
{
    ingot_context *ctx;
    ingot_device *d;
    ingot_program *p;
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    assert_int_equal(ingot_device_open(ctx, "cpu", NULL, &d), INGOT_OK);
    ingot_build *b = ingot_build_new(ctx, "table");
    ingot_output(b, "table", ingot_rope_table(b, POSITIONS, DIM, theta, scaling));
    if (ingot_compile(b, d, NULL, &p)) fail_msg("%s", ingot_message(ctx));
    assert_int_equal(ingot_run(p, NULL), INGOT_OK);
    assert_int_equal(ingot_read(p, "table", out, (int64_t)POSITIONS * DIM * 4), INGOT_OK);
    ingot_program_free(p);
    ingot_device_close(d);
    ingot_context_free(ctx);
}

/* As transformers has it (_compute_llama3_parameters). */
static double bent(double f, const ingot_rope_scaling *s)
{
    double wave = 2 * M_PI / f, old = (double)s->original_positions;
    if (wave < old / s->high_freq_factor) return f;
    if (wave > old / s->low_freq_factor) return f / s->factor;
    double smooth = (old / wave - s->low_freq_factor) / (s->high_freq_factor - s->low_freq_factor);
    return (1 - smooth) * f / s->factor + smooth * f;
}

static void check_table(double theta, const ingot_rope_scaling *scaling)
{
    static float got[POSITIONS * DIM];
    table(theta, scaling, got);
    for (int p = 0; p < POSITIONS; p++)
        for (int i = 0; i < DIM / 2; i++) {
            double f = pow(theta, -2.0 * i / DIM), angle = p * (scaling ? bent(f, scaling) : f);
            assert_true(fabs(got[p * DIM + i] - cos(angle)) < 1e-4);
            assert_true(fabs(got[p * DIM + DIM / 2 + i] - sin(angle)) < 1e-4);
        }
}

static void test_plain(void **state)
{
    (void)state;
    check_table(10000, NULL);
    check_table(1e6, NULL);
}

static void test_llama3(void **state)
{
    (void)state;
    check_table(500000, &(ingot_rope_scaling){32, 1, 4, 8192});
    check_table(10000, &(ingot_rope_scaling){8, 1, 4, 64}); /* every branch within these positions */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain), cmocka_unit_test(test_llama3)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
