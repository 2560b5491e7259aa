// Constants and counters on CUDA.
#include "kit/cuda/values.cuh"
#include "ops/source/source.h"

template <typename T> __global__ void fill(T *y, T v, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) y[i] = v;
}

template <typename T> __global__ void count(T *y, int64_t inner, int64_t dim, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) {
        int64_t index = i / inner % dim;
        if constexpr (sizeof(T) == 2)
            y[i] = to<T>((float)index);
        else
            y[i] = (T)index;
    }
}

static bool match(const node *n, const device_caps *)
{
    return cuda_float(n->out[0]->dtype) || n->out[0]->dtype == INGOT_I32;
}

// Calls f with a value of the output's type.
template <typename F> static void by_type(const tensor *y, F f)
{
    if (y->dtype == INGOT_I32)
        f(int32_t());
    else
        by_dtype(y->dtype, f);
}

static status launch_constant(const step *s, queue *q)
{
    const tensor *y = &s->out[0];
    int64_t n = shape_count(y->shape);
    double v = ATTRS_OF(constant_attrs, s->node)->value;
    by_type(y, [&](auto t) {
        using T = decltype(t);
        T element;
        dtype_store(y->dtype, &element, 0, v);
        fill<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((T *)y->data, element, n);
    });
    return INGOT_OK;
}

static status launch_iota(const step *s, queue *q)
{
    const tensor *y = &s->out[0];
    int64_t axis = ATTRS_OF(iota_attrs, s->node)->axis, inner = 1, n = shape_count(y->shape);
    for (int64_t i = axis + 1; i < y->shape.rank; i++) inner *= y->shape.dim[i];
    by_type(y, [&](auto t) {
        using T = decltype(t);
        count<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((T *)y->data, inner, y->shape.dim[axis], n);
    });
    return INGOT_OK;
}

extern "C" const kernel_def constant_cuda[] = {
    {.op = &op_constant_def,
     .name = "constant.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match,
     .launch = launch_constant},
    {.op = &op_iota_def,
     .name = "iota.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match,
     .launch = launch_iota},
    {},
};
