/* Attributes of random_uniform, and where in Philox's counter a node draws. */
#ifndef OPS_RANDOM_UNIFORM_RANDOM_UNIFORM_H
#define OPS_RANDOM_UNIFORM_RANDOM_UNIFORM_H

#include "base/rng.h"
#include "graph/kernel.h"
#include "ops/table.h"

typedef struct random_attrs {
    int64_t stream;
    shape shape;
} random_attrs;

/* The contents of an rng input: int32 (4), seed's low and high half, step, micro-batch. */
typedef struct draw {
    uint64_t seed;
    uint32_t step, micro, stream;
} draw;

static inline draw draw_from(const tensor *rng, int64_t stream)
{
    const int32_t *at = (const int32_t *)rng->data;
    return (draw){.seed = (uint32_t)at[0] | (uint64_t)(uint32_t)at[1] << 32,
                  .step = (uint32_t)at[2],
                  .micro = (uint32_t)at[3],
                  .stream = (uint32_t)stream};
}

/* Element `index` of the draw, in [0, 1): multiples of 2^-24, so the same in every float dtype but the 16-bit ones. */
static inline float draw_uniform(const draw *d, int64_t index)
{
    return rng_float(rng_bits(d->seed, d->step, d->micro, d->stream, (uint64_t)index));
}

#endif
