/* The n-gram model against one that scans the text for every question, and against known distributions. */
#include <math.h>

#include "context.h"
#include "base/rng.h"
#include "data/data.h"
#include "data/ngram.h"

#include <unistd.h>

enum { EOT = 0, VOCAB = 5, TOKENS = 300 };

static int teardown(void **state)
{
    (void)state;
    unlink("ngram.bin");
    ingot_context_free(ctx);
    return 0;
}

static ingot_data *data_of(const int32_t *ids, int64_t count)
{
    token_bin_writer *w;
    ingot_data *data;
    if (token_bin_create(ctx, "ngram.bin", 2, &w) || token_bin_add(w, ids, count) || token_bin_commit(w)) abort();
    if (ingot_data_open(ctx, "ngram.bin", "", &(ingot_data_options){.eot = EOT, .has_eot = 1}, &data)) abort();
    return data;
}

/* ---- the slow one: documents as ids[0 .. count), EOT before each and behind the last ---- */

typedef struct slow {
    const int32_t *ids;
    int count, order;
} slow;

/* Whether `gram` of n tokens ends at `at` inside one document; EOT counts as its begin when it is the gram's first token
 * and as its end when it is the last. */
static bool ends_at(const slow *m, int at, const int32_t *gram, int n)
{
    if (at - n + 1 < 0 || memcmp(m->ids + at - n + 1, gram, sizeof *gram * (size_t)n)) return false;
    for (int i = 1; i < n - 1; i++)
        if (gram[i] == EOT) return false;
    return !(n == 1 && at == 0); /* the first EOT follows nothing, so it was never predicted */
}

static int count_of(const slow *m, const int32_t *gram, int n)
{
    int occurrences = 0, before = 0;
    bool preceded[VOCAB] = {false};
    for (int at = 0; at < m->count; at++) {
        if (!ends_at(m, at, gram, n)) continue;
        occurrences++;
        if (at - n >= 0) preceded[m->ids[at - n]] = true;
    }
    for (int i = 0; i < VOCAB; i++) before += preceded[i];
    bool begins = n > 1 && gram[0] == EOT;
    return n == m->order || begins ? occurrences : before;
}

/* Visits all V^n n-grams for the counts of counts. */
static double slow_discount(const slow *m, int n)
{
    int seen[3] = {0}, all = (int)pow(VOCAB, n);
    for (int g = 0; g < all; g++) {
        int32_t gram[4];
        for (int i = 0, rest = g; i < n; i++, rest /= VOCAB) gram[i] = rest % VOCAB;
        int count = count_of(m, gram, n);
        if (count > 0 && count < 3) seen[count]++;
    }
    return seen[1] ? (double)seen[1] / (seen[1] + 2 * seen[2]) : .1;
}

static double slow_probability(const slow *m, const int32_t *history, int length, int32_t token)
{
    double lower = length ? slow_probability(m, history + 1, length - 1, token) : 1. / VOCAB;
    double d = slow_discount(m, length + 1);
    int total = 0, kinds = 0, count = 0;
    for (int32_t w = 0; w < VOCAB; w++) {
        int32_t gram[4];
        memcpy(gram, history, sizeof *gram * (size_t)length);
        gram[length] = w;
        int c = count_of(m, gram, length + 1);
        total += c, kinds += c > 0;
        if (w == token) count = c;
    }
    return total ? (fmax(count - d, 0) + d * kinds * lower) / total : lower;
}

static void test_equals_the_slow_one(void **state)
{
    (void)state;
    rng dice = rng_make(6, 0);
    int32_t ids[TOKENS + 1] = {EOT};
    for (int i = 1; i < TOKENS; i++) { /* documents with some structure; no two EOTs in a row */
        int32_t next = (int32_t)rng_below(&dice, VOCAB);
        if (rng_below(&dice, 3)) next = (ids[i - 1] * 2 + 1) % VOCAB;
        ids[i] = next == EOT && ids[i - 1] == EOT ? 1 : next;
    }
    ids[TOKENS - 1] = 3;
    ids[TOKENS] = EOT;
    slow m = {.ids = ids, .count = TOKENS + 1, .order = 3};
    ingot_data *data = data_of(ids, TOKENS);
    ingot_ngram *n;
    assert_int_equal(ingot_ngram_train(data, 3, VOCAB, &n), 0);
    for (int k = 1; k <= 3; k++) assert_true(fabs(ngram_discount(n, k) - slow_discount(&m, k)) < 1e-12);
    for (int32_t a = 0; a < VOCAB; a++)
        for (int32_t b = 1; b < VOCAB; b++) {
            double sum = 0;
            for (int32_t w = 0; w < VOCAB; w++) {
                double p = ngram_probability(n, (int32_t[]){a, b}, 2, w);
                assert_true(fabs(p - slow_probability(&m, (int32_t[]){a, b}, 2, w)) < 1e-12);
                sum += p;
            }
            assert_true(fabs(sum - 1) < 1e-12);
        }
    for (int32_t w = 0; w < VOCAB; w++)
        assert_true(fabs(ngram_probability(n, (int32_t[]){EOT}, 1, w) - slow_probability(&m, (int32_t[]){EOT}, 1, w)) <
                    1e-12);
    double nats, expected = 0;
    int64_t tokens;
    assert_int_equal(ingot_ngram_evaluate(n, data, &nats, &tokens), 0);
    assert_int_equal(tokens, TOKENS);
    for (int i = 1; i <= TOKENS; i++) {
        int start = MAX(0, i - 2);
        if (i >= 2 && ids[i - 1] == EOT) start = i - 1;
        expected -= log(slow_probability(&m, ids + start, i - start, ids[i]));
    }
    assert_true(fabs(nats - expected) < 1e-9 * expected);
    ingot_ngram_free(n);
    ingot_data_free(data);
}

/* A cycle is learnt to certainty, a uniform source to its entropy. */
static void test_known_sources(void **state)
{
    (void)state;
    enum { MANY = 50000 };
    static int32_t ids[MANY];
    rng dice = rng_make(8, 0);
    for (int kind = 0; kind < 2; kind++) {
        for (int i = 1; i < MANY; i++) ids[i] = kind ? 1 + (int32_t)rng_below(&dice, VOCAB - 1) : 1 + i % (VOCAB - 1);
        ingot_data *data = data_of(ids, MANY);
        ingot_ngram *n;
        assert_int_equal(ingot_ngram_train(data, 5, VOCAB, &n), 0);
        double nats;
        int64_t tokens;
        assert_int_equal(ingot_ngram_evaluate(n, data, &nats, &tokens), 0);
        double mean = nats / (double)tokens;
        assert_true(kind ? fabs(mean - log(VOCAB - 1)) < .02 : mean < .01);
        ingot_ngram_free(n);
        ingot_data_free(data);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    ingot_data *data = data_of((int32_t[]){0, 7, 2}, 3);
    ingot_ngram *n;
    assert_int_not_equal(ingot_ngram_train(data, 3, 5, &n), 0);
    assert_non_null(strstr(ingot_message(ctx), "id 7 is beyond the vocabulary of 5"));
    assert_int_not_equal(ingot_ngram_train(data, 9, 8, &n), 0);
    ingot_data_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_the_slow_one),
        cmocka_unit_test(test_known_sources),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, context_open, teardown);
}
