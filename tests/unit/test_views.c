/* Reshapes of permuted and sliced tensors, of random shapes with many dims of 1, against indices computed here. */
#include "context.h"
#include "base/rng.h"
#include "graph/graph.h"
#include "ingot/ops.h"
#include "ingot/program.h"

enum { MOST = 4 * 4 * 4 * 4 };

/* The element of `from` that element `index` of the permuted and sliced tensor is. */
static int64_t source_of(shape from, shape order, int64_t start, shape seen, int64_t index)
{
    int64_t at[INGOT_MAX_RANK], flat = 0;
    for (int64_t i = seen.rank - 1; i >= 0; i--) {
        at[order.dim[i]] = index % seen.dim[i] + (i == 0 ? start : 0);
        index /= seen.dim[i];
    }
    for (int64_t i = 0; i < from.rank; i++) flat = flat * from.dim[i] + at[i];
    return flat;
}

/* Another shape of the same count: its prime factors (2 and 3) and some ones, dealt to dims. */
static shape another_shape(rng *r, int64_t count)
{
    shape to = {.rank = 1 + rng_below(r, 5)};
    for (int64_t i = 0; i < to.rank; i++) to.dim[i] = 1;
    for (int64_t factor = 2; count > 1;) {
        if (count % factor) {
            factor++;
            continue;
        }
        to.dim[rng_below(r, (uint32_t)to.rank)] *= factor;
        count /= factor;
    }
    return to;
}

static void one_trial(ingot_device *d, rng *r)
{
    shape from = {.rank = 1 + rng_below(r, 4)}, order = {.rank = from.rank}, seen = from;
    for (int64_t i = 0; i < from.rank; i++) from.dim[i] = 1 + rng_below(r, 4), order.dim[i] = i;
    for (int64_t i = from.rank - 1; i > 0; i--) {
        int64_t j = rng_below(r, (uint32_t)i + 1), kept = order.dim[i];
        order.dim[i] = order.dim[j], order.dim[j] = kept;
    }
    for (int64_t i = 0; i < from.rank; i++) seen.dim[i] = from.dim[order.dim[i]];
    int64_t start = rng_below(r, (uint32_t)seen.dim[0]);
    seen.dim[0] = 1 + rng_below(r, (uint32_t)(seen.dim[0] - start));
    int64_t count = shape_count(seen);
    shape to = another_shape(r, count);

    ingot_build *b = ingot_build_new(ctx, "views");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, from);
    ingot_value *y = ingot_slice(b, ingot_permute(b, x, order), 0, start, seen.dim[0]);
    ingot_output(b, "y", ingot_mul_scalar(b, ingot_reshape(b, y, to), 2));
    ingot_program *p;
    float in[MOST], out[MOST];
    for (int i = 0; i < MOST; i++) in[i] = (float)i;
    OK(ingot_compile(b, d, NULL, &p));
    OK(ingot_write(p, "x", in, shape_count(from) * 4));
    OK(ingot_run(p, NULL));
    OK(ingot_read(p, "y", out, count * 4));
    for (int64_t i = 0; i < count; i++) {
        char one[128], two[128], three[128], four[128];
        if (out[i] != 2 * (float)source_of(from, order, start, seen, i))
            fail_msg("%s permuted by %s, from %d on %s, reshaped to %s: element %d is %g", shape_print(one, from),
                     shape_print(two, order), (int)start, shape_print(three, seen), shape_print(four, to), (int)i,
                     out[i] / 2);
    }
    ingot_program_free(p);
}

static void test_reshapes(void **state)
{
    (void)state;
    ingot_device *d;
    OK(ingot_context_new(&(ingot_context_options){.threads = 1}, &ctx));
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    rng r = rng_make(1, 0);
    for (int i = 0; i < 1000; i++) one_trial(d, &r);
    ingot_device_close(d);
    ingot_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reshapes)};
    return cmocka_run_group_tests_name("views", tests, NULL, NULL);
}
