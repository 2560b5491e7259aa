/* Names, sizes and conversions of number formats. Plain and exact; kernels convert in registers of their own. */
#include "base/dtype.h"

#include <math.h>

static const struct {
    const char *name, *short_name;
    int64_t bytes;
} table[INGOT_DTYPE_COUNT] = {
    [INGOT_F32] = {"float32", "f32", 4},    [INGOT_F64] = {"float64", "f64", 8}, [INGOT_F16] = {"float16", "f16", 2},
    [INGOT_BF16] = {"bfloat16", "bf16", 2}, [INGOT_I32] = {"int32", "i32", 4},   [INGOT_I64] = {"int64", "i64", 8},
    [INGOT_I8] = {"int8", "i8", 1},         [INGOT_U8] = {"uint8", "u8", 1},
};

const char *ingot_dtype_name(ingot_dtype d)
{
    return (unsigned)d < INGOT_DTYPE_COUNT ? table[d].name : "unknown dtype";
}

int64_t ingot_dtype_bytes(ingot_dtype d)
{
    return (unsigned)d < INGOT_DTYPE_COUNT ? table[d].bytes : 0;
}

int ingot_dtype_parse(const char *name, ingot_dtype *out)
{
    for (int d = 0; d < INGOT_DTYPE_COUNT; d++) {
        if (strcmp(name, table[d].name) && strcmp(name, table[d].short_name)) continue;
        *out = (ingot_dtype)d;
        return 1;
    }
    return 0;
}

typedef union {
    float f;
    uint32_t u;
} float_bits;

float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 1023;
    if (exponent == 31) return (float_bits){.u = sign | 0x7f800000u | fraction << 13}.f;
    if (exponent == 0) {
        float magnitude = (float)fraction * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return (float_bits){.u = sign | (exponent + 112) << 23 | fraction << 13}.f;
}

uint16_t float_to_half(float f)
{
    float_bits bits = {.f = f};
    uint32_t sign = bits.u >> 16 & 0x8000, magnitude = bits.u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00); /* rounds past 65504 */
    if (magnitude < 0x38800000u) {                                  /* subnormal: let the adder round */
        float_bits shifted = {.u = magnitude};
        shifted.f += 0.5f;
        return (uint16_t)(sign | (shifted.u - 0x3f000000u));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfff + odd) >> 13));
}

uint16_t float_to_bf16(float f)
{
    float_bits bits = {.f = f};
    if ((bits.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits.u >> 16 | 0x40);
    return (uint16_t)((bits.u + 0x7fff + (bits.u >> 16 & 1)) >> 16);
}

double dtype_load(dtype d, const void *at, int64_t i)
{
    switch (d) {
    case INGOT_F32: return ((const float *)at)[i];
    case INGOT_F64: return ((const double *)at)[i];
    case INGOT_F16: return half_to_float(((const uint16_t *)at)[i]);
    case INGOT_BF16: return bf16_to_float(((const uint16_t *)at)[i]);
    case INGOT_I32: return ((const int32_t *)at)[i];
    case INGOT_I64: return (double)((const int64_t *)at)[i];
    case INGOT_I8: return ((const int8_t *)at)[i];
    case INGOT_U8: return ((const uint8_t *)at)[i];
    default: return 0;
    }
}

/* To a narrower float by way of f32: rounding twice could go wrong, so the first rounding keeps what it loses in the
 * last bit (round to odd). */
static float to_odd(double value)
{
    float_bits bits = {.f = (float)value};
    double back = bits.f;
    if (back == value || isnan(value)) return bits.f;
    if (fabs(back) > fabs(value)) bits.u--;
    bits.u |= 1;
    return bits.f;
}

/* Truncated; beyond the range its end, NaN 0. `high` is the largest double inside. */
static int64_t to_integer(double value, double low, double high)
{
    if (isnan(value)) return 0;
    return (int64_t)(value < low ? low : value > high ? high : value);
}

void dtype_store(dtype d, void *at, int64_t i, double value)
{
    switch (d) {
    case INGOT_F32: ((float *)at)[i] = (float)value; break;
    case INGOT_F64: ((double *)at)[i] = value; break;
    case INGOT_F16: ((uint16_t *)at)[i] = float_to_half(to_odd(value)); break;
    case INGOT_BF16: ((uint16_t *)at)[i] = float_to_bf16(to_odd(value)); break;
    case INGOT_I32: ((int32_t *)at)[i] = (int32_t)to_integer(value, INT32_MIN, INT32_MAX); break;
    case INGOT_I64: ((int64_t *)at)[i] = value >= 0x1p63 ? INT64_MAX : to_integer(value, -0x1p63, 0x1p63); break;
    case INGOT_I8: ((int8_t *)at)[i] = (int8_t)to_integer(value, INT8_MIN, INT8_MAX); break;
    case INGOT_U8: ((uint8_t *)at)[i] = (uint8_t)to_integer(value, 0, UINT8_MAX); break;
    default: break;
    }
}

void dtype_convert(dtype to, void *out, dtype from, const void *in, int64_t count)
{
    if (to == from) {
        memcpy(out, in, (size_t)(count * ingot_dtype_bytes(to)));
        return;
    }
    for (int64_t i = 0; i < count; i++) dtype_store(to, out, i, dtype_load(from, in, i));
}
