// Copies on CUDA: any element size, any strides.
#include "kit/cuda/cuda.h"
#include "ops/table.h"

struct copy_loop {
    int64_t rank, dim[INGOT_MAX_RANK], stride[INGOT_MAX_RANK], length, inner;
};

template <typename T> __global__ void copy_strided(T *to, const T *from, copy_loop l, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) {
        int64_t row = i / l.length, at = i % l.length * l.inner;
        for (int64_t axis = l.rank - 1; axis >= 0; axis--) {
            at += row % l.dim[axis] * l.stride[axis];
            row /= l.dim[axis];
        }
        to[i] = from[at];
    }
}

template <typename T> __global__ void copy_plain(T *to, const T *from, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) to[i] = from[i];
}

template <typename T> static void plain(const step *s, int64_t bytes, queue *q)
{
    int64_t n = bytes / (int64_t)sizeof(T);
    copy_plain<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((T *)s->out[0].data, (const T *)s->in[0].data, n);
}

template <typename T> static void strided(const step *s, const copy_loop &l, int64_t n, queue *q)
{
    copy_strided<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((T *)s->out[0].data, (const T *)s->in[0].data, l, n);
}

static status launch(const step *s, queue *q)
{
    const tensor *in[] = {&s->in[0]};
    strided_loop l = strided_make(&s->out[0].shape, in, 1);
    int64_t n = l.rows * l.length, size = ingot_dtype_bytes(s->out[0].dtype);
    if (l.rows == 1 && l.inner[0] == 1) {
        if (n * size % 16 == 0 && s->in[0].byte_offset % 16 == 0 && s->out[0].byte_offset % 16 == 0)
            plain<uint4>(s, n * size, q);
        else if (size % 4 == 0)
            plain<uint32_t>(s, n * size, q);
        else if (size == 2)
            plain<uint16_t>(s, n * size, q);
        else
            plain<uint8_t>(s, n * size, q);
        return INGOT_OK;
    }
    copy_loop c = {.rank = l.rank, .length = l.length, .inner = l.inner[0]};
    for (int64_t i = 0; i < l.rank; i++) {
        c.dim[i] = l.dim[i];
        c.stride[i] = l.stride[0][i];
    }
    if (size == 4)
        strided<uint32_t>(s, c, n, q);
    else if (size == 8)
        strided<uint64_t>(s, c, n, q);
    else if (size == 2)
        strided<uint16_t>(s, c, n, q);
    else
        strided<uint8_t>(s, c, n, q);
    return INGOT_OK;
}

extern "C" const kernel_def copy_cuda[] = {
    {.op = &op_copy_def,
     .name = "copy.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match_any,
     .wants = {STORAGE_STRIDED},
     .launch = launch},
    {},
};
