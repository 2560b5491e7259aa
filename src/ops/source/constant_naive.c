/* Constants and counters on the host: computed once, so plain loops do. */
#include "kit/cpu/cpu.h"
#include "ops/source/source.h"

static status launch_constant(const step *s, queue *q)
{
    (void)q;
    double v = ATTRS_OF(constant_attrs, s->node)->value;
    const tensor *y = &s->out[0];
    int64_t count = shape_count(y->shape);
    for (int64_t i = 0; i < count; i++) dtype_store(y->dtype, y->data, i, v);
    return INGOT_OK;
}

static status launch_iota(const step *s, queue *q)
{
    (void)q;
    const tensor *y = &s->out[0];
    int64_t axis = ATTRS_OF(iota_attrs, s->node)->axis, inner = 1, count = shape_count(y->shape);
    for (int64_t i = axis + 1; i < y->shape.rank; i++) inner *= y->shape.dim[i];
    for (int64_t i = 0; i < count; i++) dtype_store(y->dtype, y->data, i, (double)(i / inner % y->shape.dim[axis]));
    return INGOT_OK;
}

const kernel_def constant_naive[] = {
    {.op = &op_constant_def,
     .name = "constant.naive",
     .match = match_any,
     .launch = launch_constant,
     .traits = KERNEL_ROW_INVARIANT},
    {.op = &op_iota_def,
     .name = "iota.naive",
     .match = match_any,
     .launch = launch_iota,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
