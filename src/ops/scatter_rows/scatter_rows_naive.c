/* Copies bytes, so it serves every dtype and the oracle too. One thread: of equal ids the last one must stay. */
#include "kit/cpu/cpu.h"
#include "ops/table.h"

static status launch(const step *s, queue *q)
{
    (void)q;
    const tensor *base = &s->in[0], *ids = &s->in[1], *rows = &s->in[2];
    char *y = s->out[0].data;
    int64_t count = shape_count(ids->shape), row = shape_count(base->shape) / base->shape.dim[0];
    size_t bytes = (size_t)row * (size_t)ingot_dtype_bytes(base->dtype);
    if (y != base->data) memcpy(y, base->data, bytes * (size_t)base->shape.dim[0]);
    for (int64_t i = 0; i < count; i++) {
        int64_t id = (int64_t)dtype_load(ids->dtype, ids->data, i);
        if (id < 0 || id >= base->shape.dim[0]) continue;
        memcpy(y + (size_t)id * bytes, (const char *)rows->data + (size_t)i * bytes, bytes);
    }
    return INGOT_OK;
}

const kernel_def scatter_rows_naive[] = {
    {.op = &op_scatter_rows_def,
     .name = "scatter_rows.copy",
     .level = LEVEL_NAIVE,
     .match = match_any,
     .traits = KERNEL_ROW_INVARIANT | KERNEL_ONE_THREAD,
     .launch = launch},
    {0},
};
