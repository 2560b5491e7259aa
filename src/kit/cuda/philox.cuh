// Philox4x32-10 on CUDA: the same bits as base/rng.c.
#ifndef KIT_CUDA_PHILOX_CUH
#define KIT_CUDA_PHILOX_CUH

#include "kit/cuda/cuda.h"

// The four words of block `index / 4` of a stream.
__device__ inline uint4 philox_block(const int32_t *rng, uint32_t stream, uint64_t block)
{
    uint32_t c[4] = {(uint32_t)block, (uint32_t)(block >> 32) << 16 ^ (uint32_t)rng[3], (uint32_t)rng[2], stream};
    uint32_t k0 = (uint32_t)rng[0], k1 = (uint32_t)rng[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t c1 = c[1], c3 = c[3];
        c[0] = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {c[0], c[1], c[2], c[3]};
}

// In [0, 1): a multiple of 2^-24.
__device__ inline float philox_float(uint32_t bits)
{
    return (float)(bits >> 8) * 0x1p-24f;
}

#endif
