/* Philox4x32-10 against the known answers of Random123 (kat_vectors), and the draws made from it. */
#include "tests.h"
#include "base/rng.h"

#include "base/base.h"

#include <math.h>

static void test_known_answers(void **state)
{
    (void)state;
    static const struct {
        philox in;
        uint32_t out[4];
    } cases[] = {
        {{{0, 0, 0, 0}, {0, 0}}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint32_t out[4];
        philox_block(&cases[i].in, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void test_every_coordinate_counts(void **state)
{
    (void)state;
    uint32_t base = rng_bits(1, 2, 3, 4, 5);
    assert_int_equal(base, rng_bits(1, 2, 3, 4, 5));
    assert_int_not_equal(base, rng_bits(2, 2, 3, 4, 5));
    assert_int_not_equal(base, rng_bits(1 + (1ull << 32), 2, 3, 4, 5));
    assert_int_not_equal(base, rng_bits(1, 3, 3, 4, 5));
    assert_int_not_equal(base, rng_bits(1, 2, 4, 4, 5));
    assert_int_not_equal(base, rng_bits(1, 2, 3, 5, 5));
    assert_int_not_equal(base, rng_bits(1, 2, 3, 4, 6));
    assert_int_not_equal(base, rng_bits(1, 2, 3, 4, 5 + (1ull << 34)));
    uint32_t out[4]; /* elements 4k..4k+3 are one block */
    philox p = {.counter = {1, 3, 2, 4}, .key = {1, 0}};
    philox_block(&p, out);
    assert_int_equal(base, out[1]);
}

static void test_sequence(void **state)
{
    (void)state;
    rng a = rng_make(7, 1), b = rng_make(7, 1), other = rng_make(7, 2);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint32_t x = rng_next(&a);
        assert_int_equal(x, rng_next(&b));
        same += x == rng_next(&other);
    }
    assert_int_equal(same, 0);
}

static void test_below_is_uniform(void **state)
{
    (void)state;
    rng r = rng_make(1, 0);
    int counts[6] = {0};
    for (int i = 0; i < 60000; i++) {
        uint32_t x = rng_below(&r, 6);
        assert_true(x < 6);
        counts[x]++;
    }
    double chi = 0;
    for (int i = 0; i < 6; i++) chi += (counts[i] - 10000.0) * (counts[i] - 10000.0) / 10000;
    assert_true(chi < 20.5); /* 5 degrees of freedom, p = 0.001 */
    assert_int_equal(rng_below(&r, 1), 0);
    /* A bound just above 2^31 would double some values without the rejection. */
    uint64_t high = 0;
    for (int i = 0; i < 20000; i++) high += rng_below(&r, 3u << 30) >= 1u << 31;
    assert_true(fabs((double)high / 20000 - 1.0 / 3) < 0.015);
}

static void test_real_draws(void **state)
{
    (void)state;
    rng r = rng_make(3, 9);
    enum { N = 100000 };
    double sum = 0, squares = 0, cubes = 0, uniform = 0, lowest = 1, highest = 0;
    for (int i = 0; i < N; i++) {
        double u = rng_uniform(&r), x = rng_normal(&r);
        assert_true(u >= 0 && u < 1 && isfinite(x));
        lowest = MIN(lowest, u), highest = MAX(highest, u);
        uniform += u, sum += x, squares += x * x, cubes += x * x * x;
    }
    assert_true(fabs(uniform / N - 0.5) < 0.005 && lowest < 1e-4 && highest > 1 - 1e-4);
    assert_true(fabs(sum / N) < 0.015 && fabs(squares / N - 1) < 0.02 && fabs(cubes / N) < 0.05);
    assert_true(rng_float(0) == 0 && rng_float(UINT32_MAX) < 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers), cmocka_unit_test(test_every_coordinate_counts),
        cmocka_unit_test(test_sequence),      cmocka_unit_test(test_below_is_uniform),
        cmocka_unit_test(test_real_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
