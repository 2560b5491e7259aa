/* The oracle keeps the 16-bit number in float64: rounding here is what the op means, and no matter of storage. */
#include "kit/cpu/cpu.h"
#include "ops/stochastic_round/stochastic_round.h"

static void elements(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const stochastic_round_attrs *a = s->node->attrs;
    draw d = draw_from(&s->in[1], a->stream);
    const double *x = s->in[0].data;
    double *y = s->out[0].data;
    for (int64_t i = first; i < last; i++) {
        uint32_t bits = stochastic_round_bits(&d, i);
        y[i] = (double)(a->dtype == INGOT_BF16 ? round_to_bf16((float)x[i], bits) : round_to_f16((float)x[i], bits));
    }
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, shape_count(s->out[0].shape), CPU_GRAIN / 16, elements);
}

const kernel_def stochastic_round_ref[] = {
    {.op = &op_stochastic_round_def,
     .name = "stochastic_round.ref",
     .level = LEVEL_NAIVE,
     .match = match_f64,
     .launch = launch},
    {0},
};
