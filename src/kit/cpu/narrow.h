/* Runs of 16-bit floats to float32 and back, rounded to nearest even: what kernels do with bfloat16 and float16 between
 * memory and registers. Loops that compilers vectorise, and the half-precision instructions where a file is compiled for
 * them.
 *
 *     float row[TILE];
 *     cpu_widen(row, x, INGOT_BF16, n);
 *     ...
 *     cpu_narrow(y, INGOT_BF16, row, n);
 *
 * Kernels of rows take both with row_read and row_write: a float32 row is used where it lies.
 */
#ifndef KIT_CPU_NARROW_H
#define KIT_CPU_NARROW_H

#include "kit/cpu/cpu.h"
#include "kit/cpu/vmath.h"

#include <string.h>
#if defined(__F16C__)
#include <immintrin.h>
#endif

static inline float narrow_from_bf16(uint16_t b)
{
    return v_from_bits((uint32_t)b << 16);
}

/* float_to_bf16 without a branch. */
static inline uint16_t narrow_to_bf16(float f)
{
    uint32_t u = v_bits(f), rounded = u + 0x7fff + (u >> 16 & 1), nan = u | 0x400000;
    return (uint16_t)(((u & 0x7fffffff) > 0x7f800000 ? nan : rounded) >> 16);
}

static inline void widen_bf16(float *restrict to, const uint16_t *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = narrow_from_bf16(from[i]);
}

static inline void narrow_bf16(uint16_t *restrict to, const float *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = narrow_to_bf16(from[i]);
}

static inline void widen_f16(float *restrict to, const uint16_t *restrict from, int64_t n)
{
    int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
#endif
    for (; i < n; i++) to[i] = half_to_float(from[i]);
}

static inline void narrow_f16(uint16_t *restrict to, const float *restrict from, int64_t n)
{
    int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < n; i++) to[i] = float_to_half(from[i]);
}

/* d: INGOT_F32, INGOT_BF16 or INGOT_F16. */
static inline void cpu_widen(float *to, const void *from, dtype d, int64_t n)
{
    if (d == INGOT_BF16)
        widen_bf16(to, from, n);
    else if (d == INGOT_F16)
        widen_f16(to, from, n);
    else
        memcpy(to, from, (size_t)n * sizeof *to);
}

static inline void cpu_narrow(void *to, dtype d, const float *from, int64_t n)
{
    if (d == INGOT_BF16)
        narrow_bf16(to, from, n);
    else if (d == INGOT_F16)
        narrow_f16(to, from, n);
    else
        memcpy(to, from, (size_t)n * sizeof *from);
}

/* Row elements [at, at + n) of a tensor as float32: in place, or widened into `room`. */
static inline const float *row_read(const tensor *t, int64_t at, int64_t n, float *room)
{
    if (t->dtype == INGOT_F32) return f32(t) + at;
    cpu_widen(room, (const uint16_t *)t->data + at, t->dtype, n);
    return room;
}

/* Where a row is to be written, and, once it is, what takes it from `room` to its place. */
static inline float *row_place(const tensor *t, int64_t at, float *room)
{
    return t->dtype == INGOT_F32 ? f32(t) + at : room;
}
static inline void row_write(const tensor *t, int64_t at, int64_t n, const float *row)
{
    if (t->dtype != INGOT_F32) cpu_narrow((uint16_t *)t->data + at, t->dtype, row, n);
}

/* Bytes of so many rows for each worker, where a node has 16-bit rows. */
static inline int64_t row_rooms(const node *n, const device_caps *caps, int64_t rooms)
{
    bool any = false;
    int64_t columns = 0;
    for (int i = 0; i < n->inputs; i++) {
        if (!n->in[i] || !dtype_is_narrow(n->in[i]->dtype)) continue;
        any = true;
        columns = MAX(columns, n->in[i]->shape.dim[n->in[i]->shape.rank - 1]);
    }
    return any ? caps->threads * rooms * columns * (int64_t)sizeof(float) : 0;
}

static inline float cpu_widen_one(const void *from, dtype d, int64_t i)
{
    if (d == INGOT_F32) return ((const float *)from)[i];
    uint16_t bits = ((const uint16_t *)from)[i];
    return d == INGOT_BF16 ? narrow_from_bf16(bits) : half_to_float(bits);
}

#endif
