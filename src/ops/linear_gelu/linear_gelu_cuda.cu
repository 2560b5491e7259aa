// A product that ends with gelu, or with gelu's gradient, on CUDA. cuBLASLt does gelu while it writes the result (the tanh form,
// as ours). It does the gradient as well, but not beside sums of rows at any speed (1.64 ms against 0.46 for GPT-2's
// product of 65536 x 768 x 3072 on an H200): where a bias wants those, one pass over the result does both.
// Of many rows on sm_90a: linear_gelu_wgmma.cuh.
#include "kit/cuda/product.h"
#include "kit/cuda/values.cuh"
#include "ops/linear_gelu/linear_gelu_cuda.h"

enum { ROWS = 8, COLUMNS = 32 * 8 }; // of a block: warps, and what a warp has of a row

template <typename T, typename F> __global__ void convert(T *y, const F *x, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) y[i] = to<T>(to_float(x[i]));
}

__device__ __forceinline__ float gelu_slope(float a)
{
    float square = a * a, s = 1 / (1 + __expf(-a * (1.5957691216057308f + 0.07135481627260025f * square)));
    return s + a * s * (1 - s) * (1.5957691216057308f + 0.21406444881780074f * square);
}

// y = y gelu'(h), and part blockIdx.y of the sums of its rows.
template <typename T>
__global__ void __launch_bounds__(ROWS * 32)
    grad_and_sums(T *y, const T *h, float *parts, int64_t rows, int columns, int64_t each)
{
    __shared__ float sums[ROWS][COLUMNS + 8];
    int warp = threadIdx.x / 32, mine = threadIdx.x % 32 * 8, column = blockIdx.x * COLUMNS + mine;
    int64_t last = min((blockIdx.y + 1) * each, rows);
    float sum[8] = {};
    if (column < columns)
#pragma unroll 2
        for (int64_t row = blockIdx.y * each + warp; row < last; row += ROWS) {
            int64_t at = row * columns + column;
            pack<T, 8> d = load_pack<8>(y + at), a = load_pack<8>(h + at);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float v = to_float(d.at[i]) * gelu_slope(to_float(a.at[i]));
                sum[i] += v;
                d.at[i] = to<T>(v);
            }
            store_pack<8>(y + at, d);
        }
#pragma unroll
    for (int i = 0; i < 8; i++) sums[warp][mine + i] = sum[i];
    __syncthreads();
    column = blockIdx.x * COLUMNS + threadIdx.x;
    if (column >= columns) return;
    float all = 0;
    for (int i = 0; i < ROWS; i++) all += sums[i][threadIdx.x];
    parts[blockIdx.y * (int64_t)columns + column] = all;
}

// The parts' sums: 32 columns a block, ROWS threads share a column.
__global__ void __launch_bounds__(ROWS * 32) add_parts(float *y, const float *parts, int count, int columns)
{
    wait_for_inputs();
    __shared__ float shares[ROWS][32];
    int column = blockIdx.x * 32 + threadIdx.x;
    float sum = 0;
    if (column < columns)
#pragma unroll 4
        for (int i = threadIdx.y; i < count; i += ROWS) sum += parts[i * (int64_t)columns + column];
    shares[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || column >= columns) return;
    for (int i = 1; i < ROWS; i++) sum += shares[i][threadIdx.x];
    y[column] = sum;
}

// The library's bias is of the result's dtype: where ours is float32, room for one of its own.
static int64_t bias_bytes(const node *n)
{
    const value *bias = n->op == &op_linear_gelu_def ? n->in[2] : nullptr;
    return bias && bias->dtype != n->in[0]->dtype ? (shape_count(bias->shape) * 2 + 511) / 256 * 256 : 0;
}

// Rows in how many parts: enough blocks to keep a GPU busy.
static int64_t parts_of(const node *n, const device_caps *caps)
{
    const shape *y = &n->out[0]->shape;
    int64_t across = (y->dim[1] + COLUMNS - 1) / COLUMNS, parts = caps->multiprocessors * 8 / across;
    return MAX(MIN(parts, (y->dim[0] + ROWS - 1) / ROWS), 1);
}

static int64_t scratch(const node *n, const device_caps *)
{
    return product_workspace(node_cost(n).flops) + bias_bytes(n);
}

static bool sums_rows(const node *n)
{
    return n->out[LINEAR_GELU_GRAD_SUMS] != nullptr;
}

static int64_t parts_bytes(const node *n, const device_caps *caps)
{
    return sums_rows(n) ? (parts_of(n, caps) * n->out[0]->shape.dim[1] * 4 + 511) / 256 * 256 : 0;
}

static int64_t scratch_grad(const node *n, const device_caps *caps)
{
    return product_workspace(node_cost(n).flops) + parts_bytes(n, caps);
}

static void *begin_of(const step *s)
{
    return (void *)(((uintptr_t)s->scratch + 255) / 256 * 256);
}

// Forward w is (n, k), or (k, n) with in_out; backward the other way round.
extern "C" status linear_gelu_prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    const node *n = s->node;
    bool forward = n->op == &op_linear_gelu_def, in_out = ATTRS_OF(linear_attrs, n)->in_out != 0;
    product_shape p = product_of_rows(s, in_out != forward);
    if (forward)
        p.end = n->out[LINEAR_GELU_H] ? PRODUCT_GELU_KEPT : PRODUCT_GELU;
    else
        p.end = sums_rows(n) ? PRODUCT_PLAIN : PRODUCT_GELU_GRAD;
    p.workspace -= forward ? bias_bytes(n) : parts_bytes(n, caps);
    return product_prepare(ctx, caps, &p, out);
}

static int64_t columns_of(const step *s)
{
    return s->out[0].shape.dim[s->out[0].shape.rank - 1];
}

static status launch(const step *s, queue *q)
{
    product_plan *plan = (product_plan *)s->prepared;
    const void *bias = s->in[2].data;
    int64_t used = bias_bytes(s->node);
    if (used)
        by_dtype(s->in[0].dtype, [&](auto t) {
            using T = decltype(t);
            convert<<<cuda_blocks(columns_of(s)), CUDA_THREADS, 0, q->stream>>>((T *)begin_of(s), (const float *)bias,
                                                                                columns_of(s));
            bias = begin_of(s);
        });
    product_bind(plan, bias, s->node->out[LINEAR_GELU_H] ? s->out[LINEAR_GELU_H].data : nullptr);
    return product_run(plan, q, s->in[0].data, s->in[1].data, nullptr, s->out[0].data, (char *)s->scratch + used);
}

static status launch_grad(const step *s, queue *q)
{
    product_plan *plan = (product_plan *)s->prepared;
    char *workspace = (char *)s->scratch + parts_bytes(s->node, q->caps);
    if (!sums_rows(s->node)) product_bind(plan, nullptr, s->in[2].data);
    TRY(product_run(plan, q, s->in[0].data, s->in[1].data, nullptr, s->out[0].data, workspace));
    if (!sums_rows(s->node)) return INGOT_OK;
    int64_t rows = s->out[0].shape.dim[0], parts = parts_of(s->node, q->caps), each = (rows + parts - 1) / parts;
    int columns = (int)columns_of(s);
    float *of_parts = (float *)begin_of(s);
    dim3 grid((unsigned)(columns + COLUMNS - 1) / COLUMNS, (unsigned)parts);
    by_dtype(s->in[0].dtype, [&](auto t) {
        using T = decltype(t);
        grad_and_sums<<<grid, ROWS * 32, 0, q->stream>>>((T *)s->out[0].data, (const T *)s->in[2].data, of_parts, rows,
                                                         columns, each);
    });
    linear_gelu_add_parts((float *)s->out[LINEAR_GELU_GRAD_SUMS].data, of_parts, (int)parts, columns, q);
    return INGOT_OK;
}

extern "C" int64_t linear_gelu_scratch(const node *n, const device_caps *caps)
{
    return n->op == &op_linear_gelu_def ? scratch(n, caps) : scratch_grad(n, caps);
}

extern "C" status linear_gelu_launch(const step *s, queue *q)
{
    return s->node->op == &op_linear_gelu_def ? launch(s, q) : launch_grad(s, q);
}

extern "C" void linear_gelu_add_parts(float *sums, const float *parts, int count, int columns, const queue *q)
{
    add_parts<<<(unsigned)(columns + 31) / 32, dim3(32, ROWS), 0, q->stream>>>(sums, parts, count, columns);
}

// Of 16-bit numbers that the library finds aligned; a few rows, as in decoding, are better lowered.
extern "C" bool linear_gelu_by_library(const node *n, const device_caps *)
{
    ingot_dtype d = n->in[0]->dtype;
    bool forward = n->op == &op_linear_gelu_def;
    if ((d != INGOT_BF16 && d != INGOT_F16) || n->in[1]->dtype != d || n->out[0]->dtype != d) return false;
    if (forward && (n->inputs < 3 || !n->in[2] || (n->in[2]->dtype != d && n->in[2]->dtype != INGOT_F32))) return false;
    if (!forward && sums_rows(n) && n->out[LINEAR_GELU_GRAD_SUMS]->dtype != INGOT_F32) return false;
    const shape *x = &n->in[0]->shape, *y = &n->out[0]->shape;
    int64_t k = x->dim[x->rank - 1], rows = shape_count(*x) / k, columns = y->dim[y->rank - 1];
    return rows > 16 && k % 8 == 0 && columns % 8 == 0 && columns < INT32_MAX / 2;
}

extern "C" const kernel_def linear_gelu_cuda[] = {
    {.op = &op_linear_gelu_def,
     .name = "linear_gelu.cublaslt",
     .level = LEVEL_BEST,
     .match = linear_gelu_by_library,
     .scratch = linear_gelu_scratch,
     .prepare = linear_gelu_prepare,
     .unprepare = product_free,
     .launch = linear_gelu_launch,
     .error = ERROR_SUM},
    {.op = &op_linear_gelu_grad_def,
     .name = "linear_gelu_grad.cublaslt",
     .level = LEVEL_BEST,
     .match = linear_gelu_by_library,
     .scratch = linear_gelu_scratch,
     .prepare = linear_gelu_prepare,
     .unprepare = product_free,
     .launch = linear_gelu_launch,
     .error = ERROR_SUM},
    {},
};
