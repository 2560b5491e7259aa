/* Plans of random lifetimes: nothing that lives at once overlaps, never below the lower bound, the same plan each time. */
#include "tests.h"
#include "base/rng.h"
#include "plan/plan.h"

enum { MOST = 200 };

static int64_t random_intervals(rng *r, plan_interval *in)
{
    int64_t count = 1 + rng_below(r, MOST), steps = 1 + rng_below(r, 100);
    for (int64_t i = 0; i < count; i++) {
        int64_t first = rng_below(r, (uint32_t)steps);
        in[i] = (plan_interval){.bytes = 1 + rng_below(r, rng_below(r, 2) ? 100 : 100000), .first = first};
        in[i].last = first + rng_below(r, (uint32_t)(steps - first));
    }
    return count;
}

static void test_random_plans(void **state)
{
    (void)state;
    rng r = rng_make(1, 0);
    for (int round = 0; round < 2000; round++) {
        plan_interval in[MOST], again[MOST];
        int64_t count = random_intervals(&r, in), arena, arena_again, one, other;
        memcpy(again, in, sizeof in);
        assert_true(plan_offsets(in, count, 64, &arena));
        if (plan_overlaps(in, count, &one, &other))
            fail_msg("round %d: intervals %lld and %lld overlap", round, (long long)one, (long long)other);
        int64_t bound = plan_lower_bound(in, count, 64);
        assert_true(arena >= bound);
        for (int64_t i = 0; i < count; i++) {
            assert_int_equal(in[i].offset % 64, 0);
            assert_true(in[i].offset + in[i].bytes <= arena);
        }
        assert_true(plan_offsets(again, count, 64, &arena_again));
        assert_memory_equal(in, again, sizeof *in * (size_t)count);
    }
}

/* The checker itself must see an overlap. */
static void test_overlap_is_seen(void **state)
{
    (void)state;
    plan_interval in[] = {{.bytes = 64, .first = 0, .last = 2, .offset = 0},
                          {.bytes = 64, .first = 2, .last = 3, .offset = 63}};
    int64_t one, other;
    assert_true(plan_overlaps(in, 2, &one, &other));
    in[1].offset = 64;
    assert_false(plan_overlaps(in, 2, &one, &other));
    in[1].offset = 0;
    in[1].first = 3;
    assert_false(plan_overlaps(in, 2, &one, &other));
}

static void test_memory_is_shared(void **state)
{
    (void)state;
    plan_interval in[] = {{.bytes = 1000, .first = 0, .last = 1},
                          {.bytes = 1000, .first = 1, .last = 2},
                          {.bytes = 1000, .first = 2, .last = 3}};
    int64_t arena;
    assert_true(plan_offsets(in, 3, 64, &arena));
    assert_int_equal(arena, 2 * 1024);
    assert_int_equal(in[0].offset, in[2].offset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_plans),
        cmocka_unit_test(test_overlap_is_seen),
        cmocka_unit_test(test_memory_is_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
