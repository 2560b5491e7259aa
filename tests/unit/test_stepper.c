/* Steps of a small network, without a model or files: optimizers, accumulation, the state between steps, bad numbers. */
#include "tests.h"
#include "base/dtype.h"
#include "base/rng.h"
#include "device/device.h"
#include "ingot/ops.h"
#include "train/step.h"

#include <math.h>

enum { ROWS = 16, IN = 3, HIDDEN = 8, WEIGHTS = IN * HIDDEN + HIDDEN + HIDDEN };

/* sum over rows of (tanh(x w1 + b1) w2 - y)^2, with the count of rows whose `use` is 1 */
static ingot_loss network(void *user, ingot_build *b, ingot_value *rng)
{
    (void)rng;
    int rows = user ? *(int *)user : ROWS;
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(rows, IN));
    ingot_value *y = ingot_input(b, "y", INGOT_F32, INGOT_SHAPE(rows));
    ingot_value *w1 = ingot_state_in(b, "w1", INGOT_F32, INGOT_SHAPE(IN, HIDDEN), "weight.decay");
    ingot_value *b1 = ingot_state_in(b, "b1", INGOT_F32, INGOT_SHAPE(HIDDEN), "weight.no_decay");
    ingot_value *w2 = ingot_state_in(b, "w2", INGOT_F32, INGOT_SHAPE(HIDDEN, 1), "weight.decay");
    ingot_value *h = ingot_tanh(b, ingot_add(b, ingot_matmul(b, x, w1), b1));
    ingot_value *guess = ingot_reshape(b, ingot_matmul(b, h, w2), INGOT_SHAPE(rows));
    return (ingot_loss){.sum = ingot_sum_all(b, ingot_square(b, ingot_sub(b, guess, y))),
                        .count = ingot_constant(b, rows, INGOT_F32, INGOT_SCALAR)};
}

typedef struct fixture {
    ingot_context *ctx;
    ingot_device *device;
    float x[ROWS * IN], y[ROWS];
} fixture;

static void begin(fixture *f)
{
    ingot_context *ctx;
    assert_int_equal(ingot_context_new(&(ingot_context_options){.threads = 2}, &ctx), INGOT_OK);
    f->ctx = ctx;
    OK(ingot_device_open(ctx, "cpu", NULL, &f->device));
    rng r = rng_make(7, 0);
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < IN; j++) f->x[i * IN + j] = (float)rng_normal(&r);
        f->y[i] = sinf(f->x[i * IN]) - 0.5f * f->x[i * IN + 1] * f->x[i * IN + 2];
    }
}

static void end(fixture *f)
{
    ingot_device_close(f->device);
    ingot_context_free(f->ctx);
}

static const char *const names[] = {"w1", "b1", "w2"};
static const int sizes[] = {IN * HIDDEN, HIDDEN, HIDDEN};

static void read_weights(fixture *f, ingot_stepper *s, float out[WEIGHTS])
{
    ingot_context *ctx = f->ctx;
    for (int i = 0; i < 3; out += sizes[i++])
        OK(ingot_store_read(ingot_stepper_store(s), names[i], out, sizes[i] * (int64_t)sizeof *out));
}

static ingot_stepper *stepper(fixture *f, int *rows, const ingot_optimizer *how)
{
    ingot_context *ctx = f->ctx;
    ingot_stepper *s;
    OK(ingot_stepper_new(f->device, NULL, &(ingot_task){.loss = network, .user = rows}, how, &s));
    float weights[WEIGHTS], *at = weights;
    rng r = rng_make(3, 1);
    for (int i = 0; i < WEIGHTS; i++) weights[i] = (float)(0.5 * rng_normal(&r));
    for (int i = 0; i < 3; at += sizes[i++])
        OK(ingot_store_write(ingot_stepper_store(s), names[i], at, sizes[i] * (int64_t)sizeof *at));
    return s;
}

static double train(fixture *f, ingot_stepper *s, int steps)
{
    ingot_context *ctx = f->ctx;
    const ingot_feed batch[] = {{"x", f->x, sizeof f->x}, {"y", f->y, sizeof f->y}};
    ingot_step_result r = {0};
    for (int i = 0; i < steps; i++) OK(ingot_stepper_step(s, batch, 2, 1, &r));
    return r.loss;
}

static ingot_optimizer optimizer(ingot_optimizer_kind kind, double lr, int64_t steps)
{
    ingot_optimizer o = ingot_optimizer_defaults(lr, steps);
    o.kind = kind;
    return o;
}

/* Each optimizer brings the network below a loss that the initial weights (about 1.2) are far from. */
static void test_convergence(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    struct {
        ingot_optimizer how;
        double loss;
    } cases[] = {
        {optimizer(INGOT_ADAMW, 2e-2, 400), 0.02}, {optimizer(INGOT_ADAM, 2e-2, 400), 0.02},
        {optimizer(INGOT_SGD, 0.05, 400), 0.05},   {optimizer(INGOT_SGD, 0.05, 400), 0.05},
        {optimizer(INGOT_SGD, 0.2, 400), 0.1},
    };
    cases[1].how.weight_decay = 0;
    for (int i = 2; i < 5; i++) cases[i].how.weight_decay = 1e-4;
    cases[3].how.nesterov = 1;
    cases[4].how.momentum = 0;
    for (size_t i = 0; i < COUNT(cases); i++) {
        ingot_stepper *s = stepper(&f, NULL, &cases[i].how);
        double first = train(&f, s, 1), last = train(&f, s, 399);
        if (!(first > 0.8 && last < cases[i].loss)) fail_msg("case %zu: from %g to %g", i, first, last);
        ingot_stepper_free(s);
    }
    end(&f);
}

/* The updates as their papers write them, in float64. */
typedef struct reference {
    double w[WEIGHTS], m[WEIGHTS], v[WEIGHTS];
} reference;

static bool decays(int i)
{
    return i < sizes[0] || i >= sizes[0] + sizes[1];
}

static void reference_step(reference *r, const ingot_optimizer *o, const double *mean, int64_t step)
{
    double lr = ingot_schedule_rate(&o->schedule, step), norm = 0;
    for (int i = 0; i < WEIGHTS; i++) norm += mean[i] * mean[i];
    double clip = o->clip > 0 ? fmin(1, o->clip / (sqrt(norm) + 1e-6)) : 1;
    for (int i = 0; i < WEIGHTS; i++) {
        double decay = decays(i) ? o->weight_decay : 0, g = mean[i] * clip, *w = &r->w[i], *m = &r->m[i], *v = &r->v[i];
        if (o->kind == INGOT_ADAMW)
            *w -= lr * decay * *w;
        else
            g += decay * *w;
        if (o->kind == INGOT_SGD) {
            *m = o->momentum * *m + g;
            *w -= lr * (o->nesterov ? g + o->momentum * *m : *m);
            continue;
        }
        *m = o->beta1 * *m + (1 - o->beta1) * g;
        *v = o->beta2 * *v + (1 - o->beta2) * g * g;
        double t = (double)step + 1;
        *w -= lr * (*m / (1 - pow(o->beta1, t))) / (sqrt(*v / (1 - pow(o->beta2, t))) + o->eps);
    }
}

static void read_gradients(fixture *f, ingot_stepper *s, double out[WEIGHTS])
{
    ingot_context *ctx = f->ctx;
    static const char *const gradients[] = {"grad.w1", "grad.b1", "grad.w2"};
    float values[WEIGHTS], *at = values;
    for (int i = 0; i < 3; at += sizes[i++])
        OK(ingot_store_read(ingot_stepper_store(s), gradients[i], at, sizes[i] * (int64_t)sizeof *at));
    for (int i = 0; i < WEIGHTS; i++) out[i] = (double)values[i] / ROWS;
}

static void test_update_rules(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    ingot_optimizer cases[] = {optimizer(INGOT_ADAMW, 1e-2, 12), optimizer(INGOT_ADAM, 1e-2, 12),
                               optimizer(INGOT_SGD, 1e-2, 12), optimizer(INGOT_SGD, 1e-2, 12),
                               optimizer(INGOT_SGD, 1e-2, 12)};
    cases[0].clip = 0.3;
    cases[0].schedule.warmup = 4;
    cases[3].nesterov = 1;
    cases[3].clip = 0;
    cases[4].momentum = 0;
    for (size_t k = 0; k < COUNT(cases); k++) {
        ingot_stepper *s = stepper(&f, NULL, &cases[k]);
        reference r = {0};
        float weights[WEIGHTS];
        read_weights(&f, s, weights);
        for (int i = 0; i < WEIGHTS; i++) r.w[i] = weights[i];
        for (int step = 0; step < 10; step++) {
            double mean[WEIGHTS];
            train(&f, s, 1);
            read_gradients(&f, s, mean);
            reference_step(&r, &cases[k], mean, step);
            read_weights(&f, s, weights);
            for (int i = 0; i < WEIGHTS; i++)
                if (!(fabs(weights[i] - r.w[i]) <= 2e-5))
                    fail_msg("case %zu, step %d: %g, not %g", k, step, (double)weights[i], r.w[i]);
        }
        ingot_stepper_free(s);
    }
    end(&f);
}

/* 16 rows at once, or as 4 micro-batches of 4: the same steps but for rounding. */
static void test_accumulation(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    ingot_context *ctx = f.ctx;
    int part = ROWS / 4;
    ingot_optimizer how = optimizer(INGOT_SGD, 0.1, 20);
    ingot_stepper *whole = stepper(&f, NULL, &how), *parts = stepper(&f, &part, &how);
    const ingot_feed batch[] = {{"x", f.x, sizeof f.x}, {"y", f.y, sizeof f.y}};
    ingot_feed cut[8];
    for (int i = 0; i < 4; i++) {
        cut[2 * i] = (ingot_feed){"x", f.x + i * part * IN, part * IN * 4};
        cut[2 * i + 1] = (ingot_feed){"y", f.y + i * part, part * 4};
    }
    for (int i = 0; i < 20; i++) {
        ingot_step_result a, b;
        OK(ingot_stepper_step(whole, batch, 2, 1, &a));
        OK(ingot_stepper_step(parts, cut, 2, 4, &b));
        assert_int_equal(a.step, i + 1);
        assert_int_equal(b.step, i + 1);
        assert_float_equal(a.count, b.count, 0);
        assert_float_equal(a.loss, b.loss, 1e-5);
        assert_float_equal(a.norm, b.norm, 1e-5);
    }
    ingot_stepper_free(whole);
    ingot_stepper_free(parts);
    end(&f);
}

/* A NaN in a batch: nothing changes, the op is named, and the next good batch goes on as if nothing had been. */
static void test_not_finite(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    ingot_context *ctx = f.ctx;
    int part = ROWS / 2;
    ingot_optimizer how = optimizer(INGOT_ADAMW, 1e-2, 20);
    ingot_stepper *hit = stepper(&f, &part, &how), *spared = stepper(&f, &part, &how);
    ingot_feed batch[4] = {{"x", f.x, part * IN * 4},
                           {"y", f.y, part * 4},
                           {"x", f.x + part * IN, part * IN * 4},
                           {"y", f.y + part, part * 4}};
    ingot_step_result r;
    for (int i = 0; i < 3; i++) {
        OK(ingot_stepper_step(hit, batch, 2, 2, &r));
        OK(ingot_stepper_step(spared, batch, 2, 2, &r));
    }
    float bad[ROWS / 2 * IN] = {0}, before[WEIGHTS], after[WEIGHTS];
    bad[5] = 3e38f;
    bad[4] = 3e38f;
    bad[3] = -INFINITY;
    ingot_feed worse[4];
    memcpy(worse, batch, sizeof worse);
    worse[2].data = bad;
    read_weights(&f, hit, before);
    assert_int_equal(ingot_stepper_step(hit, worse, 2, 2, &r), INGOT_ERROR_NOT_FINITE);
    assert_non_null(strstr(ingot_message(ctx), "matmul"));
    assert_non_null(strstr(ingot_message(ctx), "step 4"));
    read_weights(&f, hit, after);
    assert_memory_equal(before, after, sizeof before);
    for (int i = 0; i < 3; i++) {
        OK(ingot_stepper_step(hit, batch, 2, 2, &r));
        assert_int_equal(r.step, 4 + i);
        OK(ingot_stepper_step(spared, batch, 2, 2, &r));
    }
    read_weights(&f, hit, after);
    read_weights(&f, spared, before);
    assert_memory_equal(before, after, sizeof before);
    ingot_stepper_free(hit);
    ingot_stepper_free(spared);
    end(&f);
}

static ingot_loss nothing(void *user, ingot_build *b, ingot_value *rng)
{
    (void)user;
    (void)rng;
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(4));
    return (ingot_loss){ingot_sum_all(b, x), ingot_sum_all(b, x), NULL};
}

static void test_refused(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    ingot_context *ctx = f.ctx;
    ingot_optimizer how = ingot_optimizer_defaults(1e-3, 10);
    ingot_stepper *s;
    assert_int_equal(ingot_stepper_new(f.device, NULL, &(ingot_task){.loss = nothing}, &how, &s), INGOT_ERROR_ARGUMENT);
    assert_non_null(strstr(ingot_message(ctx), "weight.decay"));
    assert_null(s);
    how.beta2 = 1;
    assert_int_equal(ingot_stepper_new(f.device, NULL, &(ingot_task){.loss = network}, &how, &s), INGOT_ERROR_ARGUMENT);
    end(&f);
}

/* A loss whose gradient leaves float16 as long as the scale is above 2^15: the sum of a product with twos. */
static ingot_loss steep(void *user, ingot_build *b, ingot_value *rng)
{
    (void)user, (void)rng;
    ingot_value *w = ingot_state_in(b, "w", INGOT_F32, INGOT_SHAPE(2, 2), "weight.decay");
    ingot_value *twos = ingot_constant(b, 2, INGOT_F16, INGOT_SHAPE(2, 2));
    ingot_value *x = ingot_matmul(b, twos, ingot_cast(b, w, INGOT_F16));
    return (ingot_loss){.sum = ingot_sum_all(b, ingot_cast(b, x, INGOT_F32)),
                        .count = ingot_constant(b, 1, INGOT_F32, INGOT_SCALAR)};
}

static void test_loss_scale(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    ingot_context *ctx = f.ctx;
    ingot_optimizer how = ingot_optimizer_defaults(0.5, 10);
    how.kind = INGOT_SGD;
    how.momentum = how.weight_decay = how.clip = 0;
    how.schedule.kind = INGOT_CONSTANT;
    ingot_stepper *s;
    OK(ingot_stepper_new(f.device, NULL, &(ingot_task){.loss = steep, .loss_scaling = 1}, &how, &s));
    ingot_step_result r;
    float scale[2], w[4];
    for (int step = 1; step <= 2; step++) {
        OK(ingot_stepper_step(s, NULL, 0, 1, &r));
        OK(ingot_store_read(ingot_stepper_store(s), LOSS_SCALE_STATE, scale, sizeof scale));
        OK(ingot_store_read(ingot_stepper_store(s), "w", w, sizeof w));
        assert_int_equal(r.step, step);
        assert_true(r.norm == 8); /* of the loss itself, whatever the scale */
        assert_true(scale[0] == 32768 && scale[1] == (float)step);
        assert_true(w[0] == -2 * (float)step && w[3] == w[0]);
    }
    scale[1] = LOSS_SCALE_PATIENCE - 1;
    scale[0] = 32;
    OK(ingot_store_write(ingot_stepper_store(s), LOSS_SCALE_STATE, scale, sizeof scale));
    OK(ingot_stepper_step(s, NULL, 0, 1, &r));
    OK(ingot_store_read(ingot_stepper_store(s), LOSS_SCALE_STATE, scale, sizeof scale));
    assert_true(scale[0] == 64 && scale[1] == 0);
    ingot_stepper_free(s);
    end(&f);
}

/* A product in bfloat16 reads the master's copy: the optimizer keeps it fresh, and a write from outside makes it anew. */
static ingot_loss narrow(void *user, ingot_build *b, ingot_value *rng)
{
    (void)user, (void)rng;
    ingot_value *w = ingot_state_in(b, "w", INGOT_F32, INGOT_SHAPE(3, 5), "weight.decay");
    ingot_value *ones = ingot_constant(b, 1, INGOT_BF16, INGOT_SHAPE(2, 3));
    return (ingot_loss){
        .sum = ingot_sum_all(b, ingot_cast(b, ingot_matmul(b, ones, ingot_cast(b, w, INGOT_BF16)), INGOT_F32)),
        .count = ingot_constant(b, 1, INGOT_F32, INGOT_SCALAR)};
}

static void test_derived_copy(void **state)
{
    (void)state;
    for (ingot_optimizer_kind kind = INGOT_ADAMW; kind <= INGOT_SGD; kind++) {
        fixture f;
        begin(&f);
        ingot_context *ctx = f.ctx;
        ingot_optimizer how = ingot_optimizer_defaults(0.01, 10);
        how.kind = kind;
        ingot_stepper *s;
        OK(ingot_stepper_new(f.device, NULL, &(ingot_task){.loss = narrow}, &how, &s));
        float w[15];
        uint16_t copy[15];
        for (int i = 0; i < 15; i++) w[i] = 0.1f * (float)i;
        for (int round = 0; round < 3; round++) {
            if (round != 1) OK(ingot_store_write(ingot_stepper_store(s), "w", w, sizeof w));
            ingot_step_result r;
            OK(ingot_stepper_step(s, NULL, 0, 1, &r));
            if (round != 1) assert_float_equal(r.loss, 2 * 10.5, 0.05);
            float now[15];
            OK(ingot_store_read(ingot_stepper_store(s), "w", now, sizeof now));
            OK(ingot_store_read(ingot_stepper_store(s), "w@bfloat16", copy, sizeof copy));
            for (int i = 0; i < 15; i++) assert_int_equal(copy[i], float_to_bf16(now[i]));
        }
        ingot_stepper_free(s);
        end(&f);
    }
}

/* The device says what it has left, not the host, for a GPU's memory is its own. */
static int64_t memory_left;

static int64_t say_memory_left(const device *d)
{
    (void)d;
    return memory_left;
}

static void test_memory_of_the_device(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    ingot_context *ctx = f.ctx;
    ingot_optimizer how = ingot_optimizer_defaults(1e-3, 10);
    device_def def = *f.device->def;
    const device_def *own = f.device->def;
    def.memory_left = say_memory_left;
    f.device->def = &def;
    ingot_stepper *s;
    OK(stepper_plan(f.device, &(ingot_task){.loss = network}, &how, &s));
    ingot_train_memory m = ingot_stepper_describe(s);
    memory_left = m.peak_bytes;
    OK(stepper_check_memory(f.device, &m, "less"));
    memory_left--;
    assert_int_equal(stepper_check_memory(f.device, &m, "less"), INGOT_ERROR_MEMORY);
    assert_non_null(strstr(ingot_message(ctx), "use less"));
    m.peak_bytes = INT64_MAX; /* more than any host has */
    memory_left = INT64_MAX;
    OK(stepper_check_memory(f.device, &m, "less"));
    ingot_stepper_free(s);
    f.device->def = own;
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convergence),  cmocka_unit_test(test_update_rules),
        cmocka_unit_test(test_accumulation), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_loss_scale),
        cmocka_unit_test(test_derived_copy), cmocka_unit_test(test_memory_of_the_device)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
