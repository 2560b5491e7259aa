/* Concatenation on the host: whole runs of memory, any dtype. */
#include "kit/cpu/cpu.h"
#include "ops/concat/concat.h"

static int64_t run_bytes(const tensor *t, int64_t axis)
{
    int64_t bytes = ingot_dtype_bytes(t->dtype);
    for (int64_t i = axis; i < t->shape.rank; i++) bytes *= t->shape.dim[i];
    return bytes;
}

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t axis = ATTRS_OF(concat_attrs, s->node)->axis, whole = run_bytes(&s->out[0], axis), start = 0;
    for (int i = 0; i < s->inputs; i++) {
        int64_t run = run_bytes(&s->in[i], axis);
        for (int64_t row = first; row < last && !concat_in_place(s, i); row++)
            memcpy((char *)s->out[0].data + row * whole + start, (const char *)s->in[i].data + row * run, (size_t)run);
        start += run;
    }
}

static status launch(const step *s, queue *q)
{
    int64_t axis = ATTRS_OF(concat_attrs, s->node)->axis, outer = 1;
    for (int64_t i = 0; i < axis; i++) outer *= s->out[0].shape.dim[i];
    return cpu_for(s, q, outer, MAX(1, 65536 / run_bytes(&s->out[0], axis)), rows);
}

const kernel_def concat_naive[] = {
    {.op = &op_concat_def, .name = "concat", .match = match_any, .launch = launch, .traits = KERNEL_ROW_INVARIANT},
    {0},
};
