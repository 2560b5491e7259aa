/* What the table cannot say of attention_rows: a row has the same bits in any batch, and padding rows give zeros. */
#include <math.h>

#include "tests.h"
#include "base/rng.h"
#include "ingot/ops.h"
#include "ingot/program.h"

enum { ROWS = 50, HEADS = 6, KV = 2, DIM = 40, PAGE = 16, PAGES = 24, SEQUENCES = 3, EACH = 8, ROW = HEADS * DIM };

typedef struct batch {
    float q[ROWS * ROW], k[PAGES * PAGE * KV * DIM], v[PAGES * PAGE * KV * DIM];
    int32_t table[SEQUENCES * EACH], sequence[ROWS], position[ROWS];
} batch;

/* A chunk of a prompt, decoded rows, padding. */
static void fill(batch *x)
{
    rng r = rng_make(5, 0);
    for (int i = 0; i < ROWS * ROW; i++) x->q[i] = (float)rng_normal(&r);
    for (int i = 0; i < PAGES * PAGE * KV * DIM; i++) x->k[i] = (float)rng_normal(&r), x->v[i] = (float)rng_normal(&r);
    for (int i = 0; i < SEQUENCES * EACH; i++) x->table[i] = (i * 7) % PAGES;
    for (int i = 0; i < ROWS; i++) {
        x->sequence[i] = i < 30 ? 0 : (int32_t)rng_below(&r, SEQUENCES);
        x->position[i] = i < 30 ? 60 + i : i >= 47 ? -1 : (int32_t)rng_below(&r, EACH * PAGE);
    }
}

/* Rows first .. first + rows - 1 of the batch as a graph of their own. */
static void attend(ingot_context *ctx, ingot_device *d, const batch *x, int first, int rows, float *o)
{
    ingot_build *b = ingot_build_new(ctx, "rows");
    ingot_shape pool = INGOT_SHAPE(PAGES * PAGE, KV, DIM);
    ingot_value *q = ingot_input(b, "q", INGOT_F32, INGOT_SHAPE(rows, HEADS, DIM));
    ingot_value *k = ingot_input(b, "k", INGOT_F32, pool), *v = ingot_input(b, "v", INGOT_F32, pool);
    ingot_value *table = ingot_input(b, "table", INGOT_I32, INGOT_SHAPE(SEQUENCES, EACH));
    ingot_value *sequence = ingot_input(b, "sequence", INGOT_I32, INGOT_SHAPE(rows));
    ingot_value *position = ingot_input(b, "position", INGOT_I32, INGOT_SHAPE(rows));
    ingot_output(b, "o", ingot_attention_rows(b, q, k, v, table, sequence, position, PAGE, 0.3));
    ingot_program *p;
    if (ingot_compile(b, d, NULL, &p)) fail_msg("%s", ingot_message(ctx));
    assert_int_equal(ingot_write(p, "q", x->q + first * ROW, rows * ROW * 4), INGOT_OK);
    assert_int_equal(ingot_write(p, "k", x->k, sizeof x->k), INGOT_OK);
    assert_int_equal(ingot_write(p, "v", x->v, sizeof x->v), INGOT_OK);
    assert_int_equal(ingot_write(p, "table", x->table, sizeof x->table), INGOT_OK);
    assert_int_equal(ingot_write(p, "sequence", x->sequence + first, rows * 4), INGOT_OK);
    assert_int_equal(ingot_write(p, "position", x->position + first, rows * 4), INGOT_OK);
    assert_int_equal(ingot_run(p, NULL), INGOT_OK);
    assert_int_equal(ingot_read(p, "o", o, rows * ROW * 4), INGOT_OK);
    ingot_program_free(p);
}

static void check_level(const char *level)
{
    static batch x;
    static float together[ROWS * ROW], alone[ROWS * ROW];
    ingot_context *ctx;
    ingot_device *d;
    ingot_device_options options = {.level = level, .row_invariant = 1, .poison = 1};
    assert_int_equal(ingot_context_new(NULL, &ctx), INGOT_OK);
    assert_int_equal(ingot_device_open(ctx, "cpu", &options, &d), INGOT_OK);
    fill(&x);
    attend(ctx, d, &x, 0, ROWS, together);
    for (int rows = 1; rows <= 16; rows += 5) {
        for (int first = 0; first < ROWS; first += rows)
            attend(ctx, d, &x, first, first + rows > ROWS ? ROWS - first : rows, alone + first * ROW);
        assert_memory_equal(together, alone, sizeof alone);
    }
    for (int i = 0; i < ROWS * ROW; i++) {
        if (x.position[i / ROW] < 0)
            assert_true(together[i] == 0);
        else
            assert_true(isfinite(together[i]) && together[i] != 0);
    }
    ingot_device_close(d);
    ingot_context_free(ctx);
}

static void test_naive(void **state)
{
    (void)state;
    check_level("naive");
}

static void test_best(void **state)
{
    (void)state;
    check_level("best");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_naive), cmocka_unit_test(test_best)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
