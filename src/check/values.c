/* What goes into the inputs of a check. */
#include "check/values.h"

#include <math.h>

/* float16 ends at 65504: what is large in it leaves room for products and sums. */
static double draw(sample_values kind, dtype type, rng *r)
{
    double z = rng_normal(r);
    bool half = type == INGOT_F16;
    switch (kind) {
    case VALUES_TINY: return z * 1e-8;
    case VALUES_LARGE: return z * (half ? 10 : 1e4);
    case VALUES_WIDE: return copysign(pow(10, half ? -4 + 4 * rng_uniform(r) : -8 + 12 * rng_uniform(r)), z);
    case VALUES_LARGE_OFFSET: return z + (half ? 10 : 1e4);
    case VALUES_POSITIVE: return 0.1 + 1.9 * rng_uniform(r);
    case VALUES_MASKED: return rng_below(r, 4) ? z : -INFINITY;
    case VALUES_ALL_EQUAL: return 0.7;
    case VALUES_ZERO: return 0;
    case VALUES_ONE_DOMINANT:
    case VALUES_NORMAL: break;
    }
    return z;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill_integers(double *out, int64_t count, int64_t row, const check_fill *fill, rng *r)
{
    for (int64_t i = 0; i < count; i++) out[i] = rng_below(r, (uint32_t)(fill->below ? fill->below : 8));
    if (!fill->sorted) return;
    for (int64_t i = 0; i + row <= count; i += row) {
        qsort(out + i, (size_t)row, sizeof *out, compare_doubles);
        double first = out[i];
        for (int64_t j = 0; j < row; j++) out[i + j] -= first;
    }
}

void values_fill(double *out, shape s, dtype type, const check_fill *fill, rng *r)
{
    int64_t count = shape_count(s), row = s.rank ? s.dim[s.rank - 1] : 1;
    if (dtype_is_integer(type)) {
        fill_integers(out, count, row, fill, r);
        return;
    }
    for (int64_t i = 0; i < count; i++) out[i] = draw(fill->values, type, r) * (fill->scale != 0 ? fill->scale : 1);
    if (fill->values == VALUES_ONE_DOMINANT)
        for (int64_t i = 0; i + row <= count; i += row) out[i + rng_below(r, (uint32_t)row)] += 100;
    /* A row that is masked whole has no softmax: leave its first element. */
    if (fill->values == VALUES_MASKED)
        for (int64_t i = 0; i + row <= count; i += row)
            if (isinf(out[i])) out[i] = rng_normal(r);
    char element[8];
    for (int64_t i = 0; i < count; i++) {
        dtype_store(type, element, 0, out[i]);
        out[i] = dtype_load(type, element, 0);
    }
}
