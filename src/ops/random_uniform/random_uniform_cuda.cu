// Philox4x32-10 on CUDA: the same bits as base/rng.c.
#include "kit/cuda/cuda.h"
#include "ops/random_uniform/random_uniform.h"

__device__ uint32_t philox_word(uint64_t seed, uint32_t step, uint32_t micro, uint32_t stream, uint64_t index)
{
    uint64_t block = index >> 2;
    uint32_t c[4] = {(uint32_t)block, (uint32_t)(block >> 32) << 16 ^ micro, step, stream};
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
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
    return c[index & 3];
}

__global__ void draw_all(float *y, const int32_t *rng, uint32_t stream, int64_t n)
{
    uint64_t seed = (uint32_t)rng[0] | (uint64_t)(uint32_t)rng[1] << 32;
    for (CUDA_EACH(i, n))
        y[i] = (float)(philox_word(seed, (uint32_t)rng[2], (uint32_t)rng[3], stream, (uint64_t)i) >> 8) * 0x1p-24f;
}

static status launch(const step *s, queue *q)
{
    int64_t n = shape_count(s->out[0].shape);
    draw_all<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((float *)s->out[0].data, (const int32_t *)s->in[0].data,
                                                             (uint32_t)ATTRS_OF(random_attrs, s->node)->stream, n);
    return INGOT_OK;
}

extern "C" const kernel_def random_uniform_cuda[] = {
    {.op = &op_random_uniform_def,
     .name = "random_uniform.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = launch},
    {},
};
