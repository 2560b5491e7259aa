/* The same bits as the naive kernel, with the generator and the rounding in vectors. */
#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "ops/random_uniform/draw_group.h"
#include "ops/stochastic_round/stochastic_round.h"

enum { PIECE = 2 * DRAW_GROUP };

static void pieces(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const stochastic_round_attrs *a = s->node->attrs;
    draw d = draw_from(&s->in[1], a->stream);
    int64_t count = shape_count(s->out[0].shape);
    for (int64_t piece = first; piece < last; piece++) {
        uint32_t words[DRAW_GROUP], bits[PIECE];
        float rounded[PIECE];
        draw_group(&d, piece, words);
        for (int i = 0; i < DRAW_GROUP; i++) bits[2 * i] = words[i] & 0xffff, bits[2 * i + 1] = words[i] >> 16;
        int64_t at = piece * PIECE, here = MIN(count - at, PIECE);
        const float *x = f32(&s->in[0]) + at;
        if (a->dtype == INGOT_BF16)
            for (int64_t i = 0; i < here; i++) rounded[i] = round_to_bf16(x[i], bits[i]);
        else
            for (int64_t i = 0; i < here; i++) rounded[i] = round_to_f16(x[i], bits[i]);
        cpu_narrow((uint16_t *)s->out[0].data + at, (dtype)a->dtype, rounded, here);
    }
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, (shape_count(s->out[0].shape) + PIECE - 1) / PIECE, CPU_GRAIN / 2 / PIECE, pieces);
}

const kernel_def ISA_NAME(stochastic_round_cpu)[] = {
    {.op = &op_stochastic_round_def,
     .name = "stochastic_round.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .match = stochastic_round_match,
     .launch = launch},
    {0},
};
