/* The head and its loss as one op: no more than a chunk of logits is in memory, forward and backward. */
#include <math.h>
#include <stdlib.h>

#include "tests.h"
#include "ingot/ops.h"
#include "ingot/program.h"

enum { ROWS = 1024, DIM = 64, VOCABULARY = 32768 };

static int64_t arena_bytes(int fused)
{
    ingot_context *ctx;
    ingot_device *d;
    ingot_program *p;
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    assert_int_equal(ingot_device_open(ctx, "cpu", NULL, &d), INGOT_OK);
    ingot_build *b = ingot_build_new(ctx, "head");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(ROWS, DIM));
    ingot_value *w = ingot_state(b, "w", INGOT_F32, INGOT_SHAPE(VOCABULARY, DIM));
    ingot_value *targets = ingot_input(b, "targets", INGOT_I32, INGOT_SHAPE(ROWS)), *d_in[2];
    ingot_value *losses = fused ? ingot_linear_cross_entropy(b, x, w, targets)
                                : ingot_cross_entropy(b, ingot_linear(b, x, w, NULL), targets);
    ingot_gradients(b, ingot_sum_all(b, losses), (ingot_value *[]){x, w}, 2, d_in);
    ingot_output(b, "dx", d_in[0]);
    ingot_output(b, "dw", d_in[1]);
    if (ingot_compile(b, d, NULL, &p)) fail_msg("%s", ingot_message(ctx));
    int64_t bytes = ingot_program_describe(p).arena_bytes;
    ingot_program_free(p);
    ingot_device_close(d);
    ingot_context_free(ctx);
    return bytes;
}

static void test_memory(void **state)
{
    (void)state;
    int64_t logits = (int64_t)ROWS * VOCABULARY * 4, chunk = 100 << 20;
    assert_true(arena_bytes(0) >= logits);
    int64_t fused = arena_bytes(1);
    assert_true(fused > chunk / 2 && fused <= chunk + 2 * (ROWS + VOCABULARY) * DIM * 4);
}

/* Losses of `rows` tokens, summed or each with a weight of its own; the gradient is added to a state, twice. */
static void gradients(int fused, int weighted, float *dx, float *dw)
{
    enum { N = 70, C = 8, V = 600000 / C };
    ingot_context *ctx;
    ingot_device *d;
    ingot_program *p;
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    assert_int_equal(ingot_device_open(ctx, "cpu", NULL, &d), INGOT_OK);
    ingot_build *b = ingot_build_new(ctx, "head");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(N, C));
    ingot_value *w = ingot_input(b, "w", INGOT_F32, INGOT_SHAPE(V, C));
    ingot_value *weights = ingot_input(b, "weights", INGOT_F32, INGOT_SHAPE(N));
    ingot_value *targets = ingot_input(b, "targets", INGOT_I32, INGOT_SHAPE(N)), *d_in[2];
    ingot_value *losses = fused ? ingot_linear_cross_entropy(b, x, w, targets)
                                : ingot_cross_entropy(b, ingot_linear(b, x, w, NULL), targets);
    if (weighted) losses = ingot_mul(b, losses, weights);
    ingot_gradients(b, ingot_sum_all(b, ingot_mul_scalar(b, losses, weighted ? 1 : 0.5)), (ingot_value *[]){x, w}, 2,
                    d_in);
    ingot_output(b, "dx", d_in[0]);
    ingot_value *sum = ingot_state(b, "sum", INGOT_F32, INGOT_SHAPE(V, C));
    ingot_output(b, "dw", ingot_state_update(b, sum, ingot_add(b, sum, d_in[1])));
    if (ingot_compile(b, d, NULL, &p)) fail_msg("%s", ingot_message(ctx));
    float *values = malloc(sizeof *values * V * C);
    int32_t target[N];
    for (int i = 0; i < V * C; i++) values[i] = (float)(i * 7919LL % 1009) / 1009.0f - 0.5f;
    for (int i = 0; i < N; i++) target[i] = i % 7 ? i * 997 : -1;
    ingot_write(p, "w", values, sizeof *values * V * C);
    ingot_write(p, "x", values + 77, sizeof *values * N * C);
    if (weighted) ingot_write(p, "weights", values + 1777, sizeof *values * N);
    ingot_write(p, "targets", target, sizeof target);
    for (int i = 0; i < 2; i++)
        if (ingot_run(p, NULL)) fail_msg("%s", ingot_message(ctx));
    ingot_read(p, "dx", dx, sizeof *dx * N * C);
    ingot_read(p, "dw", dw, sizeof *dw * V * C);
    free(values);
    ingot_program_free(p);
    ingot_device_close(d);
    ingot_context_free(ctx);
}

static void assert_close(const float *got, const float *wanted, int count)
{
    float most = 0;
    for (int i = 0; i < count; i++) most = fmaxf(most, fabsf(wanted[i]));
    assert_true(most > 0);
    for (int i = 0; i < count; i++)
        if (!(fabsf(got[i] - wanted[i]) <= 2e-6f * most)) fail_msg("element %d: %g, not %g", i, got[i], wanted[i]);
}

/* What the forward pass makes for a sum of losses, and the backward pass for any other use, is the gradient; two chunks. */
static void test_gradients(void **state)
{
    (void)state;
    enum { X = 70 * 8, W = 600000 };
    float *memory = malloc(sizeof(float) * 2 * (X + W));
    for (int weighted = 0; weighted < 2; weighted++) {
        gradients(0, weighted, memory, memory + X);
        gradients(1, weighted, memory + X + W, memory + 2 * X + W);
        assert_close(memory + X + W, memory, X);
        assert_close(memory + 2 * X + W, memory + X, W);
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(test_gradients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
