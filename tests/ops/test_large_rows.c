/* Norms and softmax write results larger than the caches another way: the bits must be those of a few rows at a time. */
#include <stdlib.h>

#include "context.h"
#include "ingot/ops.h"
#include "ingot/program.h"

enum { ROWS = 2100, FEW = 70, COLUMNS = 4099, OPS = 3, COUNT_OF = ROWS * COLUMNS };

static ingot_device *device;

static ingot_value *apply(ingot_build *b, int op, ingot_value *x, ingot_value *w)
{
    if (op == 0) return ingot_softmax(b, x);
    if (op == 1) return ingot_rms_norm(b, x, w, 1e-5);
    return ingot_layer_norm(b, x, w, w, 1e-5);
}

/* y and dx of `rows` rows. */
static void run(int op, int rows, const float *w_at, const float *x, const float *d, float *y, float *dx)
{
    const int64_t bytes = (int64_t)sizeof *x * rows * COLUMNS;
    ingot_build *b = ingot_build_new(ctx, "rows");
    ingot_value *in = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(rows, COLUMNS)), *din;
    ingot_value *w = ingot_input(b, "w", INGOT_F32, INGOT_SHAPE(COLUMNS));
    ingot_value *along = ingot_input(b, "d", INGOT_F32, INGOT_SHAPE(rows, COLUMNS)), *out = apply(b, op, in, w);
    ingot_output(b, "y", out);
    ingot_gradients(b, ingot_sum_all(b, ingot_mul(b, out, along)), &in, 1, &din);
    ingot_output(b, "dx", din);
    ingot_program *p;
    if (ingot_compile(b, device, NULL, &p)) fail_msg("%s", ingot_message(ctx));
    if (ingot_write(p, "x", x, bytes) || ingot_write(p, "d", d, bytes)) fail_msg("%s", ingot_message(ctx));
    if (op) assert_int_equal(ingot_write(p, "w", w_at, sizeof *x * COLUMNS), INGOT_OK);
    if (ingot_run(p, NULL) || ingot_read(p, "y", y, bytes) || ingot_read(p, "dx", dx, bytes))
        fail_msg("%s", ingot_message(ctx));
    ingot_program_free(p);
}

static void test_same_bits(void **state)
{
    (void)state;
    float *memory[6];
    for (int i = 0; i < 6; i++) assert_non_null(memory[i] = malloc(sizeof(float) * COUNT_OF));
    for (int i = 0; i < COUNT_OF; i++) {
        memory[0][i] = (float)(i * 7919LL % 10007) / 5000.0f - 1;
        memory[1][i] = (float)(i * 104729LL % 9973) / 5000.0f - 1;
    }
    for (int op = 0; op < OPS; op++) {
        run(op, ROWS, memory[0], memory[0], memory[1], memory[2], memory[3]);
        for (int row = 0; row < ROWS; row += FEW) {
            int64_t at = (int64_t)row * COLUMNS;
            run(op, FEW, memory[0], memory[0] + at, memory[1] + at, memory[4] + at, memory[5] + at);
        }
        assert_memory_equal(memory[2], memory[4], sizeof(float) * COUNT_OF);
        assert_memory_equal(memory[3], memory[5], sizeof(float) * COUNT_OF);
    }
    for (int i = 0; i < 6; i++) free(memory[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits)};
    if (ingot_context_new(NULL, &ctx) || ingot_device_open(ctx, "cpu", NULL, &device)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ingot_device_close(device);
    ingot_context_free(ctx);
    return failed;
}
