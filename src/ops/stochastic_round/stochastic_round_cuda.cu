// Stochastic rounding on CUDA: eight elements, one block of Philox, a thread.
#include "kit/cuda/philox.cuh"
#include "kit/cuda/values.cuh"
#include "ops/stochastic_round/stochastic_round.h"

template <typename T>
__global__ void round_all(T *y, const float *x, const int32_t *rng, uint32_t stream, bool bf16, int64_t n)
{
    for (CUDA_EACH(i, (n + 7) / 8)) {
        uint4 bits = philox_block(rng, stream, (uint64_t)i);
        const uint32_t word[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
        for (int k = 0; k < 8; k++) {
            int64_t at = i * 8 + k;
            uint32_t random = k % 2 ? word[k / 2] >> 16 : word[k / 2] & 0xffff;
            if (at < n) y[at] = to<T>(bf16 ? round_to_bf16(x[at], random) : round_to_f16(x[at], random));
        }
    }
}

static status launch(const step *s, queue *q)
{
    const stochastic_round_attrs *a = ATTRS_OF(stochastic_round_attrs, s->node);
    int64_t n = shape_count(s->out[0].shape);
    by_dtype((dtype)a->dtype, [&](auto t) {
        using T = decltype(t);
        round_all<T><<<cuda_blocks((n + 7) / 8), CUDA_THREADS, 0, q->stream>>>(
            (T *)s->out[0].data, (const float *)s->in[0].data, (const int32_t *)s->in[1].data, (uint32_t)a->stream,
            a->dtype == INGOT_BF16, n);
    });
    return INGOT_OK;
}

extern "C" const kernel_def stochastic_round_cuda[] = {
    {.op = &op_stochastic_round_def,
     .name = "stochastic_round.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = stochastic_round_match,
     .launch = launch},
    {},
};
