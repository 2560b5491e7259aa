/* The blocks of rung simd at sizes that a test can afford: its file, told of caches so small that columns, rows and k all take
 * several blocks. a and b packed and where they lie, all transposes, an addend, one thread and three.
 */
#include <math.h>
#include <stdio.h>

#include "tests.h"
#include "base/rng.h"
#include "engine/program.h"
#include "ingot/ops.h"
#include "kit/cpu/cpu.h"

#undef INGOT_ISA
#define INGOT_ISA in_a_test
#include "ops/matmul/matmul_cpu.c" /* NOLINT */

typedef struct product_case {
    int64_t m, n, k;
    int trans_a, trans_b, add;
} product_case;

static void fill(ingot_store *s, const char *name, float *values, int64_t count)
{
    rng r = rng_make(3, (uint64_t)name[0]);
    for (int64_t i = 0; i < count; i++) values[i] = (float)rng_normal(&r);
    assert_int_equal(ingot_store_write(s, name, values, count * (int64_t)sizeof *values), INGOT_OK);
}

static void compare(const product_case *c, const float *x, const float *y, const float *z, const float *got)
{
    for (int64_t i = 0; i < c->m; i++)
        for (int64_t j = 0; j < c->n; j++) {
            double sum = c->add ? z[i * c->n + j] : 0, size = fabs(sum);
            for (int64_t k = 0; k < c->k; k++) {
                double term = (double)x[c->trans_a ? k * c->m + i : i * c->k + k] *
                              (double)y[c->trans_b ? j * c->k + k : k * c->n + j];
                sum += term;
                size += fabs(term);
            }
            if (!(fabs(got[i * c->n + j] - sum) <= size * 0x1p-20))
                fail_msg("(%d, %d, %d) %d%d%d: element %d, %d is %g, not %g", (int)c->m, (int)c->n, (int)c->k,
                         c->trans_a, c->trans_b, c->add, (int)i, (int)j, (double)got[i * c->n + j], sum);
        }
}

static void run_with(const step *of, int threads, const product_case *c, const float *x, const float *y, const float *z)
{
    step s = *of;
    device_caps caps = {.threads = threads, .l1_bytes = 1 << 10, .l2_bytes = 8 << 10};
    queue q = {.caps = &caps, .pool = threads > 1 ? pool_new(threads) : NULL};
    size_t bytes = (size_t)(matmul_cpu_in_a_test[0].scratch(s.node, &caps) + 63) / 64 * 64;
    s.scratch = aligned_alloc(64, bytes);
    memset(s.scratch, 0xff, bytes); /* NaN */
    memset(s.out[0].data, 0xff, (size_t)(c->m * c->n) * sizeof(float));
    assert_int_equal(matmul_cpu_in_a_test[0].launch(&s, &q), INGOT_OK);
    compare(c, x, y, z, s.out[0].data);
    free(s.scratch);
    pool_free(q.pool);
}

static value *operand(build *b, const char *name, int64_t rows, int64_t columns, int turned)
{
    return ingot_state(b, name, INGOT_F32, turned ? INGOT_SHAPE(columns, rows) : INGOT_SHAPE(rows, columns));
}

static void check_product(ingot_device *d, const product_case *c)
{
    build *b = ingot_build_new(d->ctx, "product");
    value *x = operand(b, "x", c->m, c->k, c->trans_a), *y = operand(b, "y", c->k, c->n, c->trans_b);
    value *z = c->add ? operand(b, "z", c->m, c->n, 0) : NULL;
    ingot_output(b, "made", ingot_matmul_with(b, x, y, z, c->trans_a, c->trans_b));
    ingot_program *p;
    OK_OF(d->ctx, ingot_compile(b, d, NULL, &p));
    float *X = malloc((size_t)(c->m * c->k) * 4), *Y = malloc((size_t)(c->k * c->n) * 4),
          *Z = malloc((size_t)(c->m * c->n) * 4);
    fill(p->store, "x", X, c->m * c->k);
    fill(p->store, "y", Y, c->k * c->n);
    if (z) fill(p->store, "z", Z, c->m * c->n);
    run_with(&p->main.steps[0], 1, c, X, Y, Z);
    run_with(&p->main.steps[0], 3, c, X, Y, Z);
    free(X), free(Y), free(Z);
    ingot_program_free(p);
}

static void test_blocks(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{100, 70, 200}, {33, 65, 129}, {101, 16, 300}, {20, 70, 130},
                                       {7, 90, 200},   {1, 1, 1},     {97, 31, 64},   {130, 33, 7}};
    ingot_context *ctx;
    ingot_device *d;
    assert_int_equal(ingot_context_new(&(ingot_context_options){.threads = 1}, &ctx), INGOT_OK);
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (int how = 0; how < 8; how++)
            check_product(d, &(product_case){sizes[i][0], sizes[i][1], sizes[i][2], how & 1, how >> 1 & 1, how >> 2});
    ingot_device_close(d);
    ingot_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
