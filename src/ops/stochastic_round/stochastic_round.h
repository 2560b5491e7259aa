/* Attributes of stochastic_round, and the rounding itself: the same for C and CUDA. */
#ifndef OPS_STOCHASTIC_ROUND_STOCHASTIC_ROUND_H
#define OPS_STOCHASTIC_ROUND_STOCHASTIC_ROUND_H

#include "ops/random_uniform/random_uniform.h"

#include <string.h>

typedef struct stochastic_round_attrs {
    int64_t dtype; /* INGOT_BF16 or INGOT_F16 */
    int64_t stream;
} stochastic_round_attrs;

#ifdef __cplusplus
extern "C"
#endif
    bool
    stochastic_round_match(const node *n, const device_caps *caps); /* float32 to the dtype of the attributes */

/* The 16 bits of element `index`: two elements share a word of the draw, the first its low half. */
static inline uint32_t stochastic_round_bits(const draw *d, int64_t index)
{
    uint32_t word = rng_bits(d->seed, d->step, d->micro, d->stream, (uint64_t)index / 2);
    return index % 2 ? word >> 16 : word & 0xffff;
}

#ifdef __CUDACC__
#define ROUND_FUNCTION __host__ __device__ static inline
#else
#define ROUND_FUNCTION static inline
#endif

/* The low `dropped` bits of x's magnitude go: up with probability (those bits) / 2^dropped, which 16 random bits decide.
 * Infinity and NaN stay as they are, and what would pass the largest number of `most` bits does not. */
ROUND_FUNCTION float round_bits(float x, int dropped, uint32_t most, uint32_t random)
{
    uint32_t u, mask = (1u << dropped) - 1;
    memcpy(&u, &x, sizeof u);
    uint32_t magnitude = u & 0x7fffffffu, sign = u ^ magnitude;
    uint32_t rounded = (magnitude + (random >> (16 - dropped))) & ~mask;
    rounded = rounded > most ? magnitude & ~mask : rounded;
    u = sign | (magnitude >= 0x7f800000u ? magnitude : rounded);
    memcpy(&x, &u, sizeof x);
    return x;
}

/* A number of bfloat16, as float32. */
ROUND_FUNCTION float round_to_bf16(float x, uint32_t random)
{
    return round_bits(x, 16, 0x7f7f0000u, random);
}

/* A number of float16, as float32: below 2^-14 its numbers are multiples of 2^-24. What lies beyond 65504 is infinite. */
ROUND_FUNCTION float round_to_f16(float x, uint32_t random)
{
    float size = x < 0 ? -x : x;
    if (size >= 65536.0f || !(size < 6.103515625e-5f)) return round_bits(x, 13, 0x477fe000u, random);
    float steps = size * 16777216.0f, below = (float)(int32_t)steps;
    float share = (float)(int32_t)random * 1.52587890625e-5f; /* [0, 1) */
    float up = share < steps - below ? 1.0f : 0.0f, y = (below + up) * 5.9604644775390625e-8f;
    return x < 0 ? -y : y;
}

#endif
