/* What each pass must do to a graph, and that it changes no result. */
#define _GNU_SOURCE /* strdup */
#include "context.h"
#include "engine/program.h"
#include "ingot/ops.h"
#include "ops/linear_gelu/linear_gelu.h"
#include "ops/rows_linear/rows_linear.h"
#include "passes/passes.h"

#include <math.h>
#include <stdio.h>

static int64_t count_kernels(const ingot_program *p, const char *op)
{
    int64_t found = 0;
    for (int64_t i = 0; i < p->main.count; i++) found += !strcmp(p->main.steps[i].node->op->name, op);
    return found;
}

static void test_chain_is_one_kernel(void **state)
{
    (void)state;
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "chain");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(33, 65));
    ingot_output(b, "y",
                 ingot_exp(b, ingot_neg(b, ingot_square(b, ingot_mul_scalar(b, ingot_add_scalar(b, x, 1), 0.5)))));
    ingot_program *p;
    OK(ingot_compile(b, d, NULL, &p));
    assert_int_equal(p->main.count, 1);
    float in[33 * 65], out[33 * 65];
    for (int i = 0; i < 33 * 65; i++) in[i] = (float)(i % 37) / 9 - 2;
    OK(ingot_write(p, "x", in, sizeof in));
    OK(ingot_run(p, NULL));
    OK(ingot_read(p, "y", out, sizeof out));
    for (int i = 0; i < 33 * 65; i++) assert_float_equal(out[i], expf(-powf((in[i] + 1) / 2, 2)), 1e-6);
    ingot_program_free(p);
    ingot_device_close(d);
}

/* Scalars of the same numbers are one launch, with a further one for the integers among what is read. */
static void test_scalars_beside_each_other_are_one_kernel(void **state)
{
    (void)state;
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "scalars");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SCALAR), *y = ingot_input(b, "y", INGOT_F32, INGOT_SCALAR);
    ingot_value *i = ingot_input(b, "i", INGOT_I32, INGOT_SCALAR), *const both[] = {x, y};
    ingot_output(b, "sum", ingot_add(b, x, y));
    ingot_output(b, "root", ingot_sqrt(b, x));
    ingot_output(b, "next", ingot_add_scalar(b, i, 1));
    ingot_output(b, "rest", ingot_pointwise(b, "a * a - b", both, 2));
    ingot_program *p;
    OK(ingot_compile(b, d, NULL, &p));
    assert_int_equal(p->main.count, 2);
    const char *const names[] = {"sum", "root", "rest"};
    const float in[] = {4, 3}, expected[] = {7, 2, 13};
    const int32_t many = (1 << 24) + 2; /* no float32 is one more */
    int32_t next;
    OK(ingot_write(p, "x", &in[0], sizeof *in));
    OK(ingot_write(p, "y", &in[1], sizeof *in));
    OK(ingot_write(p, "i", &many, sizeof many));
    OK(ingot_run(p, NULL));
    for (int k = 0; k < 3; k++) {
        float out;
        OK(ingot_read(p, names[k], &out, sizeof out));
        assert_float_equal(out, expected[k], 1e-6);
    }
    OK(ingot_read(p, "next", &next, sizeof next));
    assert_int_equal(next, many + 1);
    ingot_program_free(p);
    ingot_device_close(d);
}

static void test_equal_nodes_are_one(void **state)
{
    (void)state;
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "twice");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(8, 8));
    ingot_value *one = ingot_matmul(b, x, ingot_transpose(b, x)), *other = ingot_matmul(b, x, ingot_transpose(b, x));
    ingot_output(b, "y", ingot_matmul(b, one, other));
    ingot_program *p;
    OK(ingot_compile(b, d, NULL, &p));
    assert_int_equal(count_kernels(p, "matmul"), 2);
    assert_int_equal(p->main.count, 2); /* the transposes are read, not made */
    ingot_program_free(p);
    ingot_device_close(d);
}

static void test_sum_into_state_accumulates(void **state)
{
    (void)state;
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "accumulate");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(8, 8)),
                *g = ingot_state(b, "g", INGOT_F32, INGOT_SHAPE(8, 8));
    ingot_state_update(b, g, ingot_add(b, g, ingot_matmul(b, x, x)));
    ingot_program *p;
    OK(ingot_compile(b, d, NULL, &p));
    assert_int_equal(p->main.count, 1);
    assert_ptr_equal(p->main.steps[0].out[0].data, p->main.steps[0].in[2].data);
    ingot_program_free(p);
    ingot_device_close(d);
}

/* x cut in three, each part used: the gradient is one concatenation, and right. */
static void test_slices_are_joined(void **state)
{
    (void)state;
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "slices");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(2, 9)), *grad;
    ingot_value *q = ingot_slice(b, x, 1, 0, 2), *k = ingot_slice(b, x, 1, 2, 4), *v = ingot_slice(b, x, 1, 7, 2);
    ingot_value *loss =
        ingot_add(b, ingot_add(b, ingot_sum_all(b, ingot_square(b, q)), ingot_sum_all(b, ingot_exp(b, k))),
                  ingot_sum_all(b, ingot_tanh(b, v)));
    ingot_gradients(b, loss, &x, 1, &grad);
    ingot_output(b, "dx", grad);
    ingot_program *p;
    OK(ingot_compile(b, d, NULL, &p));
    assert_int_equal(count_kernels(p, "concat"), 1);
    float in[18], dx[18];
    for (int i = 0; i < 18; i++) in[i] = (float)(i % 5) * 0.3f - 0.5f;
    OK(ingot_write(p, "x", in, sizeof in));
    OK(ingot_run(p, NULL));
    OK(ingot_read(p, "dx", dx, sizeof dx));
    for (int i = 0; i < 18; i++) {
        int column = i % 9;
        float t = tanhf(in[i]), wanted = column < 2 ? 2 * in[i] : column < 6 ? expf(in[i]) : column < 7 ? 0 : 1 - t * t;
        assert_float_equal(dx[i], wanted, 1e-5);
    }
    ingot_program_free(p);
    ingot_device_close(d);
}

/* x (rows, columns) and w (columns, columns). */
static void write_waves(ingot_program *p, int rows, int columns)
{
    float x[64 * 32], w[32 * 32];
    assert_true(rows <= 64 && columns <= 32);
    for (int i = 0; i < rows * columns; i++) x[i] = sinf((float)i);
    for (int i = 0; i < columns * columns; i++) w[i] = 0.2f * cosf((float)i * 1.7f);
    OK(ingot_write(p, "x", x, sizeof *x * (size_t)(rows * columns)));
    OK(ingot_write(p, "w", w, sizeof *w * (size_t)(columns * columns)));
}

/* x + norm(x) w, twice: what comes past a norm is added where the norm's gradient is made. */
static void run_residual(const char *device, int wanted, float *dx)
{
    enum { N = 5, C = 24 };
    ingot_device *d;
    OK(ingot_device_open(ctx, device, NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "residual");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(N, C)), *h = x, *grad;
    ingot_value *w = ingot_input(b, "w", INGOT_F32, INGOT_SHAPE(C, C)),
                *gain = ingot_input(b, "gain", INGOT_F32, INGOT_SHAPE(C));
    h = ingot_add(b, h, ingot_matmul(b, ingot_rms_norm(b, h, gain, 1e-5), w));
    h = ingot_add(b, h, ingot_matmul(b, ingot_layer_norm(b, h, gain, NULL, 1e-5), w));
    ingot_gradients(b, ingot_sum_all(b, ingot_square(b, h)), &x, 1, &grad);
    ingot_output(b, "dx", grad);
    ingot_program *p;
    OK(ingot_compile(b, d, NULL, &p));
    int absorbed = 0;
    for (int64_t i = 0; i < p->main.count; i++) {
        const step *s = &p->main.steps[i];
        absorbed += strstr(s->node->op->name, "_norm_grad") && s->inputs == 5;
    }
    assert_int_equal(absorbed, wanted);
    float gains[C];
    for (int i = 0; i < C; i++) gains[i] = 1 + 0.1f * sinf((float)i);
    write_waves(p, N, C);
    OK(ingot_write(p, "gain", gains, sizeof gains));
    OK(ingot_run(p, NULL));
    OK(ingot_read(p, "dx", dx, sizeof(float) * N * C));
    ingot_program_free(p);
    ingot_device_close(d);
}

static void test_sums_are_absorbed(void **state)
{
    (void)state;
    float got[120], wanted[120];
    run_residual("cpu", 2, got);
    run_residual("ref", 0, wanted);
    for (int i = 0; i < 120; i++) assert_float_equal(got[i], wanted[i], 2e-4);
}

static void test_constants_are_hoisted(void **state)
{
    (void)state;
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "table");
    ingot_value *table = ingot_cos(b, ingot_iota(b, INGOT_F32, INGOT_SHAPE(16), 0));
    ingot_output(b, "y", ingot_mul(b, table, ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(4, 16))));
    ingot_program *p;
    OK(ingot_compile(b, d, NULL, &p));
    assert_int_equal(p->main.count, 1);
    assert_true(p->prepare.count >= 1);
    float x[64], y[64];
    for (int i = 0; i < 64; i++) x[i] = (float)i;
    OK(ingot_write(p, "x", x, sizeof x));
    for (int run = 0; run < 2; run++) {
        OK(ingot_run(p, NULL));
        OK(ingot_read(p, "y", y, sizeof y));
        for (int i = 0; i < 64; i++) assert_float_equal(y[i], x[i] * cosf((float)(i % 16)), 1e-4);
    }
    ingot_program_free(p);
    ingot_device_close(d);
}

/* Ten layers of x -> tanh(x w): with recomputation by layer the arena is smaller, the gradient the same to the bit. */
static void run_layers(int recompute, float *dw, int64_t *arena)
{
    enum { N = 64, C = 32, LAYERS = 10 };
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    ingot_build *b = ingot_build_new(ctx, "layers");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(N, C)),
                *w = ingot_input(b, "w", INGOT_F32, INGOT_SHAPE(C, C));
    ingot_value *h = x, *grad;
    for (int i = 0; i < LAYERS; i++) {
        ingot_recompute_begin(b);
        ingot_value *u = ingot_mul(b, ingot_tanh(b, ingot_matmul(b, h, w)),
                                   ingot_sigmoid(b, ingot_matmul(b, h, ingot_transpose(b, w))));
        h = ingot_add(b, h, ingot_matmul(b, ingot_tanh(b, u), w));
        ingot_recompute_end(b);
    }
    ingot_value *loss = ingot_sum_all(b, ingot_square(b, h));
    ingot_gradients(b, loss, &w, 1, &grad);
    ingot_output(b, "dw", grad);
    ingot_program *p;
    OK(ingot_compile(b, d, &(ingot_compile_options){.recompute = recompute}, &p));
    *arena = ingot_program_describe(p).arena_bytes;
    write_waves(p, N, C);
    OK(ingot_run(p, NULL));
    OK(ingot_read(p, "dw", dw, sizeof(float) * C * C));
    ingot_program_free(p);
    ingot_device_close(d);
}

static void test_recompute(void **state)
{
    (void)state;
    float kept[1024], again[1024];
    int64_t arena_kept, arena_again;
    run_layers(0, kept, &arena_kept);
    run_layers(1, again, &arena_again);
    assert_memory_equal(kept, again, sizeof kept);
    assert_true(isfinite(kept[0]) && kept[0] != 0);
    if (arena_again * 10 >= arena_kept * 7)
        fail_msg("recomputation keeps %lld of %lld bytes", (long long)arena_again, (long long)arena_kept);
}

/* Fill: patterns of every width, odd sizes and offsets, nothing touched beside. */
static void test_fill(void **state)
{
    (void)state;
    const int64_t sizes[] = {0, 1, 999, 65537}, offsets[] = {0, 1, 7, 64};
    const float f = 1.5f;
    const int32_t i = -7;
    const int8_t c = 42;
    const uint16_t h = 0x3fc0;
    const struct {
        const void *at;
        int64_t bytes;
    } patterns[] = {{&f, 4}, {&i, 4}, {&c, 1}, {&h, 2}};
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    allocation a;
    OK(d->def->alloc(d, 70000, &a));
    uint8_t got[70000];
    for (size_t p = 0; p < COUNT(patterns); p++)
        for (size_t s = 0; s < COUNT(sizes); s++)
            for (size_t o = 0; o < COUNT(offsets); o++) {
                OK(d->def->fill(d, &a, 0, &(uint8_t){0xee}, 1, 70000));
                OK(d->def->fill(d, &a, offsets[o], patterns[p].at, patterns[p].bytes, sizes[s]));
                OK(d->def->read(d, &a, 0, got, 70000));
                for (int64_t k = 0; k < 70000; k++) {
                    bool inside = k >= offsets[o] && k < offsets[o] + sizes[s];
                    uint8_t wanted =
                        inside ? ((const uint8_t *)patterns[p].at)[(k - offsets[o]) % patterns[p].bytes] : 0xee;
                    if (got[k] != wanted)
                        fail_msg("byte %lld of fill %lld at %lld", (long long)k, (long long)sizes[s],
                                 (long long)offsets[o]);
                }
            }
    d->def->free(d, &a);
    ingot_device_close(d);
}

/* x + linear(gelu(linear(x))) and its gradients, on a device with a kernel for each larger op and on one with none. */
static ingot_program *feed_forward(ingot_device *d, float *dw, float *dbias)
{
    enum { N = 24, C = 16, F = 32 };
    ingot_build *b = ingot_build_new(ctx, "feed forward");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(2, N / 2, C));
    ingot_value *w[] = {ingot_input(b, "up", INGOT_F32, INGOT_SHAPE(C, F)),
                        ingot_input(b, "bias", INGOT_F32, INGOT_SHAPE(F)),
                        ingot_input(b, "down", INGOT_F32, INGOT_SHAPE(F, C))};
    ingot_value *g[3], *h = ingot_gelu(b, ingot_linear_with(b, x, w[0], w[1], 1));
    ingot_value *y = ingot_add(b, x, ingot_linear_with(b, h, w[2], NULL, 1));
    ingot_gradients(b, ingot_sum_all(b, ingot_square(b, y)), w, 3, g);
    static const char *const names[] = {"dup", "dbias", "ddown"};
    for (int i = 0; i < 3; i++) ingot_output(b, names[i], g[i]);
    ingot_program *p;
    OK(ingot_compile(b, d, NULL, &p));
    float values[N * C + 2 * C * F];
    for (int i = 0; i < (int)COUNT(values); i++) values[i] = sinf((float)i * 0.7f) * 0.5f;
    OK(ingot_write(p, "x", values, N * C * 4));
    OK(ingot_write(p, "up", values + N * C, C * F * 4));
    OK(ingot_write(p, "bias", values + N, F * 4));
    OK(ingot_write(p, "down", values + N * C + C * F, C * F * 4));
    OK(ingot_run(p, NULL));
    OK(ingot_read(p, "dup", dw, C * F * 4));
    OK(ingot_read(p, "dbias", dbias, F * 4));
    return p;
}

static void test_products_take_what_follows(void **state)
{
    (void)state;
    ingot_device *d;
    float dw[512], dbias[32];
    OK(ingot_device_open(ctx, "null", NULL, &d));
    ingot_program *p = feed_forward(d, dw, dbias);
    assert_int_equal(count_kernels(p, "linear_gelu"), 1);
    assert_int_equal(count_kernels(p, "linear_add"), 1);
    assert_int_equal(count_kernels(p, "linear_gelu_grad"), 1);
    assert_int_equal(count_kernels(p, "gelu") + count_kernels(p, "gelu_grad") + count_kernels(p, "linear"), 0);
    ingot_program_free(p);
    ingot_device_close(d);
    float on_ref[512], bias_on_ref[32];
    OK(ingot_device_open(ctx, "ref", NULL, &d));
    ingot_program_free(feed_forward(d, on_ref, bias_on_ref));
    ingot_device_close(d);
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    p = feed_forward(d, dw, dbias);
    assert_int_equal(count_kernels(p, "linear_gelu_grad"), 0);
    for (int i = 0; i < 512; i++) assert_float_equal(dw[i], on_ref[i], 1e-4 * (1 + fabsf(on_ref[i])));
    for (int i = 0; i < 32; i++) assert_float_equal(dbias[i], bias_on_ref[i], 1e-4 * (1 + fabsf(bias_on_ref[i])));
    ingot_program_free(p);
    ingot_device_close(d);
}

static const kernel_def *takes_rows(const void *device, const node *n)
{
    return n->op == &op_rows_linear_def ? device : NULL;
}

/* x + down(swiglu(gate(h), up(h))), h the norm of x, gate and up as one product, behind it a head whose result is cast; once
 * as it is, once with what the pass makes of it. `shared`: h is given out as well. */
static int64_t layer_of_rows(ingot_device *d, int64_t rows, bool shared, bool fused, float *y)
{
    enum { C = 8, F = 24 };
    ingot_build *b = ingot_build_new(ctx, "layer");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(rows, C)),
                *gain = ingot_input(b, "gain", INGOT_F32, INGOT_SHAPE(C)),
                *both = ingot_input(b, "both", INGOT_F32, INGOT_SHAPE(2 * F, C)),
                *down = ingot_input(b, "down", INGOT_F32, INGOT_SHAPE(C, F)),
                *head = ingot_cast(b, ingot_input(b, "head", INGOT_F32, INGOT_SHAPE(C, C)), INGOT_BF16);
    ingot_value *h = ingot_rms_norm(b, x, gain, 1e-5), *p = ingot_linear(b, h, both, NULL);
    ingot_value *s = ingot_swiglu(b, ingot_slice(b, p, 1, 0, F), ingot_slice(b, p, 1, F, F));
    ingot_value *sum = ingot_add(b, x, ingot_linear(b, s, down, NULL));
    ingot_output(b, "y", ingot_cast(b, ingot_linear(b, ingot_cast(b, sum, INGOT_BF16), head, NULL), INGOT_F32));
    if (shared) ingot_output(b, "h", h);
    const kernel_def any = {.name = "any"};
    const kernel_choice choice = {.kernel = takes_rows, .device = &any, .device_name = "any"};
    if (fused) OK(pass_match(b, &choice));
    int64_t found = 0;
    for (const node *n = b->first; n; n = n->after) found += n->op == &op_rows_linear_def;
    ingot_program *program;
    OK(ingot_compile(b, d, NULL, &program)); /* which lowers it again */
    float values[2 * F * C];
    for (int i = 0; i < (int)COUNT(values); i++) values[i] = sinf((float)i * 0.7f);
    OK(ingot_write(program, "x", values, rows * C * 4));
    OK(ingot_write(program, "gain", values + 1, C * 4));
    OK(ingot_write(program, "both", values, 2 * F * C * 4));
    OK(ingot_write(program, "down", values + 5, F * C * 4));
    OK(ingot_write(program, "head", values + 2, C * C * 4));
    OK(ingot_run(program, NULL));
    OK(ingot_read(program, "y", y, rows * C * 4));
    ingot_program_free(program);
    return found;
}

static void test_rows_take_what_surrounds_them(void **state)
{
    (void)state;
    ingot_device *d;
    float parts[24 * 8], whole[24 * 8];
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    for (int64_t rows = 1; rows <= 8; rows += 7)
        for (int shared = 0; shared < 2; shared++) {
            assert_int_equal(layer_of_rows(d, rows, shared, false, parts), 0);
            assert_int_equal(layer_of_rows(d, rows, shared, true, whole), 3);
            for (int i = 0; i < rows * 8; i++) assert_float_equal(whole[i], parts[i], 1e-2 * (1 + fabsf(parts[i])));
        }
    assert_int_equal(layer_of_rows(d, 9, false, true, whole), 0);
    ingot_device_close(d);
}

static status launch_nothing(const step *s, queue *q)
{
    (void)s, (void)q;
    return INGOT_OK;
}

static const kernel_def by_request[] = {{.op = &op_linear_gelu_def,
                                         .name = "linear_gelu.asked",
                                         .level = LEVEL_BEST,
                                         .traits = KERNEL_BY_REQUEST,
                                         .launch = launch_nothing},
                                        {0}};

/* A kernel by request is nobody's default, and so neither is the op that a pass makes for it. */
static void test_kernels_by_request(void **state)
{
    (void)state;
    const kernel_def *tables[64] = {by_request};
    tuning measured = {0};
    assert_true(tuning_add(&measured, "linear_gelu", INGOT_F32, 3, "linear_gelu.asked"));
    for (int asked = 0; asked < 3; asked++) {
        ingot_device *d;
        float dw[512], dbias[32];
        OK(ingot_device_open(ctx, "cpu", NULL, &d));
        int count = 1;
        for (kernel_table list = d->kernels; *list && count < 63; list++) tables[count++] = *list;
        d->kernels = tables;
        if (asked == 1) assert_non_null(d->prefer = strdup("attention.other,linear_gelu.asked"));
        if (asked == 2) d->tuning = &measured; /* 24 rows: class 3 */
        ingot_program *p = feed_forward(d, dw, dbias);
        assert_int_equal(count_kernels(p, "linear_gelu"), asked != 0);
        ingot_program_free(p);
        d->tuning = NULL;
        ingot_device_close(d);
    }
    ARRAY_FREE(&measured.choices);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain_is_one_kernel),
        cmocka_unit_test(test_scalars_beside_each_other_are_one_kernel),
        cmocka_unit_test(test_equal_nodes_are_one),
        cmocka_unit_test(test_sum_into_state_accumulates),
        cmocka_unit_test(test_sums_are_absorbed),
        cmocka_unit_test(test_constants_are_hoisted),
        cmocka_unit_test(test_slices_are_joined),
        cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_products_take_what_follows),
        cmocka_unit_test(test_kernels_by_request),
        cmocka_unit_test(test_rows_take_what_surrounds_them),
    };
    return cmocka_run_group_tests(tests, context_open, context_close);
}
