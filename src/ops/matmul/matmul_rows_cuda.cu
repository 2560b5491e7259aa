// A few rows times a matrix stored by output, as decoding wants it, on CUDA: what takes the time is to read the matrix once.
// A warp has R outputs; its lanes read 16 bytes of each of their rows at a time, and share what they read of the left side.
#include "kit/cuda/stage.h"
#include "kit/cuda/values.cuh"
#include "ops/matmul/matmul.h"
#include "ops/matmul/products_stage_cuda.h"

enum { WARPS = 4, MOST_ROWS = 8 };

// SHARE warps have the columns of one row of the matrix between them: more reads on their way where rows are few.
template <typename T, typename U, int M, int R, int SHARE>
__global__ void __launch_bounds__(WARPS * 32) rows_by_matrix(U *y, const T *x, const T *w, int m, int64_t n, int k)
{
    wait_for_inputs();
    constexpr int N = WIDE<T>, GROUPS = WARPS / SHARE;
    __shared__ float part[WARPS][R * M];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, turn = warp % SHARE;
    int64_t first = (blockIdx.x * (int64_t)GROUPS + warp / SHARE) * R;
    const T *row[R];
#pragma unroll
    for (int r = 0; r < R; r++) row[r] = w + (first + r < n ? first + r : n - 1) * k;
    float sum[R][M] = {};
#pragma unroll 4
    for (int at = (turn * 32 + lane) * N; at < k; at += SHARE * 32 * N) {
        pack<T, N> b[R];
#pragma unroll
        for (int r = 0; r < R; r++) b[r] = load_pack<N>(row[r] + at);
#pragma unroll
        for (int i = 0; i < M; i++) {
            pack<T, N> a = load_pack<N>(x + (i < m ? i : 0) * (int64_t)k + at);
#pragma unroll
            for (int r = 0; r < R; r++)
#pragma unroll
                for (int j = 0; j < N; j++) sum[r][i] = fmaf(to_float(a.at[j]), to_float(b[r].at[j]), sum[r][i]);
        }
    }
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int i = 0; i < M; i++) {
            float v = warp_join<add_floats>(sum[r][i]);
            if (SHARE > 1 && lane == 0) part[warp][r * M + i] = v;
            if (SHARE == 1 && lane == 0 && i < m && first + r < n) y[i * n + first + r] = to<U>(v);
        }
    if (SHARE == 1) return;
    __syncthreads();
    if (turn || lane >= R * M) return;
    int r = lane / M, i = lane % M;
    float v = 0;
    for (int other = 0; other < SHARE; other++) v += part[warp + other][lane];
    if (i < m && first + r < n) y[i * n + first + r] = to<U>(v);
}

struct product_sizes {
    int m, k;
    int64_t n;
};

static product_sizes sizes_of(const node *node)
{
    shape x = node->in[0]->shape, w = node->in[1]->shape;
    return {(int)x.dim[0], (int)x.dim[1], w.dim[0]};
}

template <typename T, typename U, int M> static void launch_outputs(const step *s, queue *q, product_sizes p)
{
    U *y = (U *)s->out[0].data;
    const T *x = (const T *)s->in[0].data, *w = (const T *)s->in[1].data;
    int64_t busy = (int64_t)q->caps->multiprocessors * 64; // warps that a GPU has on their way
    auto run = [&](auto kernel, int64_t each) {
        kernel<<<(unsigned)((p.n + each - 1) / each), WARPS * 32, 0, q->stream>>>(y, x, w, p.m, p.n, p.k);
    };
    if (p.n >= 2 * busy)
        run(rows_by_matrix<T, U, M, 4, 1>, 4 * WARPS);
    else if (p.n >= busy / 2)
        run(rows_by_matrix<T, U, M, 1, 1>, WARPS);
    else
        run(rows_by_matrix<T, U, M, 1, 4>, WARPS / 4);
}

template <typename T, typename U> static void launch_rows(const step *s, queue *q)
{
    product_sizes p = sizes_of(s->node);
    if (p.m == 1)
        launch_outputs<T, U, 1>(s, q, p);
    else if (p.m <= 4)
        launch_outputs<T, U, 4>(s, q, p);
    else
        launch_outputs<T, U, MOST_ROWS>(s, q, p);
}

static status launch(const step *s, queue *q)
{
    by_dtype(s->in[0].dtype, [&](auto t) {
        using T = decltype(t);
        if (s->out[0].dtype == INGOT_F32)
            launch_rows<T, float>(s, q);
        else
            launch_rows<T, T>(s, q);
    });
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *)
{
    const matmul_attrs *t = ATTRS_OF(matmul_attrs, n);
    ingot_dtype d = n->in[0]->dtype, out = n->out[0]->dtype;
    if (!cuda_float(d) || n->in[1]->dtype != d || (out != d && out != INGOT_F32) || t->trans_a || !t->trans_b)
        return false;
    if (n->inputs > 2 || n->in[0]->shape.rank != 2 || n->in[1]->shape.rank != 2) return false;
    return n->in[0]->shape.dim[0] <= MOST_ROWS && n->in[0]->shape.dim[1] % (16 / ingot_dtype_bytes(d)) == 0 &&
           n->in[0]->shape.dim[1] < INT32_MAX;
}

static bool stage_of(const step *s, const device_caps *, stage_offer *o)
{
    product_sizes p = sizes_of(s->node);
    if (p.m != 1 || p.n > INT32_MAX) return false;
    o->stage.kind = STAGE_PRODUCTS;
    o->stage.inputs = o->stage.outputs = 1;
    o->stage.count = p.k;
    o->stage.number[0] = (int32_t)p.n;
    o->stage.number[PRODUCTS_MATRICES] = 1;
    o->stage.number[PRODUCTS_SHIFT] = stage_shift(p.k * ingot_dtype_bytes(s->in[0].dtype) / 16);
    o->dtype = s->in[0].dtype;
    o->spread = STAGE_SLICED;
    o->weights = &s->in[1];
    return true;
}

extern "C" const kernel_def matmul_rows_cuda[] = {
    {.op = &op_matmul_def,
     .name = "matmul.rows",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match,
     .launch = launch,
     .error = ERROR_SUM,
     .stage = stage_of},
    {},
};
