/* Rows by id on the host. Scattering is cut by columns of the row, so that equal ids add up in order without atomics. */
#include "kit/cpu/cpu.h"
#include "ops/table.h"

static int64_t id_at(const tensor *ids, int64_t i)
{
    return ids->dtype == INGOT_I32 ? i32(ids)[i] : (int64_t)dtype_load(ids->dtype, ids->data, i);
}

static int64_t row_elements(const tensor *table)
{
    return shape_count(table->shape) / table->shape.dim[0];
}

static void gather_rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const tensor *table = &s->in[0], *ids = &s->in[1];
    int64_t row = row_elements(table) * ingot_dtype_bytes(table->dtype);
    for (int64_t i = first; i < last; i++) {
        int64_t id = id_at(ids, i);
        char *to = (char *)s->out[0].data + i * row;
        if (id < 0 || id >= table->shape.dim[0])
            memset(to, 0, (size_t)row);
        else
            memcpy(to, (const char *)table->data + id * row, (size_t)row);
    }
}

static status gather(const step *s, queue *q)
{
    return cpu_for(s, q, shape_count(s->in[1].shape), MAX(1, CPU_GRAIN / row_elements(&s->in[0])), gather_rows);
}

#define ADD_COLUMNS(type)                                                                                              \
    for (int64_t i = 0; i < count; i++) {                                                                              \
        int64_t id = id_at(&s->in[1], i);                                                                              \
        if (id < 0 || id >= s->out[0].shape.dim[0]) continue;                                                          \
        type *to = (type *)s->out[0].data + id * row;                                                                  \
        const type *from = (const type *)s->in[2].data + i * row;                                                      \
        for (int64_t c = first; c < last; c++) to[c] += from[c];                                                       \
    }

static void scatter_columns(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t row = row_elements(&s->out[0]), count = shape_count(s->in[1].shape);
    if (s->out[0].dtype == INGOT_F64) {
        ADD_COLUMNS(double)
    } else {
        ADD_COLUMNS(float)
    }
}

static void copy_base(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t size = ingot_dtype_bytes(s->out[0].dtype);
    memcpy((char *)s->out[0].data + first * size, (const char *)s->in[0].data + first * size,
           (size_t)((last - first) * size));
}

static status scatter_add(const step *s, queue *q)
{
    if (s->in[0].data != s->out[0].data) cpu_for(s, q, shape_count(s->out[0].shape), CPU_GRAIN * 4, copy_base);
    return cpu_for(s, q, row_elements(&s->out[0]), 16, scatter_columns);
}

static bool match_scatter(const node *n, const device_caps *caps)
{
    return match_f32(n, caps) || match_f64(n, caps);
}

const kernel_def gather_naive[] = {
    {.op = &op_gather_def, .name = "gather", .match = match_any, .launch = gather, .traits = KERNEL_ROW_INVARIANT},
    {.op = &op_scatter_add_def,
     .name = "scatter_add",
     .match = match_scatter,
     .launch = scatter_add,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
