/* The head and its loss as one op: no more than a chunk of logits is in memory, forward and backward. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

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
    int64_t logits = (int64_t)ROWS * VOCABULARY * 4, chunk = 48 << 20;
    assert_true(arena_bytes(0) >= logits);
    int64_t fused = arena_bytes(1);
    assert_true(fused > chunk / 2 && fused <= chunk + 2 * (ROWS + VOCABULARY) * DIM * 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
