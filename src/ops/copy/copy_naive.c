/* Copies on the host, any dtype, any strides. */
#include "graph/strided.h"
#include "kit/cpu/cpu.h"
#include "ops/table.h"

#define COPY_ELEMENTS(type)                                                                                            \
    for (int64_t i = 0; i < length; i++) ((type *)to)[i] = ((const type *)from)[i * stride]

static void copy_row(void *to, const void *from, int64_t length, int64_t stride, int64_t size)
{
    if (stride == 1)
        memcpy(to, from, (size_t)(length * size));
    else if (size == 4)
        COPY_ELEMENTS(uint32_t);
    else if (size == 8)
        COPY_ELEMENTS(uint64_t);
    else if (size == 2)
        COPY_ELEMENTS(uint16_t);
    else
        COPY_ELEMENTS(uint8_t);
}

static strided_loop loop_of(const step *s)
{
    const tensor *both[] = {&s->in[0], &s->out[0]};
    return strided_make(&s->out[0].shape, both, 2);
}

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    strided_loop l = loop_of(s);
    int64_t size = ingot_dtype_bytes(s->out[0].dtype), at[STRIDED_MAX];
    for (int64_t row = first; row < last; row++) {
        strided_row(&l, row, at);
        copy_row((char *)s->out[0].data + at[1] * size, (const char *)s->in[0].data + at[0] * size, l.length,
                 l.inner[0], size);
    }
}

/* One long row is cut into pieces of its own. */
static void pieces(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    strided_loop l = loop_of(s);
    int64_t size = ingot_dtype_bytes(s->out[0].dtype);
    copy_row((char *)s->out[0].data + first * size, (const char *)s->in[0].data + first * l.inner[0] * size,
             last - first, l.inner[0], size);
}

static status launch(const step *s, queue *q)
{
    strided_loop l = loop_of(s);
    if (l.rows == 1) return cpu_for(s, q, l.length, CPU_GRAIN * 4, pieces);
    return cpu_for(s, q, l.rows, MAX(1, CPU_GRAIN * 4 / l.length), rows);
}

const kernel_def copy_naive[] = {
    {.op = &op_copy_def,
     .name = "copy",
     .match = match_any,
     .wants = {STORAGE_STRIDED},
     .launch = launch,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
