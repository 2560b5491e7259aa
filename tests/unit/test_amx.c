/* The amx rung on any machine with AVX-512 BF16: its tile instructions in plain C, as the manual describes them, and the
 * rung's own file around them. Ragged sizes, all transposes, k beyond a block.
 */
#include <stdio.h>

#include "tests.h"
#include "base/rng.h"
#include "engine/program.h"
#include "ingot/ops.h"
#include "kit/cpu/cpu.h"

#if defined(__AMX_BF16__)
#include <immintrin.h>
#include <math.h>

static _Thread_local struct {
    uint16_t bytes[8];
    uint8_t rows[8];
    uint8_t data[8][16][64];
} tiles;

static void load_config(const void *at)
{
    const uint8_t *sizes = at;
    memset(&tiles, 0, sizeof tiles);
    assert_int_equal(sizes[0], 1);
    memcpy(tiles.bytes, sizes + 16, sizeof tiles.bytes);
    memcpy(tiles.rows, sizes + 48, sizeof tiles.rows);
    for (int i = 0; i < 8; i++) assert_true(tiles.rows[i] <= 16 && tiles.bytes[i] <= 64);
}

static void load(int tile, const void *at, size_t stride)
{
    for (int i = 0; i < tiles.rows[tile]; i++)
        memcpy(tiles.data[tile][i], (const char *)at + (size_t)i * stride, tiles.bytes[tile]);
}

static void store(int tile, void *at, size_t stride)
{
    for (int i = 0; i < tiles.rows[tile]; i++)
        memcpy((char *)at + (size_t)i * stride, tiles.data[tile][i], tiles.bytes[tile]);
}

static float element(int tile, int row, int at)
{
    uint16_t bits;
    memcpy(&bits, &tiles.data[tile][row][2 * at], sizeof bits);
    return bf16_to_float(bits);
}

static void multiply_tiles(int to, int a, int b)
{
    assert_int_equal(tiles.rows[to], tiles.rows[a]);
    assert_int_equal(tiles.bytes[a], 4 * tiles.rows[b]);
    for (int i = 0; i < tiles.rows[to]; i++)
        for (int j = 0; j < tiles.bytes[to] / 4; j++) {
            float sum;
            memcpy(&sum, &tiles.data[to][i][4 * j], sizeof sum);
            for (int k = 0; k < tiles.rows[b]; k++)
                sum +=
                    element(a, i, 2 * k) * element(b, k, 2 * j) + element(a, i, 2 * k + 1) * element(b, k, 2 * j + 1);
            memcpy(&tiles.data[to][i][4 * j], &sum, sizeof sum);
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig load_config
#define _tile_release()  (void)0
#define _tile_zero(tile) memset(tiles.data[tile], 0, sizeof tiles.data[tile])
#define _tile_loadd      load
#define _tile_stored     store
#define _tile_dpbf16ps   multiply_tiles
#define matmul_amx       matmul_amx_in_c
#include "ops/matmul/matmul_amx.c" /* NOLINT */

typedef struct product_case {
    int64_t m, n, k;
    int trans_a, trans_b, wide, add;
} product_case;

static value *operand(build *b, const char *name, int64_t rows, int64_t columns, int turned)
{
    return ingot_state(b, name, INGOT_BF16, turned ? INGOT_SHAPE(columns, rows) : INGOT_SHAPE(rows, columns));
}

static void fill(ingot_store *s, const char *name, dtype d, float *values, int64_t count)
{
    uint16_t *narrow = malloc((size_t)count * 2);
    rng r = rng_make(3, (uint64_t)name[0]);
    for (int64_t i = 0; i < count; i++) {
        narrow[i] = float_to_bf16((float)rng_normal(&r));
        values[i] = bf16_to_float(narrow[i]);
    }
    const void *data = d == INGOT_BF16 ? (const void *)narrow : values;
    assert_int_equal(ingot_store_write(s, name, data, count * ingot_dtype_bytes(d)), INGOT_OK);
    free(narrow);
}

static void check_product(ingot_device *d, const product_case *c)
{
    build *b = ingot_build_new(d->ctx, "product");
    dtype type = c->wide ? INGOT_F32 : INGOT_BF16;
    value *x = operand(b, "x", c->m, c->k, c->trans_a), *y = operand(b, "y", c->k, c->n, c->trans_b);
    value *z = c->add ? ingot_state(b, "z", type, INGOT_SHAPE(c->m, c->n)) : NULL;
    value *made = c->wide ? matmul_wide(b, x, y, z, c->trans_a, c->trans_b)
                          : ingot_matmul_with(b, x, y, z, c->trans_a, c->trans_b);
    ingot_output(b, "made", made);
    ingot_program *p;
    if (ingot_compile(b, d, NULL, &p)) fail_msg("%s", ingot_message(d->ctx));
    float *X = malloc((size_t)(c->m * c->k) * 4), *Y = malloc((size_t)(c->k * c->n) * 4),
          *Z = malloc((size_t)(c->m * c->n) * 4), *got = malloc((size_t)(c->m * c->n) * 4);
    fill(p->store, "x", INGOT_BF16, X, c->m * c->k);
    fill(p->store, "y", INGOT_BF16, Y, c->k * c->n);
    if (z) fill(p->store, "z", type, Z, c->m * c->n);
    step s = p->main.steps[0];
    device_caps caps = *d->caps;
    queue q = {.caps = &caps};
    caps.threads = 1;
    caps.amx = true;
    assert_true(matmul_amx_in_c[0].match(s.node, &caps));
    s.scratch = aligned_alloc(64, (size_t)(matmul_amx_in_c[0].scratch(s.node, &caps) + 63) / 64 * 64);
    assert_int_equal(matmul_amx_in_c[0].launch(&s, &q), INGOT_OK);
    for (int64_t i = 0; i < c->m * c->n; i++) got[i] = (float)dtype_load(type, s.out[0].data, i);
    for (int64_t i = 0; i < c->m; i++)
        for (int64_t j = 0; j < c->n; j++) {
            double sum = z ? Z[i * c->n + j] : 0, size = fabs(sum);
            for (int64_t k = 0; k < c->k; k++) {
                double term = (double)X[c->trans_a ? k * c->m + i : i * c->k + k] *
                              (double)Y[c->trans_b ? j * c->k + k : k * c->n + j];
                sum += term;
                size += fabs(term);
            }
            double error = fabs(got[i * c->n + j] - sum);
            if (!(error <= size * 0x1p-20 + (c->wide ? 0 : fabs(sum) * 0x1p-8)))
                fail_msg("(%d, %d, %d) %d%d%d%d: element %d, %d is %g, not %g", (int)c->m, (int)c->n, (int)c->k,
                         c->trans_a, c->trans_b, c->wide, c->add, (int)i, (int)j, got[i * c->n + j], sum);
        }
    free(s.scratch);
    free(X), free(Y), free(Z), free(got);
    ingot_program_free(p);
}

static void test_products(void **state)
{
    (void)state;
    if (!cpu_has_avx512_bf16()) {
        print_message("skipped: this processor has no AVX-512 BF16\n");
        skip();
    }
    static const product_case cases[] = {
        {1, 1, 1, 0, 0, 0, 0},      {32, 32, 32, 0, 0, 0, 0},    {33, 65, 70, 0, 1, 0, 1},    {17, 31, 33, 0, 0, 1, 1},
        {70, 40, 97, 1, 0, 1, 1},   {16, 50, 64, 1, 1, 0, 0},    {100, 130, 258, 1, 0, 0, 0}, {5, 33, 4099, 0, 1, 0, 1},
        {40, 70, 2100, 1, 0, 1, 0}, {600, 34, 4200, 0, 0, 0, 0}, {48, 33, 4128, 1, 0, 0, 1},  {15, 97, 31, 0, 1, 1, 0}};
    ingot_context *ctx;
    ingot_device *d;
    assert_int_equal(ingot_context_new(&(ingot_context_options){.threads = 1}, &ctx), INGOT_OK);
    assert_int_equal(ingot_device_open(ctx, "cpu", NULL, &d), INGOT_OK);
    for (size_t i = 0; i < COUNT(cases); i++) check_product(d, &cases[i]);
    ingot_device_close(d);
    ingot_context_free(ctx);
}
#else
static void test_products(void **state)
{
    (void)state;
    print_message("skipped: not built for x86-64\n");
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
