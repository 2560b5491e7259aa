#include "kit/cpu/cpu.h"
#include "ops/stochastic_round/stochastic_round.h"

static void elements(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const stochastic_round_attrs *a = s->node->attrs;
    draw d = draw_from(&s->in[1], a->stream);
    const float *x = f32(&s->in[0]);
    uint16_t *y = s->out[0].data;
    for (int64_t i = first; i < last; i++) {
        uint32_t bits = stochastic_round_bits(&d, i);
        y[i] =
            a->dtype == INGOT_BF16 ? float_to_bf16(round_to_bf16(x[i], bits)) : float_to_half(round_to_f16(x[i], bits));
    }
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, shape_count(s->out[0].shape), CPU_GRAIN / 16, elements);
}

const kernel_def stochastic_round_naive[] = {
    {.op = &op_stochastic_round_def,
     .name = "stochastic_round.parallel",
     .level = LEVEL_PARALLEL,
     .traits = KERNEL_ROW_INVARIANT,
     .match = stochastic_round_match,
     .launch = launch},
    {.op = &op_stochastic_round_def,
     .name = "stochastic_round.naive",
     .level = LEVEL_NAIVE,
     .traits = KERNEL_ROW_INVARIANT,
     .match = stochastic_round_match,
     .launch = launch},
    {0},
};
