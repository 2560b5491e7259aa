/* Stochastic rounding: its mean is the number itself, both neighbours are the nearest ones, what fits stays as it is, and every
 * rung gives the same bits.
 */
#include "base/dtype.h"
#include "context.h"
#include "ingot/ops.h"
#include "ingot/program.h"

#include <math.h>

enum { COUNT_OF = 1031, STEPS = 600 };

/* Rows of results, one for each step, as raw 16 bits. */
static void round_all(const char *level, ingot_dtype to, const float *x, int steps, uint16_t *y)
{
    ingot_device *d;
    ingot_program *p;
    OK(ingot_device_open(ctx, "cpu", &(ingot_device_options){.level = level}, &d));
    ingot_build *b = ingot_build_new(ctx, "round");
    ingot_value *in = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(COUNT_OF));
    ingot_value *rng = ingot_input(b, "rng", INGOT_I32, INGOT_SHAPE(4));
    ingot_output(b, "y", ingot_stochastic_round(b, in, rng, to, 5));
    OK(ingot_compile(b, d, NULL, &p));
    OK(ingot_write(p, "x", x, sizeof *x * COUNT_OF));
    for (int step = 0; step < steps; step++) {
        int32_t counter[4] = {17, 0, step, 0};
        OK(ingot_write(p, "rng", counter, sizeof counter));
        OK(ingot_run(p, NULL));
        OK(ingot_read(p, "y", y + step * COUNT_OF, sizeof *y * COUNT_OF));
    }
    ingot_program_free(p);
    ingot_device_close(d);
}

static double wide(ingot_dtype d, uint16_t bits)
{
    return (double)(d == INGOT_BF16 ? bf16_to_float(bits) : half_to_float(bits));
}

/* From 2^-27, where float16 has no number but 0 beside, to 2^13. */
static void fill(float *x)
{
    for (int i = 0; i < COUNT_OF; i++) {
        float part = 1 + (float)(i * 7919 % 4099) / 4099.0f;
        x[i] = (i % 2 ? -1.0f : 1.0f) * ldexpf(part, i % 41 - 27);
    }
}

/* The two numbers around x, equal where x is one of them. */
static void neighbours(ingot_dtype d, float x, double *low, double *high)
{
    uint16_t nearest = d == INGOT_BF16 ? float_to_bf16(x) : float_to_half(x);
    double v = wide(d, nearest), size = fabs(v), value = (double)x;
    uint16_t other = (uint16_t)(size > fabs(value) ? nearest - 1 : nearest + 1);
    double w = v == value ? v : wide(d, other);
    *low = fmin(v, w);
    *high = fmax(v, w);
}

static void check_mean(ingot_dtype d)
{
    static float x[COUNT_OF];
    static uint16_t y[STEPS * COUNT_OF], naive[STEPS * COUNT_OF];
    double all = 0, worst = 0;
    int counted = 0;
    fill(x);
    round_all("best", d, x, STEPS, y);
    round_all("naive", d, x, STEPS, naive);
    assert_memory_equal(y, naive, sizeof y);
    for (int i = 0; i < COUNT_OF; i++) {
        double low, high;
        int ups = 0;
        neighbours(d, x[i], &low, &high);
        for (int step = 0; step < STEPS; step++) {
            double v = wide(d, y[step * COUNT_OF + i]);
            assert_true(v == low || v == high);
            ups += v == high;
        }
        double up = ((double)x[i] - low) / (high - low), wanted = up * STEPS;
        if (high == low || wanted < 10 || STEPS - wanted < 10) continue;
        double z = (ups - wanted) / sqrt(wanted * (1 - up));
        worst = fmax(worst, fabs(z)), all += z, counted++;
    }
    assert_true(counted > COUNT_OF / 2);
    assert_true(worst < 5);                     /* each mean within what 600 draws can tell */
    assert_true(fabs(all) / sqrt(counted) < 4); /* and no common direction */
}

static void test_bfloat16(void **state)
{
    (void)state;
    check_mean(INGOT_BF16);
}

static void test_float16(void **state)
{
    (void)state;
    check_mean(INGOT_F16);
}

static void test_what_fits_stays(void **state)
{
    (void)state;
    static const float special[] = {0, 1, -1.5f, 65504, 65535, -65535, 1e-30f, 3.38e38f, -3.4e38f, INFINITY, -INFINITY};
    static float x[COUNT_OF];
    static uint16_t y[STEPS * COUNT_OF];
    memcpy(x, special, sizeof special);
    x[11] = NAN;
    for (int half = 0; half < 2; half++) {
        ingot_dtype d = half ? INGOT_F16 : INGOT_BF16;
        round_all("best", d, x, 50, y);
        for (int step = 0; step < 50; step++) {
            const uint16_t *row = y + step * COUNT_OF;
            for (int i = 0; i < 3; i++) assert_true(wide(d, row[i]) == (double)x[i]);
            if (half) assert_true(wide(d, row[3]) == 65504 && wide(d, row[4]) == 65504 && wide(d, row[5]) == -65504);
            if (half) assert_true(wide(d, row[6]) == 0 && isinf(wide(d, row[7]))); /* what float16 has no room for */
            if (!half) assert_true(isfinite(wide(d, row[7])) && isfinite(wide(d, row[8])));
            assert_true(isinf(wide(d, row[9])) && wide(d, row[10]) < 0 && isinf(wide(d, row[10])));
            assert_true(isnan(wide(d, row[11])));
        }
    }
}

static void test_refusals(void **state)
{
    (void)state;
    ingot_device *d;
    ingot_program *p;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "round");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(3));
    ingot_value *rng = ingot_input(b, "rng", INGOT_I32, INGOT_SHAPE(4));
    ingot_output(b, "y", ingot_stochastic_round(b, x, rng, INGOT_F32, 0));
    assert_int_not_equal(ingot_compile(b, d, NULL, &p), INGOT_OK);
    assert_non_null(strstr(ingot_message(ctx), "[stochastic_round] rounds to bfloat16 or float16, not to float32"));
    ingot_device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bfloat16), cmocka_unit_test(test_float16),
                                       cmocka_unit_test(test_what_fits_stays), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, context_open, context_close);
}
