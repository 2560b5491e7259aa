// Uniform random numbers on CUDA: four elements, one block of Philox, a thread.
#include "kit/cuda/philox.cuh"
#include "kit/cuda/values.cuh"
#include "ops/random_uniform/random_uniform.h"

__global__ void draw_all(float *y, const int32_t *rng, uint32_t stream, int64_t n)
{
    for (CUDA_EACH(i, (n + 3) / 4)) {
        uint4 bits = philox_block(rng, stream, (uint64_t)i);
        const uint32_t word[4] = {bits.x, bits.y, bits.z, bits.w};
        for (int k = 0; k < 4; k++)
            if (i * 4 + k < n) y[i * 4 + k] = philox_float(word[k]);
    }
}

static status launch(const step *s, queue *q)
{
    int64_t n = shape_count(s->out[0].shape);
    draw_all<<<cuda_blocks((n + 3) / 4), CUDA_THREADS, 0, q->stream>>>(
        (float *)s->out[0].data, (const int32_t *)s->in[0].data, (uint32_t)ATTRS_OF(random_attrs, s->node)->stream, n);
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
