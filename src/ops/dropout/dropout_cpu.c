/* Dropout with sixteen blocks of Philox side by side: the generator is nearly all of the work. */
#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "ops/dropout/dropout.h"
#include "ops/random_uniform/draw_group.h"

static void groups(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const dropout_attrs *a = s->node->attrs;
    draw d = draw_from(&s->in[1], a->stream);
    float room[DRAW_GROUP], p = (float)a->p, scale = (float)(1 / (1 - a->p));
    int64_t count = shape_count(s->out[0].shape);
    for (int64_t g = first; g < last; g++) {
        uint32_t bits[DRAW_GROUP];
        draw_group(&d, g, bits);
        int64_t at = g * DRAW_GROUP, here = MIN(count - at, DRAW_GROUP);
        const float *x = row_read(&s->in[0], at, here, room);
        float *y = row_place(&s->out[0], at, room);
        for (int64_t i = 0; i < here; i++) y[i] = (float)(int32_t)(bits[i] >> 8) * 0x1p-24f < p ? 0.0f : x[i] * scale;
        row_write(&s->out[0], at, here, y);
    }
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, (shape_count(s->out[0].shape) + DRAW_GROUP - 1) / DRAW_GROUP, CPU_GRAIN / 4 / DRAW_GROUP,
                   groups);
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
