/* Philox4x32-10 (Salmon et al. 2011): random numbers as a pure function of a counter, the same on every device.
 *
 * A draw is addressed by (seed, step, micro-batch, stream, element): nothing has to be kept to repeat it.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct philox {
    uint32_t counter[4];
    uint32_t key[2];
} philox;

void philox_block(const philox *p, uint32_t out[4]);

/* 32 random bits of element `index` of `stream`, at (seed, step, micro). */
uint32_t rng_bits(uint64_t seed, uint32_t step, uint32_t micro, uint32_t stream, uint64_t index);

/* A sequential generator over the same function, for host code: shuffles, samplers, corpora. */
typedef struct rng {
    uint64_t seed, stream, next;
    uint32_t block[4];
} rng;
rng rng_make(uint64_t seed, uint64_t stream);
uint32_t rng_next(rng *r);
uint32_t rng_below(rng *r, uint32_t bound); /* uniform in [0, bound), without bias; bound > 0 */
double rng_uniform(rng *r);                 /* [0, 1) with 53 bits */
double rng_normal(rng *r);                  /* mean 0, deviation 1 */

static inline float rng_float(uint32_t bits)
{
    return (float)(bits >> 8) * 0x1p-24f;
} /* [0, 1) */

#ifdef __cplusplus
}
#endif

#endif
