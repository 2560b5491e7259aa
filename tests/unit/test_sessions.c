/* Two sessions on one device, in two threads, with one model between them: each writes what it writes alone. Built with
 * ThreadSanitizer this is the test of the headers' thread-safety contract.
 */
#include "tests_session.h"

#include <pthread.h>

typedef struct writer {
    const ingot_model *model;
    ingot_device *device;
    int seed;
    ingot_status status;
    char message[256];
    ingot_completions *all;
} writer;

/* Session, generation and end, all in this thread. */
static void *write_text(void *given)
{
    writer *w = given;
    int32_t prompts[3][20];
    ingot_request requests[3];
    for (int i = 0; i < 3; i++)
        requests[i] = (ingot_request){.tokens = some_tokens(prompts[i], 5 + 7 * i, w->seed + i),
                                      .token_count = 5 + 7 * i,
                                      .samples = 2,
                                      .max_tokens = 12,
                                      .ignore_end = 1,
                                      .sampling = {.temperature = 1, .top_p = 0.9, .seed = (uint64_t)w->seed}};
    ingot_session *s;
    w->status =
        ingot_session_new(w->model, w->device, &(ingot_session_options){.sequences = 4, .page_size = 8, .seed = 3}, &s);
    if (!w->status) {
        w->status = ingot_generate(s, requests, 3, NULL, NULL, &w->all);
        ingot_session_free(s);
    }
    if (w->status) snprintf(w->message, sizeof w->message, "%s", ingot_message(ctx)); /* this thread's own */
    return NULL;
}

static void expect_same(const writer *a, const writer *b)
{
    if (a->status || b->status) fail_msg("%s%s", a->message, b->message);
    assert_int_equal(a->all->count, b->all->count);
    for (int64_t i = 0; i < a->all->count; i++) {
        assert_int_equal(a->all->at[i].token_count, b->all->at[i].token_count);
        assert_memory_equal(a->all->at[i].tokens, b->all->at[i].tokens,
                            (size_t)a->all->at[i].token_count * sizeof(int32_t));
    }
}

static void test_two_threads(void **state)
{
    (void)state;
    ingot_device *d;
    OK(ingot_context_new(&(ingot_context_options){.threads = 2}, &ctx));
    d = open_device(true);
    for (int round = 0; round < 3; round++) {
        ingot_model *m = tiny_model(round ? "llama" : "gpt2"); /* fresh: both threads build its first graph */
        writer together[2] = {{.model = m, .device = d, .seed = 1}, {.model = m, .device = d, .seed = 2}};
        writer alone[2] = {{.model = m, .device = d, .seed = 1}, {.model = m, .device = d, .seed = 2}};
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, write_text, &together[i]), 0);
        for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
        for (int i = 0; i < 2; i++) write_text(&alone[i]);
        for (int i = 0; i < 2; i++) expect_same(&together[i], &alone[i]);
        for (int i = 0; i < 2; i++) ingot_completions_free(together[i].all), ingot_completions_free(alone[i].all);
        ingot_model_free(m);
    }
    ingot_device_close(d);
    ingot_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_two_threads)};
    return cmocka_run_group_tests_name("sessions", tests, NULL, NULL);
}
