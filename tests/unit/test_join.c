/* Products of one input whose weights lie side by side: one product, and the same training. */
#include "tests.h"
#include "base/rng.h"
#include "device/device.h"
#include "engine/program.h"
#include "ingot/ops.h"
#include "train/step.h"

enum { ROWS = 12, IN = 8, OUT = 32, PARTS = 4, STEPS = 5 };

/* Queries, keys and values with biases, and one more of the same input whose matrix lies elsewhere. */
static ingot_loss network(void *user, ingot_build *b, ingot_value *rng)
{
    (void)rng;
    ingot_dtype compute = user ? INGOT_BF16 : INGOT_F32;
    static const char *const names[PARTS] = {"q", "k", "v", "far"};
    static const char *const biases[PARTS] = {"q.bias", "k.bias", "v.bias", "far.bias"};
    static const int64_t out[PARTS] = {OUT, 2 * OUT, 2 * OUT, OUT};
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(ROWS, IN)), *sum = NULL;
    ingot_value *rounded = ingot_cast(b, x, compute);
    for (int i = 0; i < PARTS; i++) {
        if (i == 3) ingot_state_in(b, "between", INGOT_F32, INGOT_SHAPE(3, 5), "weight.decay");
        ingot_value *w = ingot_state_in(b, names[i], INGOT_F32, INGOT_SHAPE(out[i], IN), "weight.decay");
        ingot_value *bias = ingot_state_in(b, biases[i], INGOT_F32, INGOT_SHAPE(out[i]), "weight.no_decay");
        ingot_value *y = ingot_linear(b, rounded, ingot_cast(b, w, compute), i == 3 ? NULL : bias);
        y = ingot_tanh(b, ingot_cast(b, y, INGOT_F32));
        if (i == 1) y = ingot_mul_scalar(b, y, 2);
        ingot_value *one = ingot_sum_all(b, ingot_square(b, ingot_add_scalar(b, y, 0.25 * i - 0.5)));
        sum = sum ? ingot_add(b, sum, one) : one;
    }
    return (ingot_loss){.sum = sum, .count = ingot_constant(b, ROWS, INGOT_F32, INGOT_SCALAR)};
}

static int64_t products(const ingot_program *p)
{
    int64_t found = 0;
    for (int64_t i = 0; i < p->main.count; i++) found += !strcmp(p->main.steps[i].node->op->name, "matmul");
    return found;
}

static void fill(ingot_context *ctx, ingot_stepper *s)
{
    static const char *const names[] = {"q", "k", "v", "far", "q.bias", "k.bias", "v.bias"};
    static const int sizes[] = {OUT * IN, 2 * OUT * IN, 2 * OUT * IN, OUT * IN, OUT, 2 * OUT, 2 * OUT};
    float values[2 * OUT * IN];
    rng r = rng_make(3, 1);
    for (int i = 0; i < 7; i++) {
        for (int j = 0; j < sizes[i]; j++) values[j] = (float)(0.5 * rng_normal(&r));
        OK(ingot_store_write(ingot_stepper_store(s), names[i], values, sizes[i] * (int64_t)sizeof *values));
    }
}

static int64_t train(bool joins, int micros, void *narrow, double losses[STEPS])
{
    ingot_context *ctx;
    ingot_device *d;
    ingot_stepper *s;
    float x[2][ROWS * IN];
    rng r = rng_make(7, 0);
    assert_int_equal(ingot_context_new(&(ingot_context_options){.threads = 2}, &ctx), INGOT_OK);
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    d->joins = joins;
    for (int i = 0; i < 2 * ROWS * IN; i++) x[i / (ROWS * IN)][i % (ROWS * IN)] = (float)rng_normal(&r);
    const ingot_optimizer how = {
        .schedule = {.lr = 1e-2, .steps = STEPS}, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};
    OK(ingot_stepper_new(d, NULL, &(ingot_task){.loss = network, .user = narrow}, &how, &s));
    fill(ctx, s);
    const ingot_feed batches[] = {{"x", x[0], sizeof x[0]}, {"x", x[1], sizeof x[1]}};
    for (int i = 0; i < STEPS; i++) {
        ingot_step_result result;
        OK(ingot_stepper_step(s, batches, 1, micros, &result));
        losses[i] = result.loss;
    }
    int64_t found = products(s->first), parameters = ingot_stepper_describe(s).parameters;
    ingot_stepper *again; /* joined states are no parameters of their own */
    OK(ingot_stepper_new(d, ingot_stepper_store(s), &(ingot_task){.loss = network, .user = narrow}, &how, &again));
    assert_int_equal(ingot_stepper_describe(again).parameters, parameters);
    assert_int_equal(products(again->first), found);
    ingot_stepper_free(again);
    if (micros > 1) assert_int_equal(found, products(s->more));
    ingot_stepper_free(s);
    ingot_device_close(d);
    ingot_context_free(ctx);
    return found;
}

static void test_joined_training_is_the_same(void **state)
{
    (void)state;
    for (int micros = 1; micros <= 2; micros++) {
        double apart[STEPS], joined[STEPS];
        assert_int_equal(train(false, micros, NULL, apart), 2 * PARTS); /* forward, and each weight's gradient */
        assert_int_equal(train(true, micros, NULL, joined), 4);
        assert_true(apart[0] > apart[STEPS - 1]);
        for (int i = 0; i < STEPS; i++) assert_float_equal(joined[i], apart[i], 1e-5 * apart[i]);
    }
}

/* 2 x, written by the strides of y; the elements of its last dim lie side by side. */
static status twice(const step *s, queue *q)
{
    (void)q;
    const float *x = s->in[0].data;
    float *y = s->out[0].data;
    const shape *dims = &s->out[0].shape;
    for (int64_t i = 0, n = shape_count(*dims); i < n; i++) {
        int64_t rest = i, at = 0;
        for (int64_t axis = dims->rank - 1; axis >= 0; rest /= dims->dim[axis--])
            at += rest % dims->dim[axis] * s->out[0].stride[axis];
        y[at] = 2 * x[i];
    }
    return INGOT_OK;
}

extern const op_def op_twice;
static const kernel_def twice_kernel[] = {
    {.op = &op_twice, .name = "twice", .match = match_any, .launch = twice, .traits = KERNEL_STRIDED_OUTPUT},
    {0},
};
static const kernel_def *const twice_kernels[] = {twice_kernel, NULL};
const op_def op_twice = {.name = "twice",
                         .inputs = {{"x", FLOAT}},
                         .outputs = {{"y", .like = INPUT(0)}},
                         .traits = OP_PRIMITIVE,
                         .kernels = twice_kernels};

static void test_joined_weights_have_narrow_copies(void **state)
{
    (void)state;
    double apart[STEPS], joined[STEPS];
    int narrow = 1;
    assert_int_equal(train(false, 1, &narrow, apart), 2 * PARTS);
    assert_int_equal(train(true, 1, &narrow, joined), 4);
    for (int i = 0; i < STEPS; i++) assert_float_equal(joined[i], apart[i], 2e-3 * apart[i]);
}

/* What only a concatenation reads is made there, through reshapes; what others read as well is copied. */
static void test_parts_are_made_in_place(void **state)
{
    (void)state;
    enum { N = 3, HEADS = 2, DIM = 4, A = HEADS * DIM, B = 8, C = 12, ALL = A + B + C };
    ingot_context *ctx;
    ingot_device *d;
    ingot_program *p;
    float a[N * A], c[N * B], e[N * C], out[N * ALL], seen[N * C];
    assert_int_equal(ingot_context_new(&(ingot_context_options){.threads = 1}, &ctx), INGOT_OK);
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "parts");
    ingot_value *va = ingot_input(b, "a", INGOT_F32, INGOT_SHAPE(1, N, HEADS, DIM));
    ingot_value *vb = ingot_input(b, "b", INGOT_F32, INGOT_SHAPE(N, B));
    ingot_value *vc = ingot_input(b, "c", INGOT_F32, INGOT_SHAPE(N, C));
    ingot_value *heads = APPLY(b, &op_twice, NULL, va), *rows = APPLY(b, &op_twice, NULL, vb);
    ingot_value *other = APPLY(b, &op_twice, NULL, vc);
    ingot_value *parts[] = {ingot_reshape(b, heads, INGOT_SHAPE(N, A)), rows, other};
    ingot_output(b, "all", ingot_concat(b, parts, 3, 1));
    ingot_output(b, "seen", ingot_neg(b, other));
    OK(ingot_compile(b, d, NULL, &p));
    assert_ptr_equal(heads->storage, p->graph->outputs.at[0].value);
    assert_ptr_equal(rows->storage, heads->storage);
    assert_ptr_equal(other->storage, other);
    for (int i = 0; i < N * A; i++) a[i] = (float)i;
    for (int i = 0; i < N * B; i++) c[i] = (float)(100 + i);
    for (int i = 0; i < N * C; i++) e[i] = (float)(200 + i);
    OK(ingot_write(p, "a", a, sizeof a));
    OK(ingot_write(p, "b", c, sizeof c));
    OK(ingot_write(p, "c", e, sizeof e));
    OK(ingot_run(p, NULL));
    OK(ingot_read(p, "all", out, sizeof out));
    OK(ingot_read(p, "seen", seen, sizeof seen));
    for (int i = 0; i < N * ALL; i++) {
        int row = i / ALL, at = i % ALL;
        float x = at < A ? a[row * A + at] : at < A + B ? c[row * B + at - A] : e[row * C + at - A - B];
        assert_float_equal(out[i], 2 * x, 0);
    }
    for (int i = 0; i < N * C; i++) assert_float_equal(seen[i], -2 * e[i], 0);
    ingot_program_free(p);
    ingot_device_close(d);
    ingot_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joined_training_is_the_same),
        cmocka_unit_test(test_joined_weights_have_narrow_copies),
        cmocka_unit_test(test_parts_are_made_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
