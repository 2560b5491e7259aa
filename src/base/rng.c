/* Philox4x32-10, from the paper's round function and constants (Salmon et al. 2011, section 4). */
#include "base/rng.h"

#include <math.h>

void philox_block(const philox *p, uint32_t out[4])
{
    uint32_t c0 = p->counter[0], c1 = p->counter[1], c2 = p->counter[2], c3 = p->counter[3];
    uint32_t k0 = p->key[0], k1 = p->key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

uint32_t rng_bits(uint64_t seed, uint32_t step, uint32_t micro, uint32_t stream, uint64_t index)
{
    uint64_t block = index >> 2;
    /* The micro-batch and the block's high bits share a word: 2^16 micro-batches of 2^48 elements. */
    philox p = {.counter = {(uint32_t)block, (uint32_t)(block >> 32) << 16 ^ micro, step, stream},
                .key = {(uint32_t)seed, (uint32_t)(seed >> 32)}};
    uint32_t out[4];
    philox_block(&p, out);
    return out[index & 3];
}

rng rng_make(uint64_t seed, uint64_t stream)
{
    return (rng){.seed = seed, .stream = stream};
}

uint32_t rng_next(rng *r)
{
    uint64_t block = r->next >> 2;
    if ((r->next & 3) == 0) {
        philox p = {
            .counter = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)r->stream, (uint32_t)(r->stream >> 32)},
            .key = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)}};
        philox_block(&p, r->block);
    }
    return r->block[r->next++ & 3];
}

uint32_t rng_below(rng *r, uint32_t bound)
{
    uint64_t product = (uint64_t)rng_next(r) * bound; /* Lemire 2019: reject the short tail */
    if ((uint32_t)product < bound) {
        uint32_t threshold = -bound % bound;
        while ((uint32_t)product < threshold) product = (uint64_t)rng_next(r) * bound;
    }
    return (uint32_t)(product >> 32);
}

double rng_uniform(rng *r)
{
    uint64_t high = rng_next(r) >> 5, low = rng_next(r) >> 6;
    return (double)(high << 26 | low) * 0x1p-53;
}

double rng_normal(rng *r)
{
    double u = 1 - rng_uniform(r), v = rng_uniform(r);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}
