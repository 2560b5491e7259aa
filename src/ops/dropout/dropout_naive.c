#include "kit/cpu/cpu.h"
#include "ops/dropout/dropout.h"

static void elements(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const dropout_attrs *a = s->node->attrs;
    draw d = draw_from(&s->in[1], a->stream);
    const float *x = f32(&s->in[0]);
    float *y = f32(&s->out[0]), p = (float)a->p, scale = (float)(1 / (1 - a->p));
    for (int64_t i = first; i < last; i++) y[i] = draw_uniform(&d, i) < p ? 0 : x[i] * scale;
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, shape_count(s->out[0].shape), CPU_GRAIN / 16, elements);
}

const kernel_def dropout_naive[] = {
    {.op = &op_dropout_def,
     .name = "dropout.parallel",
     .level = LEVEL_PARALLEL,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = launch,
     .error = ERROR_POINTWISE},
    {.op = &op_dropout_def,
     .name = "dropout.naive",
     .level = LEVEL_NAIVE,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = launch,
     .error = ERROR_POINTWISE},
    {0},
};
