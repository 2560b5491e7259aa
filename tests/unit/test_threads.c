/* The pool: every element once, the same cut each time, loops within loops, callers from several threads. Run under TSan
 * by .ci/run. */
#include "tests.h"
#include "base/threads.h"

#include <pthread.h>
#include <stdatomic.h>

#define MOST 20000

typedef struct counts {
    pool *pool;
    uint8_t seen[MOST];
    atomic_int cuts;
    atomic_bool bad_worker;
} counts;

static void count(void *arg, int64_t first, int64_t last, int worker)
{
    counts *c = arg;
    if (worker < 0 || worker >= pool_size(c->pool)) atomic_store(&c->bad_worker, true);
    atomic_fetch_add(&c->cuts, 1);
    for (int64_t i = first; i < last; i++) c->seen[i]++;
}

static void test_every_element_once(void **state)
{
    (void)state;
    static counts c;
    static const int64_t totals[] = {0, 1, 2, 3, 7, 31, 32, 33, 1000, MOST}, grains[] = {-5, 1, 3, 1024, INT64_MAX};
    for (int threads = 1; threads <= 5; threads++) {
        pool *p = pool_new(threads);
        assert_int_equal(pool_size(p), threads);
        for (size_t t = 0; t < COUNT(totals); t++) {
            for (size_t g = 0; g < COUNT(grains); g++) {
                memset(&c, 0, sizeof c);
                c.pool = p;
                pool_for(p, totals[t], grains[g], count, &c);
                for (int64_t i = 0; i < MOST; i++) assert_int_equal(c.seen[i], i < totals[t]);
                assert_false(atomic_load(&c.bad_worker));
            }
        }
        pool_free(p);
    }
}

/* Which piece each element fell in must follow from total, grain and size alone. */
typedef struct cut {
    int64_t first_of[1000];
} cut;

static void note_cut(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    for (int64_t i = first; i < last; i++) ((cut *)arg)->first_of[i] = first;
}

static void test_the_cut_is_always_the_same(void **state)
{
    (void)state;
    static cut expected, got;
    pool *p = pool_new(3);
    pool_for(p, 1000, 16, note_cut, &expected);
    for (int i = 0; i < 500; i++) {
        pool_for(p, 1000, 16, note_cut, &got);
        assert_memory_equal(&got, &expected, sizeof got);
    }
    assert_int_not_equal(expected.first_of[999], 0);
    pool_free(p);
}

/* An inner loop runs in its task's thread and gives that thread's worker index: scratch is kept by worker. */
typedef struct nested {
    pool *pool;
    int64_t scratch[8]; /* of each worker; written without a lock */
    atomic_llong sum;
    atomic_bool wrong_worker;
} nested;

typedef struct inner {
    nested *outer;
    int worker;
} inner;

static void inner_task(void *arg, int64_t first, int64_t last, int worker)
{
    inner *in = arg;
    if (worker != in->worker) atomic_store(&in->outer->wrong_worker, true);
    for (int64_t i = first; i < last; i++) in->outer->scratch[worker] += i;
}

static void outer_task(void *arg, int64_t first, int64_t last, int worker)
{
    nested *n = arg;
    for (int64_t i = first; i < last; i++) {
        n->scratch[worker] = 0;
        inner in = {n, worker};
        pool_for(n->pool, 100, 10, inner_task, &in);
        atomic_fetch_add(&n->sum, n->scratch[worker]);
    }
}

static void test_loops_within_loops(void **state)
{
    (void)state;
    static nested n;
    n.pool = pool_new(4);
    for (int i = 0; i < 50; i++) pool_for(n.pool, 64, 1, outer_task, &n);
    assert_int_equal(atomic_load(&n.sum), 50 * 64 * 4950);
    assert_false(atomic_load(&n.wrong_worker));
    pool_free(n.pool);
}

typedef struct caller {
    pool *pool;
    int64_t sums[4]; /* by worker */
    int64_t total;
} caller;

static void add(void *arg, int64_t first, int64_t last, int worker)
{
    for (int64_t i = first; i < last; i++) ((caller *)arg)->sums[worker] += i;
}

static void *call_often(void *arg)
{
    caller *c = arg;
    for (int64_t n = 1; n <= 300; n++) {
        pool_for(c->pool, n, 7, add, c);
        c->total += n * (n - 1) / 2;
    }
    return NULL;
}

static void test_callers_from_several_threads(void **state)
{
    (void)state;
    pool *p = pool_new(4);
    static caller callers[3];
    pthread_t threads[COUNT(callers)];
    for (size_t i = 0; i < COUNT(callers); i++) {
        callers[i] = (caller){.pool = p};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (size_t i = 0; i < COUNT(callers); i++) {
        pthread_join(threads[i], NULL);
        int64_t sum = 0;
        for (int w = 0; w < 4; w++) sum += callers[i].sums[w];
        assert_int_equal(sum, callers[i].total);
    }
    pool_free(p);
}

static void test_start_and_stop(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        pool *p = pool_new(1 + i % 4);
        static counts c;
        c.pool = p;
        if (i % 3) pool_for(p, 100, 1, count, &c);
        pool_free(p);
    }
    pool_free(NULL);
    assert_true(threads_default() >= 1);
    context *ctx;
    ingot_context_options options = {.threads = 3};
    assert_int_equal(ingot_context_new(&options, &ctx), 0);
    assert_int_equal(pool_size(context_pool(ctx)), 3);
    assert_ptr_equal(context_pool(ctx), context_pool(ctx));
    ingot_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_element_once), cmocka_unit_test(test_the_cut_is_always_the_same),
        cmocka_unit_test(test_loops_within_loops), cmocka_unit_test(test_callers_from_several_threads),
        cmocka_unit_test(test_start_and_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
