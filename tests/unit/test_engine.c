/* Graphs that run: values, gradients, states and groups, on cpu at several levels and on ref; the pipeline on null. */
#include "tests.h"
#include "engine/program.h"
#include "ingot/ops.h"

#include <math.h>
#include <stdio.h>

static const struct {
    const char *device, *level;
} places[] = {{"ref", NULL}, {"cpu", "naive"}, {"cpu", "parallel"}, {"cpu", "best"}};

static ingot_context *context_for_test(void)
{
    ingot_context *ctx;
    assert_int_equal(ingot_context_new(&(ingot_context_options){.threads = 2}, &ctx), INGOT_OK);
    return ctx;
}

/* loss = sum(gelu(x w + bias)^2); gradients against central differences of the same program. */
static double run_mlp(ingot_context *ctx, ingot_device *d, const float *x, const float *w, const float *bias, float *dw,
                      float *dbias)
{
    ingot_build *b = ingot_build_new(ctx, "mlp");
    ingot_value *vx = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(4, 3)),
                *vw = ingot_input(b, "w", INGOT_F32, INGOT_SHAPE(3, 5));
    ingot_value *vb = ingot_input(b, "bias", INGOT_F32, INGOT_SHAPE(5)), *grads[2];
    ingot_value *h = ingot_gelu(b, ingot_add(b, ingot_matmul(b, vx, vw), vb));
    ingot_value *loss = ingot_sum_all(b, ingot_square(b, h));
    ingot_gradients(b, loss, (ingot_value *[]){vw, vb}, 2, grads);
    ingot_output(b, "loss", loss);
    ingot_output(b, "dw", grads[0]);
    ingot_output(b, "dbias", grads[1]);
    ingot_program *p;
    OK(ingot_compile(b, d, NULL, &p));
    OK(ingot_write(p, "x", x, 12 * 4));
    OK(ingot_write(p, "w", w, 15 * 4));
    OK(ingot_write(p, "bias", bias, 5 * 4));
    OK(ingot_run(p, NULL));
    float value;
    OK(ingot_read(p, "loss", &value, 4));
    if (dw) OK(ingot_read(p, "dw", dw, 15 * 4));
    if (dbias) OK(ingot_read(p, "dbias", dbias, 5 * 4));
    ingot_program_free(p);
    return value;
}

static void test_gradients(void **state)
{
    (void)state;
    ingot_context *ctx = context_for_test();
    float x[12], w[15], bias[5];
    for (int i = 0; i < 12; i++) x[i] = sinf((float)i);
    for (int i = 0; i < 15; i++) w[i] = cosf((float)i * 1.3f);
    for (int i = 0; i < 5; i++) bias[i] = (float)i * 0.1f - 0.2f;
    for (size_t k = 0; k < COUNT(places); k++) {
        ingot_device *d;
        OK(ingot_device_open(ctx, places[k].device, &(ingot_device_options){.level = places[k].level}, &d));
        float dw[15], dbias[5];
        double at = run_mlp(ctx, d, x, w, bias, dw, dbias);
        assert_true(isfinite(at) && at > 0.1);
        for (int i = 0; i < 15; i++) {
            float kept = w[i];
            w[i] = kept + 1e-2f;
            double more = run_mlp(ctx, d, x, w, bias, NULL, NULL);
            w[i] = kept - 1e-2f;
            double less = run_mlp(ctx, d, x, w, bias, NULL, NULL);
            w[i] = kept;
            assert_true(fabs((more - less) / 2e-2 - dw[i]) <= 2e-3 * (1 + fabs(dw[i])));
        }
        ingot_device_close(d);
    }
    ingot_context_free(ctx);
}

/* A counter and an accumulator in groups: one update a run, in place, seen by the next. */
static void test_states(void **state)
{
    (void)state;
    ingot_context *ctx = context_for_test();
    for (size_t k = 0; k < COUNT(places); k++) {
        ingot_device *d;
        OK(ingot_device_open(ctx, places[k].device, &(ingot_device_options){.level = places[k].level}, &d));
        ingot_store *store;
        OK(ingot_store_new(d, &store));
        ingot_build *b = ingot_build_new(ctx, "accumulate");
        ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(2, 3));
        ingot_value *g = ingot_state_in(b, "g", INGOT_F32, INGOT_SHAPE(2, 2), "grads");
        ingot_value *h = ingot_state_in(b, "h", INGOT_F32, INGOT_SHAPE(3), "grads");
        ingot_state_update(b, g, ingot_add(b, g, ingot_matmul_with(b, x, x, NULL, 0, 1)));
        ingot_state_update(b, h, ingot_add(b, h, ingot_sum(b, x, 0, 0)));
        ingot_program *p, *scale;
        OK(ingot_compile(b, d, &(ingot_compile_options){.store = store}, &p));
        b = ingot_build_new(ctx, "scale");
        ingot_value *all = ingot_state_group(b, store, "grads"), *by = ingot_uniform(b, "by", INGOT_F32);
        ingot_state_update(b, all, ingot_mul(b, all, by));
        OK(ingot_compile(b, d, &(ingot_compile_options){.store = store}, &scale));
        const float in[6] = {1, 2, 3, 4, 5, 6};
        OK(ingot_write(p, "x", in, sizeof in));
        OK(ingot_run(p, NULL));
        OK(ingot_run(p, NULL));
        OK(ingot_run(scale, &(ingot_scalar){.f = 0.5}));
        float got[4], sum[3];
        OK(ingot_store_read(store, "g", got, sizeof got));
        OK(ingot_store_read(store, "h", sum, sizeof sum));
        assert_float_equal(got[0], 14, 1e-6);
        assert_float_equal(got[1], 32, 1e-6);
        assert_float_equal(got[3], 77, 1e-6);
        assert_float_equal(sum[2], 9, 1e-6);
        ingot_program_free(scale);
        ingot_program_free(p);
        ingot_store_free(store);
        ingot_device_close(d);
    }
    ingot_context_free(ctx);
}

/* Two states that exchange their values: both old values are read before either is written. */
static void test_swap(void **state)
{
    (void)state;
    ingot_context *ctx = context_for_test();
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "swap");
    ingot_value *one = ingot_state(b, "one", INGOT_F32, INGOT_SHAPE(2)),
                *other = ingot_state(b, "other", INGOT_F32, INGOT_SHAPE(2));
    ingot_state_update(b, one, ingot_add_scalar(b, other, 1));
    ingot_state_update(b, other, one);
    ingot_store *store;
    OK(ingot_store_new(d, &store));
    ingot_program *p;
    OK(ingot_compile(b, d, &(ingot_compile_options){.store = store}, &p));
    float x[2] = {1, 2}, y[2] = {10, 20};
    OK(ingot_store_write(store, "one", x, sizeof x));
    OK(ingot_store_write(store, "other", y, sizeof y));
    OK(ingot_run(p, NULL));
    OK(ingot_store_read(store, "one", x, sizeof x));
    OK(ingot_store_read(store, "other", y, sizeof y));
    assert_float_equal(x[0], 11, 0);
    assert_float_equal(y[0], 1, 0);
    ingot_program_free(p);
    ingot_store_free(store);
    ingot_device_close(d);
    ingot_context_free(ctx);
}

static unsigned resting_of(const ingot_program *p, const char *op)
{
    for (int64_t i = 0; i < p->main.count; i++)
        if (!strcmp(p->main.steps[i].node->op->name, op)) return p->main.steps[i].resting;
    return ~0u;
}

/* A kernel may read ahead what no step writes: states of groups that the program leaves alone. */
static void test_what_rests(void **state)
{
    (void)state;
    ingot_context *ctx = context_for_test();
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    for (int writes = 0; writes < 4; writes++) { /* nothing, a neighbour of w, w, its whole group */
        ingot_store *store;
        OK(ingot_store_new(d, &store));
        ingot_build *b = ingot_build_new(ctx, "rest");
        ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(2, 3)),
                    *c = ingot_state(b, "c", INGOT_F32, INGOT_SHAPE(2, 3)),
                    *lone = ingot_state(b, "lone", INGOT_F32, INGOT_SHAPE(2, 3));
        ingot_value *w = ingot_state_in(b, "w", INGOT_F32, INGOT_SHAPE(3, 3), "weights"),
                    *next = ingot_state_in(b, "next", INGOT_F32, INGOT_SHAPE(4), "weights");
        ingot_output(b, "y", ingot_softmax(b, ingot_concat(b, (ingot_value *[]){c, lone}, 2, 0)));
        ingot_output(b, "z", ingot_matmul(b, x, w));
        ingot_output(b, "norm", ingot_sum(b, next, 0, 0));
        ingot_state_update(b, c, ingot_mul_scalar(b, x, 2));
        ingot_program *p, *other = NULL;
        if (writes == 1) ingot_state_update(b, next, ingot_mul_scalar(b, next, 2));
        if (writes == 2) ingot_state_update(b, w, ingot_mul_scalar(b, w, 2));
        if (writes == 3) {
            ingot_build *first = ingot_build_new(ctx, "declare");
            ingot_output(first, "w",
                         ingot_neg(first, ingot_state_in(first, "w", INGOT_F32, INGOT_SHAPE(3, 3), "weights")));
            ingot_output(first, "next",
                         ingot_neg(first, ingot_state_in(first, "next", INGOT_F32, INGOT_SHAPE(4), "weights")));
            OK(ingot_compile(first, d, &(ingot_compile_options){.store = store}, &other));
            ingot_value *all = ingot_state_group(b, store, "weights");
            ingot_state_update(b, all, ingot_mul_scalar(b, all, 2));
        }
        OK(ingot_compile(b, d, &(ingot_compile_options){.store = store}, &p));
        assert_int_equal(resting_of(p, "concat"), 2);              /* c is written, lone is not */
        assert_int_equal(resting_of(p, "matmul"), writes ? 0 : 2); /* x is an input */
        assert_int_equal(resting_of(p, "softmax"), 0);
        ingot_program_free(other);
        ingot_program_free(p);
        ingot_store_free(store);
    }
    ingot_device_close(d);
    ingot_context_free(ctx);
}

static bool reads_state(const ingot_program *p, const char *op, const char *state)
{
    for (int64_t i = 0; i < p->main.count; i++) {
        const node *n = p->main.steps[i].node;
        for (int k = 0; k < n->inputs && !strcmp(n->op->name, op); k++)
            if (value_is_state(n->in[k]) && !strcmp(n->in[k]->name, state)) return true;
    }
    return false;
}

/* An embedding in 16 bits reads the copy of its table that the head multiplies by, where there is one; the same numbers. */
static void test_rows_of_a_copy(void **state)
{
    (void)state;
    ingot_context *ctx = context_for_test();
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    const float table[6] = {0.1f, -1.3f, 3.3333f, 7, 1e-3f, -0.7f};
    const int32_t id[3] = {2, 0, 2};
    for (int tied = 0; tied < 2; tied++) {
        ingot_build *b = ingot_build_new(ctx, "embed");
        ingot_value *w = ingot_state_in(b, "w", INGOT_F32, INGOT_SHAPE(3, 2), "weights");
        ingot_value *ids = ingot_input(b, "ids", INGOT_I32, INGOT_SHAPE(3));
        ingot_value *rows = ingot_cast(b, ingot_gather(b, w, ids), INGOT_BF16);
        ingot_output(b, "rows", rows);
        if (tied) ingot_output(b, "head", ingot_matmul_with(b, rows, ingot_cast(b, w, INGOT_BF16), NULL, 0, 1));
        ingot_program *p;
        OK(ingot_compile(b, d, NULL, &p));
        assert_int_equal(reads_state(p, "gather", "w@bfloat16"), tied);
        assert_int_equal(reads_state(p, "gather", "w"), !tied);
        uint16_t got[6];
        OK(ingot_store_write(p->store, "w", table, sizeof table));
        OK(ingot_write(p, "ids", id, sizeof id));
        OK(ingot_run(p, NULL));
        OK(ingot_read(p, "rows", got, sizeof got));
        for (int i = 0; i < 6; i++) assert_int_equal(got[i], float_to_bf16(table[id[i / 2] * 2 + i % 2]));
        ingot_program_free(p);
    }
    ingot_device_close(d);
    ingot_context_free(ctx);
}

static unsigned resting_in_chain;

static status look_at_steps(device *d, const work *w, void **out)
{
    (void)d;
    *out = NULL;
    for (int64_t i = 0; i < w->count; i++)
        if (w->steps[i].node && !strcmp(w->steps[i].node->op->name, "matmul")) resting_in_chain = w->steps[i].resting;
    return INGOT_OK;
}

/* Behind another program in one submission nothing rests: that one may write it. */
static void test_what_rests_in_chains(void **state)
{
    (void)state;
    ingot_context *ctx = context_for_test();
    ingot_device *d;
    OK(ingot_device_open(ctx, "null", NULL, &d));
    device_def looks = *d->def;
    looks.compile = look_at_steps;
    d->def = &looks;
    ingot_store *store;
    OK(ingot_store_new(d, &store));
    ingot_program *p[2];
    for (int i = 0; i < 2; i++) {
        ingot_build *b = ingot_build_new(ctx, i ? "reads" : "writes");
        ingot_value *w = ingot_state_in(b, "w", INGOT_F32, INGOT_SHAPE(3, 3), "weights");
        if (i)
            ingot_output(b, "y", ingot_matmul(b, ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(2, 3)), w));
        else
            ingot_state_update(b, w, ingot_mul_scalar(b, w, 2));
        OK(ingot_compile(b, d, &(ingot_compile_options){.store = store}, &p[i]));
    }
    for (int i = 0; i < 2; i++) { /* behind the one that writes, and alone */
        chain *both;
        int slot;
        resting_in_chain = ~0u;
        OK(chain_new(p[i], p[1], &both));
        OK(chain_run(both, &slot));
        assert_int_equal(resting_in_chain, i ? 2 : 0);
        chain_free(both);
    }
    ingot_program_free(p[1]);
    ingot_program_free(p[0]);
    ingot_store_free(store);
    ingot_device_close(d);
    ingot_context_free(ctx);
}

static void test_null_runs_the_pipeline(void **state)
{
    (void)state;
    ingot_context *ctx = context_for_test();
    ingot_device *d;
    OK(ingot_device_open(ctx, "null", NULL, &d));
    float x[12] = {0}, w[15] = {0}, bias[5] = {0};
    run_mlp(ctx, d, x, w, bias, NULL, NULL);
    ingot_device_close(d);
    ingot_context_free(ctx);
}

static void test_first_error_is_kept(void **state)
{
    (void)state;
    ingot_context *ctx = context_for_test();
    ingot_device *d;
    OK(ingot_device_open(ctx, "null", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "wrong");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(4, 3));
    ingot_output(b, "y", ingot_gelu(b, ingot_matmul(b, x, x)));
    ingot_program *p;
    assert_int_equal(ingot_compile(b, d, NULL, &p), INGOT_ERROR_SHAPE);
    assert_non_null(strstr(ingot_message(ctx), "[matmul] inner dims differ"));
    ingot_device_close(d);
    ingot_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_swap),
        cmocka_unit_test(test_what_rests),
        cmocka_unit_test(test_what_rests_in_chains),
        cmocka_unit_test(test_rows_of_a_copy),
        cmocka_unit_test(test_null_runs_the_pipeline),
        cmocka_unit_test(test_first_error_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
