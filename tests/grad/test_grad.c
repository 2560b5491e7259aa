/* Gradients through graphs of several ops: values that are used often, weights that are shared, views, recomputation,
 * whole models. Against central differences and against ref, in every layout. */
#include "tests.h"
#include "check/check.h"

#include <stdio.h>

static value *input(check_graph *g, const char *name, int64_t rows, int64_t columns)
{
    return check_input(g, name, INGOT_F32, INGOT_SHAPE(rows, columns), (check_fill){.scale = 0.7});
}

/* Two layers with a norm and a residual. */
static void build_mlp(check_graph *g, const void *user)
{
    (void)user;
    build *b = check_builder(g);
    value *x = input(g, "x", 6, 8), *up = input(g, "up", 12, 8), *down = input(g, "down", 8, 12);
    value *scale = check_input(g, "scale", INGOT_F32, INGOT_SHAPE(8), (check_fill){0});
    value *h = ingot_gelu(b, ingot_matmul_with(b, ingot_rms_norm(b, x, scale, 1e-5), up, NULL, 0, 1));
    check_output(g, "y", ingot_add(b, x, ingot_matmul_with(b, h, down, NULL, 0, 1)));
}

/* One matrix as table, as product and transposed: its gradients add up. */
static void build_shared(check_graph *g, const void *user)
{
    (void)user;
    build *b = check_builder(g);
    value *w = input(g, "w", 9, 5);
    value *ids = check_input(g, "ids", INGOT_I32, INGOT_SHAPE(7), (check_fill){.below = 9});
    value *x = ingot_gather(b, w, ids);                     /* (7, 5) */
    value *scores = ingot_matmul_with(b, x, w, NULL, 0, 1); /* (7, 9) */
    check_output(g, "scores", ingot_softmax(b, scores));
    check_output(g, "square", ingot_matmul_with(b, w, w, NULL, 1, 0));
}

/* Pieces of one value, moved and joined again, each used twice. */
static void build_views(check_graph *g, const void *user)
{
    (void)user;
    build *b = check_builder(g);
    value *x = input(g, "x", 6, 10);
    value *left = ingot_slice(b, x, 1, 0, 4), *right = ingot_slice(b, x, 1, 4, 6);
    value *turned = ingot_transpose(b, ingot_concat(b, (value *[]){right, left, left}, 3, 1)); /* (14, 6) */
    value *folded = ingot_reshape(b, turned, INGOT_SHAPE(7, 2, 6));
    value *mean = ingot_mean(b, folded, 1, 1);
    check_output(g, "y", ingot_mul(b, ingot_sub(b, folded, mean), ingot_sigmoid(b, folded)));
    check_output(g, "largest", ingot_max(b, ingot_matmul(b, turned, x), -1, 0));
}

/* A stack whose inner values are computed again in the backward pass. */
static void build_recomputed(check_graph *g, const void *user)
{
    (void)user;
    build *b = check_builder(g);
    value *x = input(g, "x", 5, 8), *w = input(g, "w", 8, 8);
    for (int layer = 0; layer < 3; layer++) {
        ingot_recompute_begin(b);
        x = ingot_add(b, x, ingot_tanh(b, ingot_matmul(b, x, w)));
        ingot_recompute_end(b);
    }
    check_output(g, "y", x);
}

static const check_subject subjects[] = {
    {.name = "mlp", .build = build_mlp, .differentiable = true, .any_layout = true, .deep = true},
    {.name = "shared", .build = build_shared, .differentiable = true, .any_layout = true, .deep = true},
    {.name = "views", .build = build_views, .differentiable = true, .any_layout = true, .deep = true},
    {.name = "recomputed", .build = build_recomputed, .differentiable = true, .any_layout = true, .deep = true},
};

static void check_level(const char *level)
{
    context *ctx;
    check_report report = {0};
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    check_options o = {.device = "cpu", .level = level, .seed = 11};
    for (size_t i = 0; i < COUNT(subjects); i++)
        if (check_subject_run(ctx, &o, &subjects[i], &report)) fail_msg("%s", ingot_message(ctx));
    if (check_models(ctx, &o, &report)) fail_msg("%s", ingot_message(ctx));
    for (int64_t i = 0; i < report.rows.count; i++) {
        const check_row *r = &report.rows.at[i];
        if (r->failure) print_error("%s: %s\n", level, r->failure);
        if (r->warnings.at) print_error("%s: %s", level, r->warnings.at);
        assert_true(r->runs > 0);
        assert_true(r->worst_gradient > 0); /* some slope was measured */
        assert_null(r->warnings.at);
    }
    assert_int_equal(report.failures, 0);
    check_report_free(&report);
    ingot_context_free(ctx);
}

static void test_naive(void **state)
{
    (void)state;
    check_level("naive");
}

static void test_best(void **state)
{
    (void)state;
    check_level("best");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_naive), cmocka_unit_test(test_best)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
