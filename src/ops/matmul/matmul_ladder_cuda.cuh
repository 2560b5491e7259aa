// What the rungs of the CUDA ladder share: a product as they see it, and a batch as one launch for each.
#ifndef OPS_MATMUL_MATMUL_LADDER_CUDA_CUH
#define OPS_MATMUL_MATMUL_LADDER_CUDA_CUH

#include "kit/cuda/values.cuh"
#include "ops/matmul/matmul.h"

// y (m, n) = a (m, k) b (k, n) + c, strides in elements; c NULL: none.
template <typename T, typename U> struct ladder_product {
    const T *a, *b;
    const U *c;
    U *y;
    int m, n, k;
    int64_t a_row, a_col, b_row, b_col;

    __device__ __forceinline__ T left(int i, int at) const // zero beyond the matrix
    {
        return i < m && at < k ? a[i * a_row + at * a_col] : to<T>(0.0f);
    }
    __device__ __forceinline__ T right(int at, int j) const
    {
        return at < k && j < n ? b[at * b_row + j * b_col] : to<T>(0.0f);
    }
    __device__ __forceinline__ void put(int i, int j, float sum) const
    {
        if (i >= m || j >= n) return;
        int64_t at = (int64_t)i * n + j;
        y[at] = to<U>(c ? sum + to_float(c[at]) : sum);
    }
};

// Calls f with each product of the batch.
template <typename T, typename U, typename F> static void each_product(const step *s, F f)
{
    matmul_shape p = matmul_shape_of(s);
    for (int64_t i = 0; i < p.batch; i++) {
        int64_t a, b, y = i * p.m * p.n;
        matmul_offsets(s, i, &a, &b);
        bool adds = s->inputs > 2 && s->node->in[2];
        f(ladder_product<T, U>{(const T *)s->in[0].data + a, (const T *)s->in[1].data + b,
                               adds ? (const U *)s->in[2].data + y : nullptr, (U *)s->out[0].data + y, (int)p.m,
                               (int)p.n, (int)p.k, p.a_row, p.a_col, p.b_row, p.b_col});
    }
}

// The same in the dtypes of what is multiplied and of the result.
template <typename F> static void each_product_of(const step *s, F f)
{
    by_dtype(s->in[0].dtype, [&](auto t) {
        using T = decltype(t);
        if (s->out[0].dtype == INGOT_F32)
            each_product<T, float>(s, f);
        else
            each_product<T, T>(s, f);
    });
}

// A block for each square of the result.
template <typename T, typename U> static dim3 squares(const ladder_product<T, U> &p, int side)
{
    return dim3((unsigned)((p.n + side - 1) / side), (unsigned)((p.m + side - 1) / side));
}

static inline bool ladder_match(const node *n, const device_caps *)
{
    ingot_dtype d = n->in[0]->dtype, out = n->out[0]->dtype;
    shape y = n->out[0]->shape, a = n->in[0]->shape;
    if (!cuda_float(d) || n->in[1]->dtype != d || (out != d && out != INGOT_F32)) return false;
    if (n->inputs > 2 && n->in[2] && n->in[2]->dtype != out) return false;
    return shape_count(y) < INT32_MAX && shape_count(a) < INT32_MAX && shape_count(n->in[1]->shape) < INT32_MAX &&
           (shape_count(y) / y.dim[y.rank - 1] + 15) / 16 <= 65535;
}

#endif
