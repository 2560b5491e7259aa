#include "kit/cpu/cpu.h"
#include "ops/random_uniform/random_uniform.h"

static void elements(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    draw d = draw_from(&s->in[0], ATTRS_OF(random_attrs, s->node)->stream);
    double *y = s->out[0].data;
    for (int64_t i = first; i < last; i++) y[i] = draw_uniform(&d, i);
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, shape_count(s->out[0].shape), CPU_GRAIN / 16, elements);
}

const kernel_def random_uniform_ref[] = {
    {.op = &op_random_uniform_def,
     .name = "random_uniform.ref",
     .level = LEVEL_NAIVE,
     .match = match_f64,
     .launch = launch},
    {0},
};
