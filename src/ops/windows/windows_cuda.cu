// Windows of images on CUDA: a thread for each element of the result, so that nothing is written twice.
#include "kit/cuda/values.cuh"
#include "ops/windows/windows.h"

struct window_numbers {
    int h, w, c, oh, ow, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
};

template <typename T> __global__ void take_windows(T *y, const T *x, window_numbers z, T pad, int64_t n)
{
    for (CUDA_EACH(i, n)) {
        int64_t at = i / z.c;
        int c = (int)(i % z.c), q = (int)(at % z.kernel_w);
        at /= z.kernel_w;
        int p = (int)(at % z.kernel_h);
        at /= z.kernel_h;
        int ow = (int)(at % z.ow);
        at /= z.ow;
        int row = (int)(at % z.oh) * z.stride_h - z.pad_h + p, column = ow * z.stride_w - z.pad_w + q;
        bool inside = row >= 0 && row < z.h && column >= 0 && column < z.w;
        y[i] = inside ? x[((at / z.oh * z.h + row) * z.w + column) * z.c + c] : pad;
    }
}

// Each element of the image adds what windows took from it, in the order of (oh, ow).
template <typename T> __global__ void add_windows(T *x, const T *y, window_numbers z, int64_t n)
{
    for (CUDA_EACH(i, n)) {
        int64_t at = i / z.c;
        int c = (int)(i % z.c), column = (int)(at % z.w) + z.pad_w;
        at /= z.w;
        int row = (int)(at % z.h) + z.pad_h;
        int64_t image = at / z.h;
        int first = row < z.kernel_h ? 0 : (row - z.kernel_h) / z.stride_h + 1;
        int left = column < z.kernel_w ? 0 : (column - z.kernel_w) / z.stride_w + 1;
        float sum = 0;
        for (int oh = first; oh < z.oh && oh * z.stride_h <= row; oh++)
            for (int ow = left; ow < z.ow && ow * z.stride_w <= column; ow++) {
                int p = row - oh * z.stride_h, q = column - ow * z.stride_w;
                int64_t window = (image * z.oh + oh) * z.ow + ow;
                sum += to_float(y[((window * z.kernel_h + p) * z.kernel_w + q) * z.c + c]);
            }
        x[i] = to<T>(sum);
    }
}

static window_numbers numbers_of(const window_sizes &z)
{
    return {(int)z.h,          (int)z.w,          (int)z.c,          (int)z.oh,      (int)z.ow,     (int)z.a.kernel_h,
            (int)z.a.kernel_w, (int)z.a.stride_h, (int)z.a.stride_w, (int)z.a.pad_h, (int)z.a.pad_w};
}

static status launch(const step *s, queue *q)
{
    window_sizes z = window_sizes_of(s, &s->in[0], &s->out[0]);
    int64_t n = shape_count(s->out[0].shape);
    by_dtype(s->in[0].dtype, [&](auto t) {
        using T = decltype(t);
        T pad;
        dtype_store(s->in[0].dtype, &pad, 0, z.a.pad_value);
        take_windows<T><<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((T *)s->out[0].data, (const T *)s->in[0].data,
                                                                        numbers_of(z), pad, n);
    });
    return INGOT_OK;
}

static status launch_add(const step *s, queue *q)
{
    window_sizes z = window_sizes_of(s, &s->out[0], &s->in[0]);
    int64_t n = shape_count(s->out[0].shape);
    by_dtype(s->in[0].dtype, [&](auto t) {
        using T = decltype(t);
        add_windows<T><<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((T *)s->out[0].data, (const T *)s->in[0].data,
                                                                       numbers_of(z), n);
    });
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *)
{
    return cuda_float(n->in[0]->dtype) && n->out[0]->dtype == n->in[0]->dtype;
}

extern "C" const kernel_def windows_cuda[] = {
    {.op = &op_windows_def,
     .name = "windows.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match,
     .launch = launch},
    {.op = &op_windows_add_def,
     .name = "windows_add.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match,
     .launch = launch_add,
     .error = ERROR_SUM},
    {},
};
