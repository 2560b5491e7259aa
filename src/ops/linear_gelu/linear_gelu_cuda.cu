// A product that ends with gelu, or with gelu's gradient, on CUDA: cuBLASLt does both while it writes the result, so that the
// tensors between are never read for it alone. Its gelu is the tanh form, as ours.
#include "kit/cuda/product.h"
#include "kit/cuda/values.cuh"
#include "ops/linear_gelu/linear_gelu.h"

struct ready {
    product_plan *plan;
    int64_t columns;
};

template <typename T, typename F> __global__ void convert(T *y, const F *x, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) y[i] = to<T>(to_float(x[i]));
}

static void unprepare(void *prepared)
{
    ready *r = (ready *)prepared;
    if (r) product_free(r->plan);
    free(r);
}

// The library's vectors are of the result's dtype: where ours are float32, room for one of its own.
static int64_t vector_bytes(const value *v, dtype d)
{
    return v && v->dtype != d ? (shape_count(v->shape) * 2 + 511) / 256 * 256 : 0;
}

static int64_t scratch(const node *n, const device_caps *)
{
    const value *v = n->op == &op_linear_gelu_def ? n->in[2] : n->out[LINEAR_GELU_GRAD_SUMS];
    return product_workspace(node_cost(n).flops) + vector_bytes(v, n->in[0]->dtype);
}

static void *vector_of(const step *s)
{
    return (void *)(((uintptr_t)s->scratch + 255) / 256 * 256);
}

// y (rows, n) = x (rows, k) w: forward w is (n, k), or (k, n) with in_out; backward the other way round.
static status prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    bool forward = s->node->op == &op_linear_gelu_def;
    bool turned = (ATTRS_OF(linear_attrs, s->node)->in_out != 0) != forward;
    const shape *x = &s->in[0].shape, *y = &s->out[0].shape;
    const value *v = forward ? s->node->in[2] : s->node->out[LINEAR_GELU_GRAD_SUMS];
    ready *r = (ready *)calloc(1, sizeof *r);
    if (!r) return fail_memory(ctx, "a product", sizeof *r);
    product_shape p = {};
    p.k = x->dim[x->rank - 1], p.n = y->dim[y->rank - 1], p.m = shape_count(*x) / p.k;
    p.a_row = p.k, p.a_col = 1, p.b_row = turned ? 1 : p.n, p.b_col = turned ? p.k : 1;
    p.in = p.out = p.vector = s->in[0].dtype;
    p.end = forward ? (s->node->out[LINEAR_GELU_H] ? PRODUCT_GELU_KEPT : PRODUCT_GELU)
                    : (v ? PRODUCT_GELU_GRAD_SUMS : PRODUCT_GELU_GRAD);
    p.a_offset = s->in[0].byte_offset, p.b_offset = s->in[1].byte_offset, p.y_offset = s->out[0].byte_offset;
    p.workspace = s->scratch_bytes - vector_bytes(v, s->in[0].dtype);
    r->columns = p.n;
    status failed = product_new(ctx, caps, &p, &r->plan);
    if (failed)
        free(r);
    else
        *out = r;
    return failed;
}

static status launch_forward(const step *s, queue *q)
{
    const ready *r = (const ready *)s->prepared;
    const void *bias = s->in[2].data;
    int64_t used = vector_bytes(s->node->in[2], s->in[0].dtype);
    if (used)
        by_dtype(s->in[0].dtype, [&](auto t) {
            using T = decltype(t);
            convert<<<cuda_blocks(r->columns), CUDA_THREADS, 0, q->stream>>>((T *)vector_of(s), (const float *)bias,
                                                                             r->columns);
            bias = vector_of(s);
        });
    product_bind(r->plan, bias, s->node->out[LINEAR_GELU_H] ? s->out[LINEAR_GELU_H].data : nullptr);
    return product_run(r->plan, q, s->in[0].data, s->in[1].data, nullptr, s->out[0].data, (char *)s->scratch + used);
}

static status launch_grad(const step *s, queue *q)
{
    const ready *r = (const ready *)s->prepared;
    const value *sums = s->node->out[LINEAR_GELU_GRAD_SUMS];
    int64_t used = vector_bytes(sums, s->in[0].dtype);
    product_bind(r->plan, used ? vector_of(s) : s->out[LINEAR_GELU_GRAD_SUMS].data, s->in[2].data);
    TRY(product_run(r->plan, q, s->in[0].data, s->in[1].data, nullptr, s->out[0].data, (char *)s->scratch + used));
    if (used)
        by_dtype(s->in[0].dtype, [&](auto t) {
            using T = decltype(t);
            convert<<<cuda_blocks(r->columns), CUDA_THREADS, 0, q->stream>>>(
                (float *)s->out[LINEAR_GELU_GRAD_SUMS].data, (const T *)vector_of(s), r->columns);
        });
    return INGOT_OK;
}

// Of 16-bit numbers that the library finds aligned, in products that are large: small ones wait for launches, not for memory.
static bool match(const node *n, const device_caps *)
{
    ingot_dtype d = n->in[0]->dtype;
    bool forward = n->op == &op_linear_gelu_def;
    if ((d != INGOT_BF16 && d != INGOT_F16) || n->in[1]->dtype != d || n->out[0]->dtype != d) return false;
    if (forward && (n->inputs < 3 || !n->in[2] || (n->in[2]->dtype != d && n->in[2]->dtype != INGOT_F32))) return false;
    const shape *x = &n->in[0]->shape, *y = &n->out[0]->shape;
    int64_t k = x->dim[x->rank - 1], rows = shape_count(*x) / k;
    return rows > 16 && k % 8 == 0 && y->dim[y->rank - 1] % 8 == 0;
}

extern "C" const kernel_def linear_gelu_cuda[] = {
    {.op = &op_linear_gelu_def,
     .name = "linear_gelu.cublaslt",
     .level = LEVEL_BEST,
     .match = match,
     .scratch = scratch,
     .prepare = prepare,
     .unprepare = unprepare,
     .launch = launch_forward,
     .error = ERROR_SUM},
    {.op = &op_linear_gelu_grad_def,
     .name = "linear_gelu_grad.cublaslt",
     .level = LEVEL_BEST,
     .match = match,
     .scratch = scratch,
     .prepare = prepare,
     .unprepare = unprepare,
     .launch = launch_grad,
     .error = ERROR_SUM},
    {},
};
