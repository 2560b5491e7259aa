/* Ops that an application registers: meaning, gradient with and without one of its own, kernel, and what is refused. */
#include "context.h"
#include "check/check.h"
#include "ingot/custom.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_int kernel_calls;

/* y = x w^2 k0 (w broadcast over rows), and the row sums of y. */
static void scale_lower(ingot_build *b, const double *k, ingot_value *const *in, ingot_value **out)
{
    out[0] = ingot_mul_scalar(b, ingot_mul(b, in[0], ingot_square(b, in[1])), k[0]);
    out[1] = ingot_sum(b, out[0], -1, 0);
}

static void scale_grad(ingot_build *b, const double *k, ingot_value *const *in, ingot_value *const *out,
                       ingot_value *const *dout, const int *need, ingot_value **din)
{
    (void)out;
    ingot_value *d = dout[0];
    if (dout[1]) {
        ingot_value *wide = ingot_expand(b, ingot_reshape(b, dout[1], INGOT_SHAPE(ingot_shape_get(in[0]).dim[0], 1)),
                                         ingot_shape_get(in[0]));
        d = d ? ingot_add(b, d, wide) : wide;
    }
    d = ingot_mul_scalar(b, d, k[0]);
    if (need[0]) din[0] = ingot_mul(b, d, ingot_square(b, in[1]));
    if (need[1]) din[1] = ingot_mul(b, ingot_sum(b, ingot_mul(b, d, in[0]), 0, 0), ingot_mul_scalar(b, in[1], 2));
}

static void scale_rows(const ingot_custom_call *call, int64_t first, int64_t last)
{
    int64_t columns = call->in[0].shape.dim[1];
    const float *x = call->in[0].data, *w = call->in[1].data;
    float *y = call->out[0].data, *sums = call->out[1].data;
    for (int64_t r = first; r < last; r++) {
        float sum = 0;
        for (int64_t c = 0; c < columns; c++) {
            float v = x[r * columns + c] * (w[c] * w[c]) * (float)call->numbers[0];
            if (y) y[r * columns + c] = v;
            sum += v;
        }
        if (sums) sums[r] = sum;
    }
}

static ingot_status scale_cpu(const ingot_custom_call *call)
{
    atomic_fetch_add(&kernel_calls, 1);
    ingot_custom_for(call, call->in[0].shape.dim[0], 1, scale_rows);
    return INGOT_OK;
}

static const ingot_custom_def scale = {.name = "scale",
                                       .inputs = 2,
                                       .outputs = 2,
                                       .numbers = 1,
                                       .lower = scale_lower,
                                       .grad = scale_grad,
                                       .cpu = scale_cpu};

static void build_scale(check_graph *g, const void *user)
{
    const double k = 1.5;
    ingot_value *in[2] = {check_input(g, "x", INGOT_F32, INGOT_SHAPE(5, 7), (check_fill){0}),
                          check_input(g, "w", INGOT_F32, INGOT_SHAPE(7), (check_fill){0})};
    ingot_value *out[2];
    ingot_custom(check_builder(g), user, &k, in, out);
    check_output(g, "y", out[0]);
    check_output(g, "sums", out[1]);
}

/* Values and gradients on the cpu against ref in float64 and against finite differences; then without grad and kernel. */
static void test_against_ref(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        ingot_custom_def def = scale;
        if (!own) def.grad = NULL, def.cpu = NULL;
        ingot_custom_op *op;
        OK(ingot_custom_op_new(ctx, &def, &op));
        atomic_store(&kernel_calls, 0);
        check_subject subject = {
            .name = "scale", .build = build_scale, .user = op, .differentiable = true, .any_layout = true};
        check_report report = {0};
        OK(check_subject_run(ctx, &(check_options){.device = "cpu", .seed = 1}, &subject, &report));
        if (report.failures) fail_msg("%s", report.rows.at[0].failure);
        assert_true(report.rows.at[0].runs > 0);
        assert_int_equal(atomic_load(&kernel_calls) > 0, own);
        check_report_free(&report);
        ingot_custom_op_free(op);
    }
}

static void wrong_grad(ingot_build *b, const double *k, ingot_value *const *in, ingot_value *const *out,
                       ingot_value *const *dout, const int *need, ingot_value **din)
{
    (void)b, (void)k, (void)in, (void)out, (void)need;
    din[0] = din[1] = dout[0];
}

static void no_output(ingot_build *b, const double *k, ingot_value *const *in, ingot_value **out)
{
    (void)k;
    out[0] = ingot_neg(b, in[0]);
}

static void expect_failure(const ingot_custom_def *def, int64_t columns, bool gradient, const char *words)
{
    ingot_custom_op *op;
    ingot_value *out[2], *d[2];
    OK(ingot_custom_op_new(ctx, def, &op));
    ingot_build *b = ingot_build_new(ctx, "test");
    ingot_value *in[2] = {ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(5, 7)),
                          ingot_input(b, "w", INGOT_F32, INGOT_SHAPE(columns))};
    ingot_custom(b, op, NULL, in, out);
    if (gradient) ingot_gradients(b, ingot_sum_all(b, out[0]), in, 2, d);
    assert_int_not_equal(ingot_build_status(b), INGOT_OK);
    if (!strstr(ingot_message(ctx), words)) fail_msg("'%s' lacks '%s'", ingot_message(ctx), words);
    ingot_build_free(b);
    ingot_custom_op_free(op);
}

static void test_refusals(void **state)
{
    (void)state;
    ingot_custom_op *op;
    const ingot_custom_def bad[] = {{.name = "a", .inputs = 1, .outputs = 1},
                                    {.inputs = 1, .outputs = 1, .lower = scale_lower},
                                    {.name = "a", .inputs = 0, .outputs = 1, .lower = scale_lower},
                                    {.name = "a", .inputs = 1, .outputs = 9, .lower = scale_lower},
                                    {.name = "a", .inputs = 1, .outputs = 1, .numbers = 99, .lower = scale_lower}};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(ingot_custom_op_new(ctx, &bad[i], &op), INGOT_ERROR_ARGUMENT);
    ingot_custom_def def = scale;
    expect_failure(&def, 6, false, "[scale]"); /* shapes that lower refuses */
    def.lower = no_output;
    expect_failure(&def, 7, false, "sets no output 1");
    def = scale;
    def.grad = wrong_grad;
    expect_failure(&def, 7, true, "grad gives input 1");
}

static ingot_status failing_cpu(const ingot_custom_call *call)
{
    (void)call;
    return ingot_fail(ctx, INGOT_ERROR_DEVICE, "the scale broke");
}

static void test_kernel_error(void **state)
{
    (void)state;
    ingot_custom_def def = scale;
    def.cpu = failing_cpu;
    ingot_custom_op *op;
    ingot_device *d;
    ingot_program *p;
    const double k = 1;
    OK(ingot_custom_op_new(ctx, &def, &op));
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "test");
    ingot_value *out[2],
        *in[2] = {ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(5, 7)), ingot_input(b, "w", INGOT_F32, INGOT_SHAPE(7))};
    ingot_custom(b, op, &k, in, out);
    ingot_output(b, "y", out[0]);
    OK(ingot_compile(b, d, NULL, &p));
    assert_int_equal(ingot_run(p, NULL), INGOT_ERROR_DEVICE);
    assert_non_null(strstr(ingot_message(ctx), "the scale broke"));
    ingot_program_free(p);
    ingot_device_close(d);
    ingot_custom_op_free(op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_ref),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_kernel_error),
    };
    return cmocka_run_group_tests_name("custom", tests, context_open, context_close);
}
