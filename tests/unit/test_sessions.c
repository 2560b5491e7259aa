/* Two sessions on one device, each in a thread of its own: the contract of generate.h. .ci/run runs it under TSan. */
#include "tests_session.h"

#include <pthread.h>

enum { SESSIONS = 2, TOKENS = 20, REQUESTS = 3 };

typedef struct worker {
    const ingot_model *model;
    ingot_device *device;
    int seed;
    int32_t tokens[REQUESTS][TOKENS];
    ingot_status failed;
    char message[200];
} worker;

static ingot_status generate(worker *w)
{
    ingot_session *s;
    TRY(ingot_session_new(w->model, w->device, &(ingot_session_options){.seed = 3, .page_size = 8}, &s));
    int32_t prompts[REQUESTS][9];
    ingot_request requests[REQUESTS];
    for (int i = 0; i < REQUESTS; i++)
        requests[i] = (ingot_request){.tokens = some_tokens(prompts[i], 3 + 2 * i, w->seed + i),
                                      .token_count = 3 + 2 * i,
                                      .max_tokens = TOKENS,
                                      .sampling = {.temperature = 0.9, .seed = (uint64_t)w->seed},
                                      .ignore_end = 1};
    ingot_completions *all;
    ingot_status failed = ingot_generate(s, requests, REQUESTS, NULL, NULL, &all);
    for (int64_t i = 0; !failed && i < all->count; i++)
        memcpy(w->tokens[i], all->at[i].tokens, (size_t)MIN(all->at[i].token_count, (int64_t)TOKENS) * sizeof(int32_t));
    if (!failed) ingot_completions_free(all);
    ingot_session_free(s);
    return failed;
}

static void *run(void *arg)
{
    worker *w = arg;
    w->failed = generate(w);
    if (w->failed) snprintf(w->message, sizeof w->message, "%s", ingot_message(ctx));
    return NULL;
}

static void test_two_sessions_on_one_device(void **state)
{
    (void)state;
    OK(ingot_context_new(&(ingot_context_options){.threads = 3}, &ctx));
    ingot_model *m = tiny_model("llama");
    ingot_device *d = open_device(false);
    static worker alone[SESSIONS], together[SESSIONS];
    pthread_t threads[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) alone[i] = together[i] = (worker){.model = m, .device = d, .seed = 5 + i};
    for (int i = 0; i < SESSIONS; i++) run(&alone[i]);
    for (int i = 0; i < SESSIONS; i++) assert_int_equal(pthread_create(&threads[i], NULL, run, &together[i]), 0);
    for (int i = 0; i < SESSIONS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < SESSIONS; i++) {
        if (alone[i].failed || together[i].failed) fail_msg("%s%s", alone[i].message, together[i].message);
        assert_memory_equal(together[i].tokens, alone[i].tokens, sizeof alone[i].tokens);
        assert_int_not_equal(alone[i].tokens[0][0] | alone[i].tokens[0][1] | alone[i].tokens[0][2], 0);
    }
    assert_memory_not_equal(alone[0].tokens, alone[1].tokens, sizeof alone[0].tokens);
    ingot_device_close(d);
    ingot_model_free(m);
    ingot_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_two_sessions_on_one_device)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
