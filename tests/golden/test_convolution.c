/* conv2d, max_pool2d and avg_pool2d with their gradients against torch (tests/reference/make_convolution.py). */
#include "tests.h"
#include "ingot/ops.h"
#include "ingot/program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static ingot_shape shape_of(const json_t *tensor)
{
    ingot_shape s = {0};
    const json_t *dims = json_object_get(tensor, "shape");
    for (size_t i = 0; i < json_array_size(dims); i++) s.dim[s.rank++] = json_integer_value(json_array_get(dims, i));
    return s;
}

static float *values_of(const json_t *tensor, size_t *count)
{
    const json_t *list = json_object_get(tensor, "values");
    *count = json_array_size(list);
    float *out = malloc(sizeof *out * *count);
    assert_non_null(out);
    for (size_t i = 0; i < *count; i++) out[i] = (float)json_number_value(json_array_get(list, i));
    return out;
}

static int64_t attribute(const json_t *c, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(c, "attributes"), name));
}

static ingot_value *input(ingot_build *b, const json_t *tensors, const char *name)
{
    const json_t *tensor = json_object_get(tensors, name);
    return tensor ? ingot_input(b, name, INGOT_F32, shape_of(tensor)) : NULL;
}

static ingot_value *apply(ingot_build *b, const json_t *c, ingot_value *x, ingot_value *w, ingot_value *bias)
{
    const char *op = json_string_value(json_object_get(c, "op"));
    int64_t stride = attribute(c, "stride"), padding = attribute(c, "padding");
    if (!strcmp(op, "conv2d")) return ingot_conv2d(b, x, w, bias, (int)stride, (int)padding);
    ingot_window window = ingot_window_of(attribute(c, "kernel"), stride, padding);
    return !strcmp(op, "max_pool2d") ? ingot_max_pool2d(b, x, &window) : ingot_avg_pool2d(b, x, &window);
}

/* Outputs y and, for each of x, w, bias that is there, its gradient under d<name>. */
static ingot_program *compile(ingot_context *ctx, ingot_device *d, const json_t *c)
{
    const json_t *tensors = json_object_get(c, "tensors");
    ingot_build *b = ingot_build_new(ctx, "convolution");
    ingot_value *in[] = {input(b, tensors, "x"), input(b, tensors, "w"), input(b, tensors, "bias")}, *dy, *out[3];
    ingot_value *y = apply(b, c, in[0], in[1], in[2]);
    dy = input(b, tensors, "dy");
    ingot_output(b, "y", y);
    ingot_gradients(b, ingot_sum_all(b, ingot_mul(b, y, dy)), in, in[1] ? 3 : 1, out);
    const char *names[] = {"dx", "dw", "dbias"};
    for (int i = 0; i < (in[1] ? 3 : 1); i++) ingot_output(b, names[i], out[i]);
    ingot_program *p = NULL;
    if (ingot_compile(b, d, NULL, &p)) fail_msg("%s", ingot_message(ctx));
    return p;
}

static void compare(ingot_program *p, const json_t *c, const char *name)
{
    const json_t *tensor = json_object_get(json_object_get(c, "tensors"), name);
    size_t count;
    if (!tensor) return;
    float *wanted = values_of(tensor, &count), *got = malloc(sizeof *got * count);
    assert_non_null(got);
    assert_int_equal(ingot_read(p, name, got, (int64_t)(sizeof *got * count)), INGOT_OK);
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(got[i] - wanted[i]) <= 1e-6f * fabsf(wanted[i]) + 1e-6f))
            fail_msg("%s: %s[%zu] is %g, torch has %g", json_string_value(json_object_get(c, "op")), name, i,
                     (double)got[i], (double)wanted[i]);
    free(wanted);
    free(got);
}

static void follow(ingot_context *ctx, ingot_device *d, const json_t *c)
{
    static const char *const inputs[] = {"x", "w", "bias", "dy"}, *const outputs[] = {"y", "dx", "dw", "dbias"};
    ingot_program *p = compile(ctx, d, c);
    for (size_t i = 0; i < 4; i++) {
        const json_t *tensor = json_object_get(json_object_get(c, "tensors"), inputs[i]);
        size_t count;
        if (!tensor) continue;
        float *values = values_of(tensor, &count);
        assert_int_equal(ingot_write(p, inputs[i], values, (int64_t)(sizeof *values * count)), INGOT_OK);
        free(values);
    }
    if (ingot_run(p, NULL)) fail_msg("%s", ingot_message(ctx));
    for (size_t i = 0; i < 4; i++) compare(p, c, outputs[i]);
    ingot_program_free(p);
}

static void follow_on(const char *device, const char *level)
{
    ingot_context *ctx;
    ingot_device *d;
    json_error_t error;
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    ingot_device_options options = {.level = level};
    if (ingot_device_open(ctx, device, &options, &d)) fail_msg("%s", ingot_message(ctx));
    json_t *golden = json_load_file(TEST_FILES "/golden/convolution/convolution.json", 0, &error);
    if (!golden) fail_msg("%s, line %d", error.text, error.line);
    const json_t *cases = json_object_get(golden, "cases");
    assert_int_equal(json_array_size(cases), 5);
    for (size_t i = 0; i < json_array_size(cases); i++) follow(ctx, d, json_array_get(cases, i));
    json_decref(golden);
    ingot_device_close(d);
    ingot_context_free(ctx);
}

static void test_ref(void **state)
{
    (void)state;
    follow_on("ref", NULL);
}

static void test_naive(void **state)
{
    (void)state;
    follow_on("cpu", "naive");
}

static void test_best(void **state)
{
    (void)state;
    follow_on("cpu", "best");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ref), cmocka_unit_test(test_naive),
                                       cmocka_unit_test(test_best)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
