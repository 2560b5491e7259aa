/* The vector maths against libm in double, over bit patterns of every exponent, for each instruction set that this machine
 * has: the errors that vmath.h states, and what becomes of NaN, infinities and zeros. */
#include <math.h>

#include "tests.h"
#include "kit/cpu/vmath_table.h"

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double exp_low(double x)
{
    return x < -87 ? 0 : exp(x);
}

static double exp2_low(double x)
{
    return x < -126 ? 0 : exp2(x);
}

/* `above` is where the function is not promised: exp_low beyond 88, sines of angles that a float can hardly tell apart. */
static const struct {
    const char *name;
    double (*exact)(double);
    double ulps, above;
} functions[] = {
    {"exp", exp, 2, INFINITY}, {"exp_low", exp_low, 2, 88}, {"exp2_low", exp2_low, 2, 127},
    {"log", log, 2, INFINITY}, {"tanh", tanh, 3, INFINITY}, {"sigmoid", sigmoid, 4, INFINITY},
    {"erf", erf, 3, INFINITY}, {"sin", sin, 2, 1e8},        {"cos", cos, 2, 1e8},
};

/* The distance of `y` from `exact` in units of the last place of a float of that size. */
static double ulps(float y, double exact)
{
    if (isnan(exact)) return isnan(y) ? 0 : INFINITY;
    if (isinf((float)exact) || isinf(y)) return (float)exact == y ? 0 : fabs(exact) > 3.4028234e38 ? 1 : INFINITY;
    int exponent;
    frexp(exact, &exponent);
    double ulp = ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
    return fabs(y - exact) / ulp;
}

enum { BATCH = 4099 };

static void check_all(const vmath_loop *loops)
{
    static float x[BATCH], y[BATCH];
    const uint32_t step = 1999; /* two million patterns of the four thousand million */
    for (size_t f = 0; f < COUNT(functions); f++) {
        const vmath_loop *loop = loops;
        while (loop->name && strcmp(loop->name, functions[f].name)) loop++;
        assert_non_null(loop->name);
        double worst = 0, worst_at = 0;
        for (uint64_t first = 0; first <= UINT32_MAX; first += (uint64_t)BATCH * step) {
            for (int64_t i = 0; i < BATCH; i++) {
                uint32_t bits = (uint32_t)(first + (uint64_t)i * step);
                memcpy(&x[i], &bits, sizeof bits);
            }
            loop->run(y, x, BATCH);
            for (int64_t i = 0; i < BATCH; i++) {
                if (fabsf(x[i]) > functions[f].above && isfinite(x[i])) continue;
                double error = ulps(y[i], functions[f].exact(x[i]));
                if (!(error <= worst)) worst = error, worst_at = x[i];
            }
        }
        print_message("%-8s worst %.2f ulp, at %.9g\n", functions[f].name, worst, worst_at);
        assert_true(worst <= functions[f].ulps);
    }
}

static void check_special(const vmath_loop *loops)
{
    const float at[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1.0f, 88.8f, -87.5f, -103.0f, -104.5f, 1e30f, 1e-45f};
    for (const vmath_loop *loop = loops; loop->name; loop++) {
        float y[COUNT(at)];
        loop->run(y, at, COUNT(at));
        for (size_t f = 0; f < COUNT(functions); f++) {
            if (strcmp(loop->name, functions[f].name)) continue;
            for (size_t i = 0; i < COUNT(at); i++) {
                bool promised = fabsf(at[i]) <= functions[f].above || at[i] < 0 || isnan(at[i]);
                double error = promised ? ulps(y[i], functions[f].exact(at[i])) : 0;
                if (!(error <= functions[f].ulps)) fail_msg("%s(%g) is %g", loop->name, at[i], y[i]);
            }
        }
    }
}

static void baseline(void **state)
{
    (void)state;
    check_special(vmath_baseline);
    check_all(vmath_baseline);
}

static void wider(void **state)
{
    (void)state;
#ifdef INGOT_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        check_special(vmath_avx2);
        check_all(vmath_avx2);
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
        check_special(vmath_avx512);
        check_all(vmath_avx512);
    }
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(baseline), cmocka_unit_test(wider)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
