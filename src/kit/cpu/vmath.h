/* Functions of float32 that the compiler can vectorise: no branch, no table, no call. Loops over them in *_cpu.c files
 * become SIMD code of whatever width that file is compiled for.
 *
 *     for (int64_t i = 0; i < n; i++) y[i] = v_exp(x[i]);
 *
 * Error in units in the last place, the worst over all float32 with and without FMA (tests/unit/test_vmath.c holds them to it):
 *     v_exp 2   v_log 2   v_tanh 3   v_sigmoid 4   v_erf 3   v_sin, v_cos 2 (for |x| <= 1e8)
 * NaN gives NaN; infinities, zeros and denormals give what libm gives. v_exp_low and v_exp2_low (2) are for softmax: see there.
 *
 * They rely on roundings in the order written: no -fassociative-math. Coefficients: tests/reference/fit_vmath.py.
 */
#ifndef KIT_CPU_VMATH_H
#define KIT_CPU_VMATH_H

#include <stdint.h>
#include <string.h>

static inline uint32_t v_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float v_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float v_abs(float x)
{
    return v_from_bits(v_bits(x) & 0x7fffffffu);
}

static inline float v_copysign(float magnitude, float sign)
{
    return v_from_bits((v_bits(magnitude) & 0x7fffffffu) | (v_bits(sign) & 0x80000000u));
}

#define V_ROUND 12582912.0f /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */

/* e^r for |r| <= ln 2 / 2. */
static inline float v_exp_reduced(float r)
{
    float p = 0.00139412191f;
    p = p * r + 0.00836323574f;
    p = p * r + 0.0416663736f;
    p = p * r + 0.166665763f;
    p = p * r + 0.5f;
    return p * (r * r) + r + 1.0f;
}

/* x - n ln 2, ln 2 in two parts of which n times the first is exact. */
static inline float v_exp_rest(float x, float n)
{
    return x - n * 0.693359375f + n * 2.12194440e-4f;
}

static inline float v_exp(float x)
{
    /* Written so that NaN stays: beyond the bounds the result is 0 or infinite anyway. */
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    float shifted = x * 1.44269504f + V_ROUND;
    float n = shifted - V_ROUND;
    float y = v_exp_reduced(v_exp_rest(x, n));
    /* 2^n in two factors, since n is from -150 to 128: denormals are rounded once, overflow is infinite. */
    int32_t k = (int32_t)(v_bits(shifted) - v_bits(V_ROUND)), half = k >> 1;
    float first = v_from_bits((uint32_t)(half + 127) << 23), second = v_from_bits((uint32_t)(k - half + 127) << 23);
    return y * first * second;
}

/* e^x for x <= 88, with 0 for all below -87: fewer instructions where tiny terms of a sum do not matter. */
static inline float v_exp_low(float x)
{
    float clamped = x < -87.0f ? -87.0f : x;
    float shifted = clamped * 1.44269504f + V_ROUND;
    float y = v_exp_reduced(v_exp_rest(clamped, shifted - V_ROUND));
    y *= v_from_bits((v_bits(shifted) << 23) + 0x3f800000u);
    return x < -87.0f ? 0.0f : y;
}

/* 2^x for x <= 127, with 0 for all below -126: for softmax with scores in powers of two. Exact at 0. */
static inline float v_exp2_low(float x)
{
    float clamped = x < -126.0f ? -126.0f : x;
    float shifted = clamped + V_ROUND;
    float r = clamped - (shifted - V_ROUND);
    float p = 0.000154698675f;
    p = p * r + 0.00133909821f;
    p = p * r + 0.00961802993f;
    p = p * r + 0.0555035695f;
    p = p * r + 0.240226507f;
    p = p * r + 0.693147182f;
    float y = (p * r + 1.0f) * v_from_bits((v_bits(shifted) << 23) + 0x3f800000u);
    return x < -126.0f ? 0.0f : y;
}

static inline float v_log(float x)
{
    int tiny = x < 1.17549435e-38f;
    float scaled = tiny ? x * 8388608.0f : x; /* denormals: 2^23 up */
    uint32_t u = v_bits(scaled);
    uint32_t above = u - 0x3f3504f3u; /* over sqrt(1/2), so that the mantissa is in [sqrt(1/2), sqrt(2)) */
    float e = (float)((int32_t)above >> 23) - (tiny ? 23.0f : 0.0f);
    float f = v_from_bits((above & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float p = 0.0733255371f;
    p = p * f - 0.116599426f;
    p = p * f + 0.11634659f;
    p = p * f - 0.123966984f;
    p = p * f + 0.142511562f;
    p = p * f - 0.166691512f;
    p = p * f + 0.200006887f;
    p = p * f - 0.249999806f;
    p = p * f + 0.333333313f;
    float z = f * f;
    float tail = (p * (f * z) - e * 2.12194440e-4f) - 0.5f * z;
    float y = (f + tail) + e * 0.693359375f;
    y = x == 0.0f ? -__builtin_inff() : y;
    y = x < 0.0f ? __builtin_nanf("") : y;
    /* Infinity and NaN come out as they went in. */
    return (v_bits(x) & 0x7fffffffu) >= 0x7f800000u ? (x < 0.0f ? __builtin_nanf("") : x) : y;
}

static inline float v_tanh(float x)
{
    float a = v_abs(x), z = x * x;
    float p = -0.00611319393f;
    p = p * z + 0.0210100841f;
    p = p * z - 0.0538540706f;
    p = p * z + 0.133327946f;
    p = p * z - 0.333333284f;
    float small = (p * z * a) + a;
    float large = 1.0f - 2.0f / (v_exp(a + a) + 1.0f);
    return v_copysign(a < 0.625f ? small : large, x);
}

static inline float v_sigmoid(float x)
{
    /* From e^-|x|, which cannot overflow, so that both tails keep their relative precision. */
    float e = v_exp(-v_abs(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

static inline float v_erf(float x)
{
    float a = v_abs(x), z = x * x;
    float p = 7.85386073e-05f;
    p = p * z - 0.000801019371f;
    p = p * z + 0.00518832775f;
    p = p * z - 0.0268538129f;
    p = p * z + 0.112835854f;
    p = p * z - 0.37612626f;
    p = p * z + 1.12837911f;
    float t = (a > 4.0f ? 4.0f : a) - 2.5f; /* erf(4) is 1 in float32 */
    float q = 0.000185573226f;
    q = q * t - 0.000156001755f;
    q = q * t + 0.00245777983f;
    q = q * t - 0.0107177766f;
    q = q * t - 0.943885386f;
    q = q * t - 5.35269403f;
    q = q * t - 7.80681801f;
    float y = a < 1.0f ? p * a : 1.0f - v_exp(q);
    return v_copysign(y, x);
}

/* x less the nearest multiple of pi / 2, and that multiple's number. In double: angles of a long context are large. */
static inline float v_quarter(float x, uint32_t *quadrant)
{
    double d = x;
    double shifted = d * 0.63661977236758138 + 6755399441055744.0; /* 1.5 * 2^52 */
    double n = shifted - 6755399441055744.0;
    uint64_t u;
    memcpy(&u, &shifted, sizeof u);
    *quadrant = (uint32_t)u;
    /* pi / 2 in three parts; n times the first two is exact up to n = 2^27. */
    d = d - n * 1.5707963109016418 - n * 1.5893254712295857e-08 - n * 6.123233995736765e-17;
    float r = (float)d;
    r = r > 0.7855f ? 0.7855f : r; /* where |x| has outgrown double: any value, but in [-1, 1] */
    return r < -0.7855f ? -0.7855f : r;
}

static inline float v_sin_or_cos(float r, uint32_t quadrant)
{
    float z = r * r;
    float s = 2.72493889e-06f;
    s = s * z - 0.000198400827f;
    s = s * z + 0.00833333191f;
    s = s * z - 0.166666672f;
    s = (s * z * r) + r;
    float c = -2.73005043e-07f;
    c = c * z + 2.48005963e-05f;
    c = c * z - 0.00138888881f;
    c = c * z + 0.0416666679f;
    c = c * (z * z) + (1.0f - 0.5f * z);
    float y = quadrant & 1 ? c : s;
    return v_from_bits(v_bits(y) ^ (quadrant & 2) << 30);
}

static inline float v_sin(float x)
{
    uint32_t quadrant;
    float r = v_quarter(x, &quadrant);
    return v_sin_or_cos(r, quadrant);
}

static inline float v_cos(float x)
{
    uint32_t quadrant;
    float r = v_quarter(x, &quadrant);
    return v_sin_or_cos(r, quadrant + 1);
}

/* The largest of count > 0 elements; NaN is passed over. In lanes of its own: compilers do not reorder maxima. */
static inline float v_max(const float *x, int64_t count)
{
    float lane[32];
    for (int i = 0; i < 32; i++) lane[i] = -__builtin_inff();
    int64_t whole = count & ~(int64_t)31;
    for (int64_t j = 0; j < whole; j += 32)
        for (int i = 0; i < 32; i++) lane[i] = x[j + i] > lane[i] ? x[j + i] : lane[i];
    float max = -__builtin_inff();
    for (int64_t j = whole; j < count; j++) max = x[j] > max ? x[j] : max;
    for (int i = 0; i < 32; i++) max = lane[i] > max ? lane[i] : max;
    return max;
}

#endif
