/* Number formats: every half and every bfloat16 there and back, every rounding at its edges, integers at theirs. */
#include "tests.h"
#include "base/dtype.h"

#include <math.h>

typedef struct format {
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
    dtype dtype;
    uint16_t infinity;
} format;

static float widen_bf16(uint16_t b)
{
    return bf16_to_float(b);
}

static const format half = {half_to_float, float_to_half, INGOT_F16, 0x7c00};
static const format bf16 = {widen_bf16, float_to_bf16, INGOT_BF16, 0x7f80};

/* From the definition, not from the code: sign, exponent, fraction. */
static double half_value(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h >> 15 ? -magnitude : magnitude;
}

static double bf16_value(uint16_t b)
{
    int exponent = b >> 7 & 255, fraction = b & 127;
    double magnitude = exponent ? ldexp(128 + fraction, exponent - 134) : ldexp(fraction, -133);
    return b >> 15 ? -magnitude : magnitude;
}

static void there_and_back(const format *f, double (*value)(uint16_t))
{
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t bits = (uint16_t)i, magnitude = bits & 0x7fff;
        float wide = f->widen(bits);
        if (magnitude > f->infinity) {
            assert_true(isnan(wide));
            assert_true((f->narrow(wide) & 0x7fff) > f->infinity);
        } else {
            if (magnitude == f->infinity)
                assert_true(isinf(wide) && (wide < 0) == (bits >> 15));
            else
                assert_true(wide == value(bits) && !!signbit(wide) == bits >> 15);
            assert_int_equal(f->narrow(wide), bits);
        }
    }
}

/* Between each two neighbours: the middle goes to the even one, a hair to a side goes there. A monotone function that is
 * right here is right everywhere. */
static void rounds_to_nearest_even(const format *f, double (*value)(uint16_t))
{
    for (uint16_t low = 0; low < f->infinity; low++) {
        uint16_t high = (uint16_t)(low + 1), even = low & 1 ? high : low;
        double step = value(low) - (low ? value((uint16_t)(low - 1)) : -value(1));
        double top = high == f->infinity ? value(low) + step : value(high), middle = (value(low) + top) / 2;
        for (int sign = 0; sign < 2; sign++) {
            double s = sign ? -1 : 1;
            uint16_t bit = (uint16_t)(sign << 15), stored;
            assert_int_equal(f->narrow((float)(s * middle)), even | bit);
            assert_int_equal(f->narrow(nextafterf((float)(s * middle), 0)), low | bit);
            assert_int_equal(f->narrow(nextafterf((float)(s * middle), (float)s * INFINITY)), high | bit);
            /* From a double there is one rounding, not two: just beside the middle is not the middle. */
            dtype_store(f->dtype, &stored, 0, s * nextafter(middle, 0));
            assert_int_equal(stored, low | bit);
            dtype_store(f->dtype, &stored, 0, s * nextafter(middle, INFINITY));
            assert_int_equal(stored, high | bit);
            dtype_store(f->dtype, &stored, 0, s * middle);
            assert_int_equal(stored, even | bit);
        }
    }
    assert_int_equal(f->narrow(INFINITY), f->infinity);
    assert_int_equal(f->narrow(-INFINITY), f->infinity | 0x8000);
    uint16_t stored;
    dtype_store(f->dtype, &stored, 0, 1e300);
    assert_int_equal(stored, f->infinity);
    dtype_store(f->dtype, &stored, 0, -1e-300);
    assert_int_equal(stored, 0x8000);
    dtype_store(f->dtype, &stored, 0, NAN);
    assert_true((stored & 0x7fff) > f->infinity);
}

static void test_half(void **state)
{
    (void)state;
    there_and_back(&half, half_value);
    rounds_to_nearest_even(&half, half_value);
}

static void test_bf16(void **state)
{
    (void)state;
    there_and_back(&bf16, bf16_value);
    rounds_to_nearest_even(&bf16, bf16_value);
}

static void test_integers_stop_at_their_ends(void **state)
{
    (void)state;
    static const struct {
        dtype dtype;
        double given, expected;
    } cases[] = {
        {INGOT_I8, 127.9, 127},
        {INGOT_I8, 128, 127},
        {INGOT_I8, -129, -128},
        {INGOT_I8, -1.9, -1},
        {INGOT_U8, -1, 0},
        {INGOT_U8, 300, 255},
        {INGOT_I32, 3e9, 2147483647},
        {INGOT_I32, -3e9, -2147483648.0},
        {INGOT_I32, NAN, 0},
        {INGOT_I64, 1e19, 0x1p63},
        {INGOT_I64, -1e19, -0x1p63},
        {INGOT_I64, INFINITY, 0x1p63},
        {INGOT_U8, -INFINITY, 0},
        {INGOT_I64, 1e15, 1e15},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t storage = 0;
        dtype_store(cases[i].dtype, &storage, 0, cases[i].given);
        assert_true(dtype_load(cases[i].dtype, &storage, 0) == cases[i].expected);
    }
    int64_t largest;
    dtype_store(INGOT_I64, &largest, 0, 1e19);
    assert_true(largest == INT64_MAX);
}

static void test_convert(void **state)
{
    (void)state;
    const float in[5] = {-2, -0.5f, 0, 1, 100};
    for (dtype d = 0; d < INGOT_DTYPE_COUNT; d++) {
        double between[5];
        float out[5];
        dtype_convert(d, between, INGOT_F32, in, 5);
        dtype_convert(INGOT_F32, out, d, between, 5);
        for (int i = 0; i < 5; i++) {
            float expected = dtype_is_float(d) ? in[i] : d == INGOT_U8 ? fmaxf(0, in[i]) : truncf(in[i]);
            assert_true(out[i] == expected);
        }
    }
    int64_t wide = (1ll << 53) + 1, same;
    dtype_convert(INGOT_I64, &same, INGOT_I64, &wide, 1);
    assert_true(same == wide);
}

static void test_names(void **state)
{
    (void)state;
    for (dtype d = 0; d < INGOT_DTYPE_COUNT; d++) {
        dtype parsed;
        assert_true(ingot_dtype_parse(ingot_dtype_name(d), &parsed) && parsed == d);
        assert_true(ingot_dtype_bytes(d) > 0);
    }
    dtype parsed;
    assert_true(ingot_dtype_parse("bf16", &parsed) && parsed == INGOT_BF16);
    assert_false(ingot_dtype_parse("float", &parsed));
    assert_string_equal(ingot_dtype_name((dtype)99), "unknown dtype");
    assert_int_equal(ingot_dtype_bytes((dtype)-1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_integers_stop_at_their_ends),
        cmocka_unit_test(test_convert),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
