/* The match pass makes one op of rotary positions and attention, and one of the way back, where a kernel takes them; values and
 * gradients stay as they were.
 */
#include "context.h"
#include "engine/program.h"
#include "ingot/ops.h"
#include "ops/table.h"
#include "passes/passes.h"

#include <math.h>

enum { B = 2, T = 5, H = 4, K = 2, D = 6, ROWS = B * T, WIDTH = (H + 2 * K) * D };

static const kernel_def *takes_turned(const void *device, const node *n)
{
    return n->op == &op_turned_attention_def || n->op == &op_turned_attention_grad_def ? device : NULL;
}

static int64_t count(const ingot_build *b, const op_def *op)
{
    int64_t found = 0;
    for (const node *n = b->first; n; n = n->after) found += n->op == op;
    return found;
}

static ingot_value *heads(ingot_build *b, ingot_value *x, int64_t first, int64_t n)
{
    return ingot_reshape(b, ingot_slice(b, x, 1, first * D, n * D), INGOT_SHAPE(ROWS, n, D));
}

/* Queries, keys and values of one product x; `joined`: queries and keys are turned together. */
static void attend(ingot_device *d, bool joined, bool interleaved, bool fused, float *o, float *dx)
{
    ingot_build *b = ingot_build_new(ctx, "attend");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(ROWS, WIDTH)), *gradient;
    ingot_value *at = ingot_input(b, "position", INGOT_I32, INGOT_SHAPE(ROWS));
    ingot_value *table = ingot_input(b, "table", INGOT_F32, INGOT_SHAPE(T, D)), *q, *k;
    if (joined) {
        ingot_value *both = ingot_rope(b, heads(b, x, 0, H + K), at, table, interleaved);
        q = ingot_slice(b, both, 1, 0, H), k = ingot_slice(b, both, 1, H, K);
    } else {
        q = ingot_rope(b, heads(b, x, 0, H), at, table, interleaved);
        k = ingot_rope(b, heads(b, x, H, K), at, table, interleaved);
    }
    ingot_value *y =
        ingot_attention(b, ingot_reshape(b, q, INGOT_SHAPE(B, T, H, D)), ingot_reshape(b, k, INGOT_SHAPE(B, T, K, D)),
                        ingot_reshape(b, heads(b, x, H + K, K), INGOT_SHAPE(B, T, K, D)), NULL, 0.4, 1);
    y = ingot_reshape(b, y, INGOT_SHAPE(ROWS * H * D));
    ingot_output(b, "o", y);
    ingot_gradients(b, ingot_sum(b, ingot_mul(b, y, ingot_mul(b, y, y)), 0, 0), &x, 1, &gradient);
    ingot_output(b, "dx", gradient);
    const kernel_def any = {.name = "any"};
    const kernel_choice choice = {.kernel = takes_turned, .device = &any, .device_name = "any"};
    OK(pass_simplify(b));
    if (fused) OK(pass_match(b, &choice));
    bool turned = fused && !interleaved;
    assert_int_equal(count(b, &op_turned_attention_def), turned);
    assert_int_equal(count(b, &op_turned_attention_grad_def), turned);
    if (turned) assert_int_equal(count(b, &op_rope_def) + count(b, &op_attention_grad_def), 0);
    ingot_program *p;
    OK(ingot_compile(b, d, NULL, &p)); /* which lowers it again */
    float values[ROWS * WIDTH], angles[T * D];
    int32_t position[ROWS];
    for (int i = 0; i < (int)COUNT(values); i++) values[i] = sinf((float)i * 0.7f);
    for (int i = 0; i < (int)COUNT(angles); i++) angles[i] = cosf((float)(i * i));
    for (int i = 0; i < ROWS; i++) position[i] = (i * 3 + 1) % T;
    OK(ingot_write(p, "x", values, sizeof values));
    OK(ingot_write(p, "position", position, sizeof position));
    OK(ingot_write(p, "table", angles, sizeof angles));
    OK(ingot_run(p, NULL));
    OK(ingot_read(p, "o", o, ROWS * H * D * 4));
    OK(ingot_read(p, "dx", dx, sizeof values));
    ingot_program_free(p);
}

static void test_one_op_each_way(void **state)
{
    (void)state;
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    for (int how = 0; how < 4; how++) {
        float o[2][ROWS * H * D], dx[2][ROWS * WIDTH];
        for (int fused = 0; fused < 2; fused++) attend(d, how & 1, how & 2, fused, o[fused], dx[fused]);
        for (int i = 0; i < ROWS * H * D; i++) assert_float_equal(o[1][i], o[0][i], 1e-5);
        for (int i = 0; i < ROWS * WIDTH; i++) assert_float_equal(dx[1][i], dx[0][i], 1e-5);
        assert_true(fabsf(dx[0][3 * WIDTH]) > 1e-4f && fabsf(dx[0][3 * WIDTH + H * D]) > 1e-4f);
    }
    ingot_device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_op_each_way)};
    return cmocka_run_group_tests(tests, context_open, context_close);
}
