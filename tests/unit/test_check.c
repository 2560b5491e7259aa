/* The tester must reject what is wrong: ops with a planted defect each, and the same op without one. */
#include "tests.h"
#include "check/check.h"
#include "kit/cpu/cpu.h"

#include <stdio.h>

/* y = a * b, element by element, and what may be wrong with it. */
static value *product(build *b, value *x, value *y)
{
    return ingot_pointwise(b, "a * b", (value *[]){x, y}, 2);
}

static void lower(build *b, const node *n, value **out)
{
    out[0] = product(b, n->in[0], n->in[1]);
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = product(b, dout[0], n->in[1]);
    if (need[1]) din[1] = product(b, dout[0], n->in[0]);
}

static void grad_one_percent_off(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    grad(b, n, dout, need, din);
    if (need[1]) din[1] = ingot_mul_scalar(b, din[1], 1.01);
}

static void grad_swapped(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = product(b, dout[0], n->in[0]);
    if (need[1]) din[1] = product(b, dout[0], n->in[1]);
}

static void grad_forgotten(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = product(b, dout[0], n->in[1]);
}

static int64_t count_of(const step *s)
{
    return shape_count(s->out[0].shape);
}

static float *y_of(const step *s)
{
    return s->out[0].data;
}

static status launch(const step *s, queue *q)
{
    (void)q;
    const float *a = s->in[0].data, *b = s->in[1].data;
    for (int64_t i = 0; i < count_of(s); i++) y_of(s)[i] = a[i] * b[i];
    return INGOT_OK;
}

static status launch_inexact(const step *s, queue *q)
{
    TRY(launch(s, q));
    y_of(s)[count_of(s) / 2] *= 1.000001f;
    return INGOT_OK;
}

static status launch_short(const step *s, queue *q)
{
    (void)q;
    const float *a = s->in[0].data, *b = s->in[1].data;
    for (int64_t i = 0; i + 1 < count_of(s); i++) y_of(s)[i] = a[i] * b[i];
    return INGOT_OK;
}

static status launch_long(const step *s, queue *q)
{
    TRY(launch(s, q));
    y_of(s)[count_of(s)] = 1;
    return INGOT_OK;
}

static status launch_nan(const step *s, queue *q)
{
    TRY(launch(s, q));
    y_of(s)[0] = __builtin_nanf("");
    return INGOT_OK;
}

static status launch_fickle(const step *s, queue *q)
{
    static int runs;
    TRY(launch(s, q));
    union {
        float f;
        uint32_t u;
    } bits = {.f = y_of(s)[0]};
    bits.u ^= (uint32_t)(runs++ & 1);
    y_of(s)[0] = bits.f;
    return INGOT_OK;
}

/* Right only where y is not written over a. */
static status launch_backwards(const step *s, queue *q)
{
    (void)q;
    const float *a = s->in[0].data, *b = s->in[1].data;
    int64_t n = count_of(s);
    for (int64_t i = 0; i < n; i++) y_of(s)[i] = 0;
    for (int64_t i = 0; i < n; i++) y_of(s)[i] = a[i] * b[i];
    return INGOT_OK;
}

static status launch_failing(const step *s, queue *q)
{
    (void)s, (void)q;
    return INGOT_ERROR_DEVICE;
}

typedef struct mutant {
    const char *what;
    status (*launch)(const step *s, queue *q);
    void (*grad)(build *b, node *n, value *const *dout, const bool *need, value **din);
    storage_wanted wants;
    error_model error;
    const char *says; /* part of the failure; NULL: there must be none */
} mutant;

static const mutant mutants[] = {
    {"nothing", launch, grad, STORAGE_CONTIGUOUS, ERROR_POINTWISE, NULL},
    {"gradient through lower", launch, NULL, STORAGE_CONTIGUOUS, ERROR_POINTWISE, NULL},
    {"one part in a million", launch_inexact, grad, STORAGE_CONTIGUOUS, ERROR_POINTWISE, "ref says"},
    {"claims to be exact", launch_inexact, grad, STORAGE_CONTIGUOUS, ERROR_EXACT, "ref says"},
    {"last element unwritten", launch_short, grad, STORAGE_CONTIGUOUS, ERROR_POINTWISE, "nan"},
    {"one element too many", launch_long, grad, STORAGE_CONTIGUOUS, ERROR_POINTWISE, "behind a buffer"},
    {"a NaN", launch_nan, grad, STORAGE_CONTIGUOUS, ERROR_POINTWISE, "nan"},
    {"other bits each run", launch_fickle, grad, STORAGE_CONTIGUOUS, ERROR_POINTWISE, "in the next"},
    {"ignores strides", launch, grad, STORAGE_STRIDED, ERROR_POINTWISE, "strided"},
    {"reads what it wrote over", launch_backwards, grad, STORAGE_CONTIGUOUS, ERROR_POINTWISE, "reusable"},
    {"a launch that fails", launch_failing, grad, STORAGE_CONTIGUOUS, ERROR_POINTWISE, ""},
    {"gradient 1 % off", launch, grad_one_percent_off, STORAGE_CONTIGUOUS, ERROR_POINTWISE, "along line"},
    {"gradients swapped", launch, grad_swapped, STORAGE_CONTIGUOUS, ERROR_POINTWISE, "along line"},
    {"gradient forgotten", launch, grad_forgotten, STORAGE_CONTIGUOUS, ERROR_POINTWISE, "along line"},
};

static check_report check(context *ctx, const op_def *op)
{
    check_report report = {0};
    const op_def *ops[] = {op, NULL};
    check_options o = {.device = "cpu", .ops = ops, .seed = 3};
    if (check_ops(ctx, &o, &report)) fail_msg("%s", ingot_message(ctx));
    assert_int_equal(report.rows.count, 1);
    return report;
}

static void run_mutant(context *ctx, const mutant *m)
{
    op_def op = {.name = "mutant",
                 .doc = "y = a b.",
                 .inputs = {{"a", FLOAT}, {"b", FLOAT}},
                 .outputs = {{"y", .like = INPUT(0), .may_reuse = INPUT(0)}},
                 .lower = lower,
                 .grad = m->grad,
                 SAMPLES({.in = {S(5, 7), S(5, 7)}})};
    const kernel_def kernels[] = {{.op = &op,
                                   .name = "mutant.test",
                                   .level = LEVEL_NAIVE,
                                   .wants = {m->wants, m->wants},
                                   .launch = m->launch,
                                   .error = m->error},
                                  {0}};
    const kernel_def *const table[] = {kernels, NULL};
    op.kernels = table;
    check_report report = check(ctx, &op);
    const check_row *row = &report.rows.at[0];
    if (!m->says && row->failure) fail_msg("%s: %s", m->what, row->failure);
    if (m->says && !row->failure) fail_msg("%s: not noticed", m->what);
    if (m->says && !strstr(row->failure, m->says)) fail_msg("%s: noticed as %s", m->what, row->failure);
    assert_int_equal(report.failures != 0, m->says != NULL);
    check_report_free(&report);
}

static void test_mutants(void **state)
{
    (void)state;
    context *ctx;
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    for (size_t i = 0; i < COUNT(mutants); i++) run_mutant(ctx, &mutants[i]);
    ingot_context_free(ctx);
}

static void test_no_samples(void **state)
{
    (void)state;
    context *ctx;
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    op_def op = {.name = "bare", .inputs = {{"a", FLOAT}}, .outputs = {{"y", .like = INPUT(0)}}, .lower = lower};
    check_report report = check(ctx, &op);
    assert_int_equal(report.failures, 1);
    check_report_free(&report);
    ingot_context_free(ctx);
}

/* A graph with a parameter that the loss does not reach. */
static void build_with_forgotten(check_graph *g, const void *user)
{
    (void)user;
    build *b = check_builder(g);
    value *x = check_input(g, "x", INGOT_F32, INGOT_SHAPE(3, 4), (check_fill){.constant = true});
    value *w = ingot_state(b, "w", INGOT_F32, INGOT_SHAPE(5, 4));
    ingot_state(b, "forgotten", INGOT_F32, INGOT_SHAPE(5));
    check_output(g, "y", ingot_matmul_with(b, x, w, NULL, 0, 1));
}

static void test_forgotten_parameter(void **state)
{
    (void)state;
    context *ctx;
    check_report report = {0};
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    check_options o = {.device = "cpu", .seed = 3};
    check_subject s = {.name = "linear", .build = build_with_forgotten, .differentiable = true, .warns = true};
    if (check_subject_run(ctx, &o, &s, &report)) fail_msg("%s", ingot_message(ctx));
    const check_row *row = &report.rows.at[0];
    if (row->failure) fail_msg("%s", row->failure);
    assert_non_null(row->warnings.at);
    assert_non_null(strstr(row->warnings.at, "forgotten"));
    assert_null(strstr(row->warnings.at, "gradient of w "));
    check_report_free(&report);
    ingot_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutants), cmocka_unit_test(test_no_samples),
                                       cmocka_unit_test(test_forgotten_parameter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
