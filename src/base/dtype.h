/* Number formats inside the library: classes, conversion of runs of elements, rounding for tests. */
#ifndef BASE_DTYPE_H
#define BASE_DTYPE_H

#include "base/base.h"
#include "ingot/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef ingot_dtype dtype;

static inline bool dtype_is_float(dtype d)
{
    return d <= INGOT_BF16;
}
/* The 16-bit formats, which kernels compute in float32. */
static inline bool dtype_is_narrow(dtype d)
{
    return d == INGOT_F16 || d == INGOT_BF16;
}
/* Of what is summed over values of d, and of losses: float32 beside 16-bit values, and computed so. */
static inline dtype dtype_statistic(dtype d)
{
    return d == INGOT_F64 ? d : INGOT_F32;
}
static inline bool dtype_is_integer(dtype d)
{
    return d >= INGOT_I32 && d < INGOT_DTYPE_COUNT;
}

/* Widths of 16 bits, rounded to nearest even; NaN stays NaN, overflow becomes infinity. */
float half_to_float(uint16_t h);
uint16_t float_to_half(float f);
static inline float bf16_to_float(uint16_t b)
{
    union {
        uint32_t u;
        float f;
    } bits = {.u = (uint32_t)b << 16};
    return bits.f;
}
uint16_t float_to_bf16(float f);

/* One element as a double, and back, rounded once; integers truncate, stop at the ends of their range, and NaN is 0. */
double dtype_load(dtype d, const void *at, int64_t index);
void dtype_store(dtype d, void *at, int64_t index, double value);

/* `count` contiguous elements from one dtype to another. */
void dtype_convert(dtype to, void *out, dtype from, const void *in, int64_t count);

#ifdef __cplusplus
}
#endif

#endif
