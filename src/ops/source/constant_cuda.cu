// Constants and counters on CUDA.
#include "kit/cuda/cuda.h"
#include "ops/source/source.h"

template <typename T> __global__ void fill(T *y, T v, int64_t n)
{
    for (CUDA_EACH(i, n)) y[i] = v;
}

template <typename T> __global__ void count(T *y, int64_t inner, int64_t dim, int64_t n)
{
    for (CUDA_EACH(i, n)) y[i] = (T)(i / inner % dim);
}

static bool match(const node *n, const device_caps *)
{
    return n->out[0]->dtype == INGOT_F32 || n->out[0]->dtype == INGOT_I32;
}

static status launch_constant(const step *s, queue *q)
{
    const tensor *y = &s->out[0];
    int64_t n = shape_count(y->shape);
    double v = ATTRS_OF(constant_attrs, s->node)->value;
    if (y->dtype == INGOT_F32)
        fill<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((float *)y->data, (float)v, n);
    else
        fill<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((int32_t *)y->data, (int32_t)v, n);
    return INGOT_OK;
}

static status launch_iota(const step *s, queue *q)
{
    const tensor *y = &s->out[0];
    int64_t axis = ATTRS_OF(iota_attrs, s->node)->axis, inner = 1, n = shape_count(y->shape);
    for (int64_t i = axis + 1; i < y->shape.rank; i++) inner *= y->shape.dim[i];
    if (y->dtype == INGOT_F32)
        count<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((float *)y->data, inner, y->shape.dim[axis], n);
    else
        count<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((int32_t *)y->data, inner, y->shape.dim[axis], n);
    return INGOT_OK;
}

extern "C" const kernel_def constant_cuda[] = {
    {.op = &op_constant_def,
     .name = "constant.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match,
     .launch = launch_constant},
    {.op = &op_iota_def,
     .name = "iota.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match,
     .launch = launch_iota},
    {},
};
