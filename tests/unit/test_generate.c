/* Generation: cached equals recomputed, batches equal single runs, samples share their prompt, limits, scores, memory. */
#include "tests_session.h"

#include <malloc.h>
#include <math.h>

static int make_context(void **state)
{
    (void)state;
    return ingot_context_new(&(ingot_context_options){.threads = 2}, &ctx);
}

static int free_context(void **state)
{
    (void)state;
    ingot_context_free(ctx);
    return 0;
}

/* Logits of every token of a text, fed in chunks of `chunk`: (count, V), to be freed. */
static float *logits_in_chunks(session *s, const int32_t *tokens, int64_t count, int64_t chunk)
{
    cached c;
    float *all = malloc((size_t)(count * TEST_VOCAB) * sizeof *all);
    assert_non_null(all);
    assert_true(session_open(s, &c, count, NULL, 0));
    for (int64_t from = 0; from < count; from += chunk) {
        int64_t rows = MIN(chunk, count - from);
        rows_begin(s);
        rows_add(s, &c, tokens + from, rows, rows);
        OK(rows_run(s));
        memcpy(all + from * TEST_VOCAB, s->logits, (size_t)(rows * TEST_VOCAB) * sizeof *all);
    }
    session_close(s, &c);
    return all;
}

/* The same numbers whether a token comes alone or with others before it: to the bit when the device is asked for it. */
static void test_cached_equals_recomputed(void **state)
{
    (void)state;
    static const char *const families[] = {"llama", "gpt2"};
    const int64_t chunks[] = {1, 3, 8, 29};
    int32_t tokens[29];
    some_tokens(tokens, 29, 1);
    for (size_t f = 0; f < COUNT(families); f++)
        for (int invariant = 0; invariant < 2; invariant++) {
            ingot_model *m = tiny_model(families[f]);
            ingot_device *d = open_device(invariant);
            ingot_session *s = open_session(m, d, (ingot_session_options){.page_size = 8});
            float *whole = logits_in_chunks(s, tokens, 29, 29);
            for (size_t c = 0; c < COUNT(chunks); c++) {
                float *parts = logits_in_chunks(s, tokens, 29, chunks[c]);
                for (int64_t i = 0; i < 29 * TEST_VOCAB; i++) {
                    double error = fabs((double)whole[i] - parts[i]);
                    if (invariant ? whole[i] != parts[i] : !(error <= 1e-4 * (1 + fabs(whole[i]))))
                        fail_msg("%s, chunks of %d: logit %d of token %d is %.9g, in one go %.9g", families[f],
                                 (int)chunks[c], (int)(i % TEST_VOCAB), (int)(i / TEST_VOCAB), parts[i], whole[i]);
                }
                free(parts);
            }
            free(whole);
            ingot_session_free(s);
            ingot_device_close(d);
            ingot_model_free(m);
        }
}

/* The training graph's logits are the oracle of the rows': last token of a sequence of every length. */
static void test_rows_equal_training_graph(void **state)
{
    (void)state;
    static const char *const families[] = {"llama", "gpt2"};
    enum { T = 12 };
    int32_t tokens[T];
    float expected[T * TEST_VOCAB];
    some_tokens(tokens, T, 2);
    for (size_t f = 0; f < COUNT(families); f++) {
        ingot_model *m = tiny_model(families[f]);
        ingot_device *d = open_device(false);
        ingot_store *store;
        ingot_program *p;
        OK(ingot_store_new(d, &store));
        ingot_build *b = ingot_build_new(ctx, "whole");
        ingot_training t = ingot_model_training(m, b, &(ingot_training_options){.batch = 1, .length = T, .logits = 1});
        ingot_output(b, "logits", t.logits);
        OK(ingot_compile(b, d, &(ingot_compile_options){.store = store}, &p));
        OK(ingot_model_init(m, store, 3));
        OK(ingot_write(p, "tokens", tokens, sizeof tokens));
        OK(ingot_run(p, NULL));
        OK(ingot_read(p, "logits", expected, sizeof expected));
        /* The session finds the weights in the same store. */
        ingot_session *s = open_session(m, d, (ingot_session_options){.store = store, .page_size = 4});
        float *got = logits_in_chunks(s, tokens, T, 5);
        for (int64_t i = 0; i < T * TEST_VOCAB; i++)
            if (!(fabs((double)got[i] - expected[i]) <= 1e-4 * (1 + fabs(expected[i]))))
                fail_msg("%s: logit %d of token %d is %g, of the training graph %g", families[f], (int)(i % TEST_VOCAB),
                         (int)(i / TEST_VOCAB), got[i], expected[i]);
        free(got);
        ingot_session_free(s);
        ingot_program_free(p);
        ingot_store_free(store);
        ingot_device_close(d);
        ingot_model_free(m);
    }
}

static void assert_same(const ingot_completion *a, const ingot_completion *b)
{
    assert_int_equal(a->token_count, b->token_count);
    assert_int_equal(a->finish, b->finish);
    assert_int_equal(a->prompt_tokens, b->prompt_tokens);
    assert_memory_equal(a->tokens, b->tokens, (size_t)a->token_count * sizeof *a->tokens);
}

enum { REQUESTS = 5 };

/* Prompts of 1 to 33 tokens with different lengths to go, greedy and drawn. */
static void make_requests(ingot_request requests[REQUESTS], int32_t prompts[REQUESTS][40])
{
    static const int64_t lengths[REQUESTS] = {1, 33, 8, 17, 16}, samples[REQUESTS] = {1, 3, 2, 4, 1};
    for (int i = 0; i < REQUESTS; i++)
        requests[i] = (ingot_request){.tokens = some_tokens(prompts[i], lengths[i], i),
                                      .token_count = lengths[i],
                                      .samples = samples[i],
                                      .max_tokens = 4 + 3 * i,
                                      .ignore_end = i % 2,
                                      .sampling = {.temperature = i ? 1 : 0, .seed = 40 + (uint64_t)i}};
}

/* What a sequence says does not depend on who runs beside it, on pages, on chunks or on how many run at once. */
static void test_batch_equals_single(void **state)
{
    (void)state;
    ingot_request requests[REQUESTS];
    int32_t prompts[REQUESTS][40];
    make_requests(requests, prompts);
    const ingot_session_options ways[] = {
        {.sequences = 1},
        {.sequences = 8, .page_size = 8},
        {.sequences = 3, .page_size = 4, .most_rows = 8, .cache_tokens = 64},
        {.sequences = 4, .page_size = 1, .cache_tokens = 200},
        {.sequences = 64, .page_size = 16, .most_rows = 64},
    };
    ingot_model *m = tiny_model("llama");
    ingot_device *d = open_device(true);
    ingot_completions *first = NULL;
    for (size_t i = 0; i < COUNT(ways); i++) {
        ingot_session *s = open_session(m, d, ways[i]);
        ingot_completions *all;
        OK(ingot_generate(s, requests, REQUESTS, NULL, NULL, &all));
        assert_int_equal(all->count, 11);
        ingot_session_stats stats = ingot_session_describe(s);
        assert_int_equal(stats.free_pages, stats.pages); /* all were given back */
        for (int64_t k = 0; first && k < all->count; k++) assert_same(&all->at[k], &first->at[k]);
        if (first)
            ingot_completions_free(all);
        else
            first = all;
        ingot_session_free(s);
    }
    /* Samples of one prompt differ, and nobody went beyond what was asked for. */
    assert_int_equal(first->at[1].request, 1);
    assert_memory_not_equal(first->at[1].tokens, first->at[2].tokens, 4 * sizeof(int32_t));
    for (int64_t k = 0; k < first->count; k++)
        assert_true(first->at[k].token_count <= requests[first->at[k].request].max_tokens);
    ingot_completions_free(first);
    ingot_device_close(d);
    ingot_model_free(m);
}

/* Samples that share their prompt's pages compute it once. */
static void test_shared_prompt(void **state)
{
    (void)state;
    int32_t prompt[40];
    ingot_model *m = tiny_model("llama");
    ingot_device *d = open_device(false);
    ingot_session *s = open_session(m, d, (ingot_session_options){.sequences = 4, .page_size = 8});
    ingot_request r = {.tokens = some_tokens(prompt, 35, 5), .token_count = 35, .samples = 4, .max_tokens = 5};
    ingot_completions *all;
    OK(ingot_generate(s, &r, 1, NULL, NULL, &all));
    /* 4 full pages once, and 3 tokens more for each */
    assert_int_equal(ingot_session_describe(s).prefill_tokens, 35 + 3 * 3);
    for (int k = 1; k < 4; k++) assert_same(&all->at[k], &all->at[0]); /* greedy: all alike */
    ingot_completions_free(all);
    ingot_session_free(s);
    ingot_device_close(d);
    ingot_model_free(m);
}

static int stop_after(void *user, const ingot_piece *piece)
{
    int *left = user;
    return piece->finish == INGOT_GOING_ON && --*left == 0;
}

static void test_ends(void **state)
{
    (void)state;
    int32_t prompt[40];
    ingot_model *m = tiny_model("llama");
    ingot_device *d = open_device(false);
    ingot_session *s = open_session(m, d, (ingot_session_options){.sequences = 2});
    ingot_request r = {.tokens = some_tokens(prompt, 40, 9), .token_count = 40, .ignore_end = 1};
    ingot_completions *all;
    OK(ingot_generate(s, &r, 1, NULL, NULL, &all)); /* to the end of the context */
    assert_int_equal(all->at[0].token_count, TEST_CONTEXT - 40);
    assert_int_equal(all->at[0].finish, INGOT_FINISH_LENGTH);
    ingot_completions_free(all);

    int left = 3;
    OK(ingot_generate(s, &r, 1, stop_after, &left, &all));
    assert_int_equal(all->at[0].token_count, 3);
    assert_int_equal(all->at[0].finish, INGOT_FINISH_CANCEL);
    ingot_completions_free(all);

    /* The end token alone may be drawn: it ends the text and is no part of it. */
    const int32_t end = 0;
    const float bias = 1e4f;
    r.ignore_end = 0;
    r.sampling = (ingot_sampling){.bias_tokens = &end, .biases = &bias, .bias_count = 1};
    OK(ingot_generate(s, &r, 1, NULL, NULL, &all));
    assert_int_equal(all->at[0].token_count, 0);
    assert_int_equal(all->at[0].finish, INGOT_FINISH_STOP);
    assert_string_equal(all->at[0].text, "");
    ingot_completions_free(all);

    ingot_interrupt(ctx);
    assert_int_equal(ingot_generate(s, &r, 1, NULL, NULL, &all), INGOT_ERROR_INTERRUPTED);
    ingot_interrupt_clear(ctx);
    assert_null(all);
    assert_int_equal(ingot_session_describe(s).free_pages, ingot_session_describe(s).pages);
    ingot_session_free(s);
    ingot_device_close(d);
    ingot_model_free(m);
}

static void expect_refusal(ingot_session *s, ingot_request r, const char *words)
{
    ingot_completions *all;
    assert_int_equal(ingot_generate(s, &r, 1, NULL, NULL, &all), INGOT_ERROR_ARGUMENT);
    assert_null(all);
    if (!strstr(ingot_message(ctx), words)) fail_msg("'%s' lacks '%s'", ingot_message(ctx), words);
    assert_int_equal(ingot_session_describe(s).free_pages, ingot_session_describe(s).pages);
}

static void test_refusals(void **state)
{
    (void)state;
    int32_t prompt[64];
    ingot_model *m = tiny_model("gpt2");
    ingot_device *d = open_device(false);
    ingot_session *s;
    assert_int_equal(ingot_session_new(m, d, &(ingot_session_options){.context = 49}, &s), INGOT_ERROR_ARGUMENT);
    assert_null(s);
    assert_non_null(
        strstr(ingot_message(ctx), "--context 49 is more than the 48 positions of this model (gpt2, learned"));
    assert_int_equal(ingot_session_new(m, d, &(ingot_session_options){.sequences = 2049}, &s), INGOT_ERROR_ARGUMENT);
    assert_int_equal(ingot_session_new(m, d, &(ingot_session_options){.sequences = -1}, &s), INGOT_ERROR_ARGUMENT);
    assert_int_equal(ingot_session_new(m, d, &(ingot_session_options){.cache_tokens = INT64_MAX}, &s),
                     INGOT_ERROR_ARGUMENT);
    s = open_session(m, d, (ingot_session_options){.sequences = 2, .page_size = 8, .cache_tokens = 24});
    some_tokens(prompt, 64, 1);
    expect_refusal(s, (ingot_request){.tokens = prompt, .token_count = 48}, "48 positions of the context");
    expect_refusal(s, (ingot_request){.tokens = prompt, .token_count = 20, .max_tokens = 9}, "the cache holds 24");
    expect_refusal(s, (ingot_request){.tokens = prompt, .token_count = 30}, "the cache holds 24");
    expect_refusal(s, (ingot_request){.tokens = prompt, .token_count = 0}, "is empty");
    expect_refusal(s, (ingot_request){.prompt = "text"}, "without a tokenizer");
    expect_refusal(s, (ingot_request){.tokens = prompt, .token_count = 2, .samples = -1}, "samples");
    expect_refusal(s, (ingot_request){.tokens = prompt, .token_count = 2, .max_tokens = -1}, "negative");
    expect_refusal(s, (ingot_request){.tokens = prompt, .token_count = 2, .sampling = {.top_p = 2}}, "top-p");
    expect_refusal(s,
                   (ingot_request){.tokens = prompt, .token_count = 2, .stops = &(const char *){""}, .stop_count = 1},
                   "stop string");
    prompt[1] = TEST_VOCAB;
    expect_refusal(s, (ingot_request){.tokens = prompt, .token_count = 2}, "vocabulary");
    ingot_session_free(s);
    ingot_device_close(d);
    ingot_model_free(m);
}

static void test_score(void **state)
{
    (void)state;
    enum { T = 30 };
    int32_t tokens[T];
    double scores[T], sum = 0;
    some_tokens(tokens, T, 4);
    ingot_model *m = tiny_model("llama");
    ingot_device *d = open_device(false);
    ingot_session *s = open_session(m, d, (ingot_session_options){.sequences = 2, .most_rows = 8, .page_size = 16});
    float *logits = logits_in_chunks(s, tokens, T, 7);
    OK(ingot_session_score(s, tokens, T, scores));
    assert_true(scores[0] == 0);
    for (int i = 1; i < T; i++) {
        const float *l = logits + (i - 1) * TEST_VOCAB;
        double total = 0;
        for (int k = 0; k < TEST_VOCAB; k++) total += exp(l[k]);
        assert_true(fabs(scores[i] - (l[tokens[i]] - log(total))) < 1e-4);
        sum += scores[i];
    }
    assert_true(sum < -T); /* these are random weights, not a model that has seen this */
    assert_int_equal(ingot_session_score(s, tokens, TEST_CONTEXT + 1, scores), INGOT_ERROR_ARGUMENT);
    assert_int_equal(ingot_session_describe(s).free_pages, ingot_session_describe(s).pages);
    free(logits);
    ingot_session_free(s);
    ingot_device_close(d);
    ingot_model_free(m);
}

/* Generations of all lengths leave nothing behind: the heap is the same after 126 of them as after the same 126 again. */
static void test_memory_is_flat(void **state)
{
    (void)state;
    int32_t prompt[40];
    ingot_model *m = tiny_model("llama");
    ingot_device *d = open_device(false);
    ingot_session *s = open_session(m, d, (ingot_session_options){.sequences = 4, .page_size = 8, .most_rows = 16});
    size_t before = 0;
    enum { MANY = 126 }; /* a multiple of every period below */
    for (int run = 0; run < 2 * MANY; run++) {
        int i = run % MANY;
        int64_t length = 1 + i * 7 % 39;
        ingot_request r = {.tokens = some_tokens(prompt, length, i),
                           .token_count = length,
                           .samples = 1 + i % 3,
                           .max_tokens = 1 + i % 9,
                           .sampling = {.temperature = 1, .repetition_penalty = 1.1, .seed = (uint64_t)i}};
        ingot_completions *all;
        OK(ingot_generate(s, &r, 1, NULL, NULL, &all));
        ingot_completions_free(all);
        if (run == MANY - 1) before = mallinfo2().uordblks;
    }
    /* What malloc keeps for later counts as used; the smallest block lost in each generation would be 16 bytes. */
    assert_true(mallinfo2().uordblks < before + MANY * 16);
    ingot_session_free(s);
    ingot_device_close(d);
    ingot_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_equal_training_graph),
        cmocka_unit_test(test_cached_equals_recomputed),
        cmocka_unit_test(test_batch_equals_single),
        cmocka_unit_test(test_shared_prompt),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_memory_is_flat),
    };
    return cmocka_run_group_tests_name("generate", tests, make_context, free_context);
}
