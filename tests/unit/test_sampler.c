/* The sampler: the distribution against transformers' processors (tests/golden/sampler.json), the draw against the
 * distribution, seeds, refusals. */
#include "tests_text.h"

#include "formats/json.h"
#include "infer/sampler.h"

#include <math.h>

static double number_or(const json_t *o, const char *key, double fallback)
{
    const json_t *v = json_object_get(o, key);
    return v ? json_number_value(v) : fallback;
}

static void see_all(sampler *s, const json_t *tokens, bool generated)
{
    for (size_t i = 0; i < json_array_size(tokens); i++)
        sampler_see(s, (int32_t)json_integer_value(json_array_get(tokens, i)), generated);
}

enum { VOCAB = 24 };

static void check_case(const json_t *c, size_t index)
{
    const json_t *o = json_object_get(c, "options"), *bias = json_object_get(o, "bias");
    int32_t bias_tokens[4];
    float biases[4];
    for (size_t i = 0; i < json_array_size(bias); i++) {
        bias_tokens[i] = (int32_t)json_integer_value(json_array_get(json_array_get(bias, i), 0));
        biases[i] = (float)json_number_value(json_array_get(json_array_get(bias, i), 1));
    }
    ingot_sampling options = {.temperature = number_or(o, "temperature", 1),
                              .top_k = (int64_t)number_or(o, "top_k", 0),
                              .top_p = number_or(o, "top_p", 0),
                              .min_p = number_or(o, "min_p", 0),
                              .repetition_penalty = number_or(o, "repetition_penalty", 0),
                              .presence_penalty = number_or(o, "presence_penalty", 0),
                              .frequency_penalty = number_or(o, "frequency_penalty", 0),
                              .bias_tokens = bias_tokens,
                              .biases = biases,
                              .bias_count = (int64_t)json_array_size(bias)};
    sampler s;
    float logits[VOCAB];
    candidate room[VOCAB];
    int64_t count;
    double total, got[VOCAB] = {0};
    for (size_t i = 0; i < VOCAB; i++)
        logits[i] = (float)json_number_value(json_array_get(json_object_get(c, "logits"), i));
    assert_ok(sampling_check(ctx, &options, VOCAB));
    assert_ok(sampler_init(ctx, &s, &options, VOCAB, 0));
    see_all(&s, json_object_get(c, "prompt"), false);
    see_all(&s, json_object_get(c, "generated"), true);
    assert_ok(sampler_candidates(&s, logits, room, &count, &total));
    for (int64_t i = 0; i < count; i++) got[room[i].id] = room[i].weight / total;
    for (size_t i = 0; i < VOCAB; i++) {
        double wanted = json_number_value(json_array_get(json_object_get(c, "probabilities"), i));
        if (!(fabs(got[i] - wanted) <= 1e-6))
            fail_msg("case %zu, token %zu: %g, should be %g", index, i, got[i], wanted);
    }
    sampler_free(&s);
}

static void test_as_transformers(void **state)
{
    (void)state;
    json_t *cases;
    assert_ok(json_read_file(ctx, TEST_FILES "/golden/sampler.json", 1 << 20, &cases));
    assert_true(json_array_size(cases) > 20);
    for (size_t i = 0; i < json_array_size(cases); i++) check_case(json_array_get(cases, i), i);
    json_decref(cases);
}

static int32_t draw(sampler *s, const float *logits, int64_t vocab)
{
    float copy[64];
    candidate room[64];
    int32_t token = -1;
    memcpy(copy, logits, sizeof *copy * (size_t)vocab);
    assert_ok(sampler_draw(s, copy, room, &token));
    return token;
}

static void test_draws_follow_weights(void **state)
{
    (void)state;
    const float logits[4] = {0, 1, 2, -INFINITY};
    ingot_sampling o = {.temperature = 1, .seed = 3};
    sampler s;
    enum { DRAWS = 20000 };
    int times[4] = {0};
    assert_ok(sampler_init(ctx, &s, &o, 4, 0));
    for (int i = 0; i < DRAWS; i++) times[draw(&s, logits, 4)]++;
    double sum = exp(0) + exp(1) + exp(2);
    for (int i = 0; i < 3; i++) {
        double p = exp(i) / sum;
        assert_true(fabs(times[i] / (double)DRAWS - p) <= 5 * sqrt(p * (1 - p) / DRAWS));
    }
    assert_int_equal(times[3], 0);
    sampler_free(&s);
}

static void draw_many(uint64_t seed, uint64_t stream, int32_t out[32])
{
    float logits[16];
    for (int i = 0; i < 16; i++) logits[i] = 0.1f * (float)i;
    ingot_sampling o = {.temperature = 1, .seed = seed};
    sampler s;
    assert_ok(sampler_init(ctx, &s, &o, 16, stream));
    for (int i = 0; i < 32; i++) out[i] = draw(&s, logits, 16);
    sampler_free(&s);
}

static void test_seeds(void **state)
{
    (void)state;
    int32_t one[32], again[32], other_seed[32], other_stream[32];
    draw_many(7, 0, one);
    draw_many(7, 0, again);
    draw_many(8, 0, other_seed);
    draw_many(7, 1, other_stream);
    assert_memory_equal(one, again, sizeof one);
    assert_memory_not_equal(one, other_seed, sizeof one);
    assert_memory_not_equal(one, other_stream, sizeof one);
}

static void test_greedy(void **state)
{
    (void)state;
    const float equal[4] = {1, 3, 3, 2};
    ingot_sampling o = {.repetition_penalty = 2};
    sampler s;
    assert_ok(sampler_init(ctx, &s, &o, 4, 0));
    assert_int_equal(draw(&s, equal, 4), 1);
    sampler_see(&s, 1, false);
    assert_int_equal(draw(&s, equal, 4), 2);
    sampler_see(&s, 2, true);
    assert_int_equal(draw(&s, equal, 4), 3);
    sampler_free(&s);
}

static void test_refusals(void **state)
{
    (void)state;
    const int32_t beyond = 9;
    const float bias = 1, forbid[2] = {-INFINITY, -INFINITY};
    const int32_t both[2] = {0, 1};
    const ingot_sampling bad[] = {
        {.temperature = -1},
        {.temperature = NAN},
        {.top_p = 1.5},
        {.min_p = -0.1},
        {.top_k = -1},
        {.repetition_penalty = -1},
        {.frequency_penalty = INFINITY},
        {.bias_tokens = &beyond, .biases = &bias, .bias_count = 1},
    };
    for (size_t i = 0; i < COUNT(bad); i++) assert_int_equal(sampling_check(ctx, &bad[i], 9), INGOT_ERROR_ARGUMENT);
    for (int temperature = 0; temperature < 2; temperature++) {
        ingot_sampling o = {.temperature = temperature};
        sampler s;
        candidate room[2];
        int32_t token;
        assert_ok(sampler_init(ctx, &s, &o, 2, 0));
        assert_int_equal(sampler_draw(&s, (float[]){0, NAN}, room, &token), INGOT_ERROR_NOT_FINITE);
        assert_int_equal(sampler_draw(&s, (float[]){INFINITY, 0}, room, &token), INGOT_ERROR_NOT_FINITE);
        o.bias_tokens = both, o.biases = forbid, o.bias_count = 2;
        assert_int_equal(sampler_draw(&s, (float[]){0, 0}, room, &token), INGOT_ERROR_NOT_FINITE);
        sampler_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_transformers), cmocka_unit_test(test_draws_follow_weights),
        cmocka_unit_test(test_seeds),           cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("sampler", tests, make_context, free_context);
}
