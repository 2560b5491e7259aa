/* Results of a device against what ref expects, element by element. */
#include "check/compare.h"

#include <math.h>

/* Bounds are of first order and for one order of summation; the device may have another. */
#define SLACK 2

static double largest(const trial_output *o)
{
    double most = 0;
    for (int64_t i = 0; i < shape_count(o->shape); i++)
        if (isfinite(o->values[i])) most = fmax(most, fabs(o->values[i]));
    return most;
}

/* `type`: of the device's output, which may be narrower than what is tested: one more rounding. `most`: the largest of the
 * output. Kernels of 16-bit types may take functions that are exact beside their largest value only, gelu's tails say. */
static double tolerance_of(const trial *t, const trial_output *wanted, int64_t i, dtype type, const error_units *units,
                           double most)
{
    if (!wanted->errors) return 0;
    double v = wanted->values[i],
           unit = trial_is_narrow(t, type) ? fmax(units->rounding, units->stored) : units->rounding;
    double last = isfinite(v) && wanted->errors[i] > 0 ? fabs(v) * unit + units->smallest : 0;
    if (last > 0 && units->stored > 0) last += most * units->rounding;
    if (dtype_is_narrow(type) && isfinite(v))
        last += type == INGOT_BF16 ? fabs(v) * 0x1p-8 : fabs(v) * 0x1p-11 + 0x1p-24;
    return SLACK * wanted->errors[i] + last;
}

static bool same_special(double got, double wanted, dtype type)
{
    if (isnan(wanted)) return isnan(got);
    char element[8];
    dtype_store(type, element, 0, wanted); /* what overflows in the tested dtype may be infinite */
    return got == wanted || got == dtype_load(type, element, 0);
}

void compare_outputs(trial *t, const trial_outputs *got, const char *variant, const error_units *units)
{
    for (int64_t i = 0; i < got->count; i++) {
        const trial_output *o = &got->at[i], *wanted = trial_find(&t->expected, o->name);
        if (!wanted) {
            trial_failed(t, "%s, %s: output %s has nothing to be compared with", t->subject->name, variant, o->name);
            continue;
        }
        double most = largest(wanted);
        for (int64_t j = 0; j < shape_count(o->shape); j++) {
            double a = o->values[j], b = wanted->values[j];
            if (same_special(a, b, o->dtype)) continue;
            double tolerance = tolerance_of(t, wanted, j, o->dtype, units, most), error = fabs(a - b);
            if (error <= tolerance) {
                if (error / tolerance > t->row->worst) t->row->worst = error / tolerance;
                continue;
            }
            t->row->worst = INFINITY;
            trial_failed(t, "%s, %s: %s[%lld] is %.9g, ref says %.9g +- %.2g (seed %llu)", t->subject->name, variant,
                         o->name, (long long)j, a, b, tolerance, (unsigned long long)t->seed);
            break;
        }
    }
}

void compare_bits(trial *t, const trial_outputs *first, const trial_outputs *second, const char *variant)
{
    for (int64_t i = 0; i < first->count; i++) {
        const trial_output *a = &first->at[i], *b = &second->at[i];
        for (int64_t j = 0; j < shape_count(a->shape); j++) {
            if (!memcmp(&a->values[j], &b->values[j], sizeof(double))) continue;
            if (isnan(a->values[j]) && isnan(b->values[j])) continue;
            trial_failed(t, "%s, %s: %s[%lld] is %.9g in one run and %.9g in the next (seed %llu)", t->subject->name,
                         variant, a->name, (long long)j, a->values[j], b->values[j], (unsigned long long)t->seed);
            return;
        }
    }
}
