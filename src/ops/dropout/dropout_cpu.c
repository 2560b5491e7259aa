/* Dropout with sixteen blocks of Philox side by side: the generator is nearly all of the work. */
#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "ops/dropout/dropout.h"

enum { LANES = 16, GROUP = 4 * LANES };

/* The 64 draws of elements group*64 .. group*64+63, as integers of 24 bits. The same function as rng_bits. */
static void draw_group(const draw *d, int64_t group, uint32_t out[GROUP])
{
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
    uint32_t k0 = (uint32_t)d->seed, k1 = (uint32_t)(d->seed >> 32);
    for (int i = 0; i < LANES; i++) {
        uint64_t block = (uint64_t)group * LANES + (uint64_t)i;
        c0[i] = (uint32_t)block;
        c1[i] = (uint32_t)(block >> 32) << 16 ^ d->micro;
        c2[i] = d->step;
        c3[i] = d->stream;
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < LANES; i++) {
            uint64_t a = (uint64_t)0xD2511F53u * c0[i], b = (uint64_t)0xCD9E8D57u * c2[i];
            c0[i] = (uint32_t)(b >> 32) ^ c1[i] ^ k0;
            c2[i] = (uint32_t)(a >> 32) ^ c3[i] ^ k1;
            c1[i] = (uint32_t)b;
            c3[i] = (uint32_t)a;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < LANES; i++) {
        out[4 * i] = c0[i] >> 8;
        out[4 * i + 1] = c1[i] >> 8;
        out[4 * i + 2] = c2[i] >> 8;
        out[4 * i + 3] = c3[i] >> 8;
    }
}

static void groups(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const dropout_attrs *a = s->node->attrs;
    draw d = draw_from(&s->in[1], a->stream);
    float room[GROUP], p = (float)a->p, scale = (float)(1 / (1 - a->p));
    int64_t count = shape_count(s->out[0].shape);
    for (int64_t g = first; g < last; g++) {
        uint32_t bits[GROUP];
        draw_group(&d, g, bits);
        int64_t at = g * GROUP, here = MIN(count - at, GROUP);
        const float *x = row_read(&s->in[0], at, here, room);
        float *y = row_place(&s->out[0], at, room);
        for (int64_t i = 0; i < here; i++) y[i] = (float)(int32_t)bits[i] * 0x1p-24f < p ? 0.0f : x[i] * scale;
        row_write(&s->out[0], at, here, y);
    }
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, (shape_count(s->out[0].shape) + GROUP - 1) / GROUP, CPU_GRAIN / 4 / GROUP, groups);
}

const kernel_def ISA_NAME(dropout_cpu)[] = {
    {.op = &op_dropout_def,
     .name = "dropout.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .match = cpu_match_narrow,
     .launch = launch,
     .error = ERROR_POINTWISE},
    {0},
};
