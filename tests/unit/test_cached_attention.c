/* The match pass makes cached_attention of a layer that decodes, where a kernel for it is asked for, and no logit changes. */
#define _GNU_SOURCE /* strdup */
#include "engine/program.h"
#include "ingot/ops.h"
#include "tests_session.h"

enum { SEQUENCES = 3, PROMPT = 5, TOKENS = 6 };

static int64_t count_kernels(const ingot_program *p, const char *op)
{
    int64_t found = 0;
    for (int64_t i = 0; i < p->main.count; i++) found += !strcmp(p->main.steps[i].node->op->name, op);
    return found;
}

static void keep_logits(const session *s, float **out)
{
    memcpy(*out, s->logits, sizeof **out * (size_t)(s->wanted_rows * TEST_VOCAB));
    *out += s->wanted_rows * TEST_VOCAB;
}

/* Prompts of different lengths, row by row and in chunks, then all sequences together, over pages that none has alone. */
static void decode(const char *family, bool fused, bool joins, float *logits)
{
    ingot_device *d;
    ingot_model *m = tiny_model(family);
    OK(ingot_device_open(ctx, "cpu", &(ingot_device_options){.level = "naive"}, &d));
    d->joins = joins; /* queries and keys of one product turn together */
    if (fused) assert_non_null(d->prefer = strdup("cached_attention.naive"));
    session *s = open_session(m, d, (ingot_session_options){.sequences = SEQUENCES, .page_size = 4});
    cached of[SEQUENCES];
    int32_t tokens[16];
    for (int i = 0; i < SEQUENCES; i++) {
        assert_true(session_open(s, &of[i], PROMPT + i + TOKENS, NULL, 0));
        rows_begin(s);
        rows_add(s, &of[i], some_tokens(tokens, PROMPT + i, i), PROMPT + i, 2);
        OK(rows_run(s));
        keep_logits(s, &logits);
    }
    for (int t = 0; t < TOKENS; t++) {
        rows_begin(s);
        for (int i = 0; i <= t % SEQUENCES; i++) rows_add(s, &of[i], some_tokens(tokens, 1, 7 * t + i), 1, 1);
        OK(rows_run(s));
        keep_logits(s, &logits);
        assert_int_equal(count_kernels(s->ran, "cached_attention"), fused ? s->info.layers : 0);
        assert_int_equal(count_kernels(s->ran, "attention_rows"), fused ? 0 : s->info.layers);
        if (fused) assert_int_equal(count_kernels(s->ran, "rope") + count_kernels(s->ran, "scatter_rows"), 0);
        for (int64_t i = 0; fused && i < s->ran->main.count; i++) { /* the pools stay where they are */
            const step *step = &s->ran->main.steps[i];
            if (strcmp(step->node->op->name, "cached_attention")) continue;
            assert_ptr_equal(step->in[3].data, step->out[1].data);
            assert_ptr_equal(step->in[4].data, step->out[2].data);
            assert_int_equal(step->resting & 3 << 3, 3 << 3); /* and may be read before other steps end */
        }
    }
    ingot_session_free(s);
    ingot_device_close(d);
    ingot_model_free(m);
}

static void check_family(const char *family)
{
    enum { LOGITS = (2 * SEQUENCES + TOKENS * SEQUENCES) * TEST_VOCAB };
    for (int joins = 0; joins < 2; joins++) {
        static float parts[LOGITS], whole[LOGITS];
        memset(parts, 0, sizeof parts);
        memset(whole, 0, sizeof whole);
        decode(family, false, joins, parts);
        decode(family, true, joins, whole);
        assert_memory_equal(parts, whole, sizeof parts);
        assert_true(parts[0] != 0);
    }
}

static void test_llama(void **state)
{
    (void)state;
    check_family("llama");
}

static void test_gpt2(void **state)
{
    (void)state;
    check_family("gpt2");
}

/* A pool that is read elsewhere as well keeps its own update. */
static void test_pool_with_other_readers(void **state)
{
    (void)state;
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    assert_non_null(d->prefer = strdup("cached_attention.naive"));
    for (int read = 0; read < 2; read++) {
        ingot_build *b = ingot_build_new(ctx, "pools");
        ingot_value *q = ingot_input(b, "q", INGOT_F32, INGOT_SHAPE(1, 2, 4)),
                    *k = ingot_input(b, "k", INGOT_F32, INGOT_SHAPE(1, 1, 4)), *pools[2];
        ingot_value *row = ingot_input(b, "row", INGOT_I32, INGOT_SHAPE(1));
        ingot_value *table = ingot_input(b, "table", INGOT_I32, INGOT_SHAPE(1, 1));
        for (int i = 0; i < 2; i++) {
            pools[i] = ingot_state(b, i ? "v" : "k", INGOT_F32, INGOT_SHAPE(8, 1, 4));
            pools[i] = ingot_state_update(b, pools[i], ingot_scatter_rows(b, pools[i], row, k));
        }
        ingot_output(b, "o", ingot_attention_rows(b, q, pools[0], pools[1], table, row, row, 8, 0.5));
        if (read) ingot_output(b, "sum", ingot_sum_all(b, pools[1]));
        ingot_program *p;
        OK(ingot_compile(b, d, NULL, &p));
        assert_int_equal(count_kernels(p, "cached_attention"), !read);
        ingot_program_free(p);
    }
    ingot_device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_pool_with_other_readers),
    };
    return cmocka_run_group_tests(tests, context_open, context_close);
}
