// Copies on CUDA: any element size, any strides.
#include "kit/cuda/cuda.h"
#include "ops/table.h"

struct copy_loop {
    int64_t rank, dim[INGOT_MAX_RANK], stride[INGOT_MAX_RANK], length, inner;
};

template <typename T> __global__ void copy_strided(T *to, const T *from, copy_loop l, int64_t n)
{
    for (CUDA_EACH(i, n)) {
        int64_t row = i / l.length, at = i % l.length * l.inner;
        for (int64_t axis = l.rank - 1; axis >= 0; axis--) {
            at += row % l.dim[axis] * l.stride[axis];
            row /= l.dim[axis];
        }
        to[i] = from[at];
    }
}

static status launch(const step *s, queue *q)
{
    const tensor *in[] = {&s->in[0]};
    strided_loop l = strided_make(&s->out[0].shape, in, 1);
    int64_t n = l.rows * l.length, size = ingot_dtype_bytes(s->out[0].dtype);
    if (l.rows == 1 && l.inner[0] == 1) {
        cudaMemcpyAsync(s->out[0].data, s->in[0].data, (size_t)(n * size), cudaMemcpyDeviceToDevice, q->stream);
        return INGOT_OK;
    }
    copy_loop c = {.rank = l.rank, .length = l.length, .inner = l.inner[0]};
    for (int64_t i = 0; i < l.rank; i++) {
        c.dim[i] = l.dim[i];
        c.stride[i] = l.stride[0][i];
    }
    unsigned blocks = cuda_blocks(n);
    if (size == 4)
        copy_strided<<<blocks, CUDA_THREADS, 0, q->stream>>>((uint32_t *)s->out[0].data,
                                                             (const uint32_t *)s->in[0].data, c, n);
    else if (size == 8)
        copy_strided<<<blocks, CUDA_THREADS, 0, q->stream>>>((uint64_t *)s->out[0].data,
                                                             (const uint64_t *)s->in[0].data, c, n);
    else if (size == 2)
        copy_strided<<<blocks, CUDA_THREADS, 0, q->stream>>>((uint16_t *)s->out[0].data,
                                                             (const uint16_t *)s->in[0].data, c, n);
    else
        copy_strided<<<blocks, CUDA_THREADS, 0, q->stream>>>((uint8_t *)s->out[0].data, (const uint8_t *)s->in[0].data,
                                                             c, n);
    return INGOT_OK;
}

extern "C" const kernel_def copy_cuda[] = {
    {.op = &op_copy_def,
     .name = "copy.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match_any,
     .wants = {STORAGE_STRIDED},
     .launch = launch},
    {},
};
