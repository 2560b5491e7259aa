/* Ten steps of each optimizer, as torch takes them (tests/reference/make_optimizers.py), on every rung and on ref; and
 * that a step which is not applied changes nothing. */
#include "tests.h"
#include "ingot/ops.h"
#include "ingot/program.h"

#include <math.h>
#include <stdio.h>

#include <jansson.h>

enum { STEPS = 10, SIZE = 7 };

typedef struct rule {
    const char *name;
    int adam, decoupled, nesterov;
    double momentum;
} rule;

static const rule rules[] = {
    {"adamw", 1, 1, 0, 0},      {"adam", 1, 0, 0, 0},       {"sgd", 0, 0, 0, 0},
    {"momentum", 0, 0, 0, 0.9}, {"nesterov", 0, 0, 1, 0.9},
};

/* w, m, v (or the buffer) are states; g is an input; the rest are uniforms in this order: lr, scale, step, apply. */
static ingot_program *compile(ingot_context *ctx, ingot_device *d, ingot_store *store, const rule *r)
{
    ingot_build *b = ingot_build_new(ctx, r->name);
    ingot_shape s = INGOT_SHAPE(SIZE);
    ingot_value *w = ingot_state(b, "w", INGOT_F32, s), *m = ingot_state(b, "m", INGOT_F32, s);
    ingot_value *v = ingot_state(b, "v", INGOT_F32, s), *g = ingot_input(b, "g", INGOT_F32, s);
    ingot_value *lr = ingot_uniform(b, "lr", INGOT_F32), *scale = ingot_uniform(b, "scale", INGOT_F32);
    ingot_value *step = ingot_uniform(b, "step", INGOT_I32), *apply = ingot_uniform(b, "apply", INGOT_F32);
    ingot_value *out[3] = {NULL};
    if (r->adam) {
        ingot_adamw_options o = {
            .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .decoupled = r->decoupled};
        ingot_adamw(b, w, g, m, v, lr, scale, step, apply, &o, out);
        ingot_state_update(b, v, out[2]);
    } else {
        ingot_sgd_options o = {.momentum = r->momentum, .weight_decay = 0.1, .nesterov = r->nesterov};
        ingot_sgd(b, w, g, r->momentum > 0 ? m : NULL, lr, scale, apply, &o, out);
    }
    ingot_state_update(b, w, out[0]);
    if (out[1]) ingot_state_update(b, m, out[1]);
    ingot_program *p = NULL;
    ingot_compile_options options = {.store = store};
    if (ingot_compile(b, d, &options, &p)) fail_msg("%s", ingot_message(ctx));
    return p;
}

static void read_floats(const json_t *list, float *out)
{
    assert_int_equal(json_array_size(list), SIZE);
    for (size_t i = 0; i < SIZE; i++) out[i] = (float)json_real_value(json_array_get(list, i));
}

static void run_step(ingot_context *ctx, ingot_program *p, float *g, double lr, int step, double apply)
{
    float halved[SIZE]; /* what scale makes good again */
    for (int i = 0; i < SIZE; i++) halved[i] = g[i] / 2;
    ingot_scalar uniforms[] = {{.f = lr}, {.f = 2}, {.i = step}, {.f = apply}};
    if (ingot_write(p, "g", halved, sizeof halved) || ingot_run(p, uniforms)) fail_msg("%s", ingot_message(ctx));
}

static void follow(ingot_context *ctx, ingot_device *d, const rule *r, const json_t *golden)
{
    ingot_store *store;
    float w[SIZE], g[SIZE], wanted[SIZE], before[3][SIZE], after[SIZE];
    const char *states[] = {"w", "m", "v"};
    assert_int_equal(ingot_store_new(d, &store), INGOT_OK);
    ingot_program *p = compile(ctx, d, store, r);
    read_floats(json_object_get(golden, "start"), w);
    assert_int_equal(ingot_store_write(store, "w", w, sizeof w), INGOT_OK);
    const json_t *path = json_object_get(json_object_get(golden, "weights"), r->name);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < 3; i++) assert_int_equal(ingot_store_read(store, states[i], before[i], sizeof w), INGOT_OK);
        for (int i = 0; i < SIZE; i++) g[i] = NAN;
        run_step(ctx, p, g, 1, step + 1, 0); /* a bad step: not applied */
        for (int i = 0; i < 3; i++) {
            assert_int_equal(ingot_store_read(store, states[i], after, sizeof w), INGOT_OK);
            assert_memory_equal(before[i], after, sizeof w);
        }
        read_floats(json_array_get(json_object_get(golden, "gradients"), (size_t)step), g);
        run_step(ctx, p, g, json_real_value(json_array_get(json_object_get(golden, "rates"), (size_t)step)), step + 1,
                 1);
        read_floats(json_array_get(path, (size_t)step), wanted);
        assert_int_equal(ingot_store_read(store, "w", w, sizeof w), INGOT_OK);
        for (int i = 0; i < SIZE; i++)
            if (!(fabsf(w[i] - wanted[i]) <= 1e-6f * fabsf(wanted[i]) + 2e-7f))
                fail_msg("%s on %s, step %d: w[%d] is %.9g, torch has %.9g", r->name, ingot_device_name(d), step + 1, i,
                         (double)w[i], (double)wanted[i]);
    }
    ingot_program_free(p);
    ingot_store_free(store);
}

static void follow_on(const char *device, const char *level)
{
    ingot_context *ctx;
    ingot_device *d;
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    ingot_device_options options = {.level = level};
    if (ingot_device_open(ctx, device, &options, &d)) fail_msg("%s", ingot_message(ctx));
    json_error_t error;
    json_t *golden = json_load_file(TEST_FILES "/golden/optimizers/optimizers.json", 0, &error);
    if (!golden) fail_msg("%s, line %d", error.text, error.line);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) follow(ctx, d, &rules[i], golden);
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
