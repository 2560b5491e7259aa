// A product with a weight and a bias on CUDA: cuBLASLt adds the bias while it writes the result. Without a bias the op is
// lowered to a product, which other passes know.
#include "kit/cuda/product.h"
#include "kit/cuda/values.cuh"
#include "ops/linear/linear.h"

template <typename T> __global__ void narrow(T *y, const float *x, int64_t n)
{
    for (CUDA_EACH(i, n)) y[i] = to<T>(x[i]);
}

static bool is_wide(const node *n)
{
    return n->inputs > 2 && n->in[2] && n->in[2]->dtype != n->in[0]->dtype; // a float32 bias beside 16-bit numbers
}

static int64_t inputs_of(const node *n)
{
    return n->in[0]->shape.dim[n->in[0]->shape.rank - 1];
}

static int64_t bias_bytes(const node *n)
{
    return is_wide(n) ? (shape_count(n->in[2]->shape) * 2 + 511) / 256 * 256 : 0;
}

static int64_t scratch(const node *n, const device_caps *)
{
    return product_workspace(node_cost(n).flops) + bias_bytes(n);
}

static status prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    product_shape p = product_of_rows(s, !ATTRS_OF(linear_attrs, s->node)->in_out);
    p.end = s->node->in[2] ? PRODUCT_BIAS : PRODUCT_PLAIN;
    p.adds = s->node->op == &op_linear_add_def;
    if (p.adds) p.c_offset = s->in[LINEAR_ADD_C].byte_offset;
    p.workspace -= bias_bytes(s->node);
    return product_prepare(ctx, caps, &p, out);
}

static status launch(const step *s, queue *q)
{
    product_plan *plan = (product_plan *)s->prepared;
    const void *bias = s->in[2].data;
    int64_t outputs = s->out[0].shape.dim[s->out[0].shape.rank - 1];
    if (is_wide(s->node)) {
        void *to_narrow = (void *)(((uintptr_t)s->scratch + 255) / 256 * 256);
        if (s->in[0].dtype == INGOT_BF16)
            narrow<<<cuda_blocks(outputs), CUDA_THREADS, 0, q->stream>>>((bf16 *)to_narrow, (const float *)bias,
                                                                         outputs);
        else
            narrow<<<cuda_blocks(outputs), CUDA_THREADS, 0, q->stream>>>((f16 *)to_narrow, (const float *)bias,
                                                                         outputs);
        bias = to_narrow;
    }
    const void *c = s->node->op == &op_linear_add_def ? s->in[LINEAR_ADD_C].data : nullptr;
    product_bind(plan, bias, nullptr);
    return product_run(plan, q, s->in[0].data, s->in[1].data, c, s->out[0].data,
                       (char *)s->scratch + bias_bytes(s->node));
}

// A few rows, as in decoding, are better lowered, and so is what the library finds unaligned.
static bool match(const node *n, const device_caps *)
{
    ingot_dtype d = n->in[0]->dtype;
    const value *bias = n->inputs > 2 ? n->in[2] : nullptr;
    if ((d != INGOT_BF16 && d != INGOT_F16 && d != INGOT_F32) || n->in[1]->dtype != d || n->out[0]->dtype != d)
        return false;
    if (bias ? bias->dtype != d && bias->dtype != INGOT_F32 : n->op == &op_linear_def) return false;
    const shape *y = &n->out[0]->shape;
    int64_t k = inputs_of(n), rows = shape_count(n->in[0]->shape) / k;
    return rows > 16 && k % 8 == 0 && y->dim[y->rank - 1] % 8 == 0;
}

#define PRODUCT                                                                                                        \
    .level = LEVEL_BEST, .match = match, .scratch = scratch, .prepare = prepare, .unprepare = product_free,            \
    .launch = launch, .error = ERROR_SUM
extern "C" const kernel_def linear_cuda[] = {
    {.op = &op_linear_def, .name = "linear.cublaslt", PRODUCT},
    {.op = &op_linear_add_def, .name = "linear_add.cublaslt", PRODUCT},
    {},
};
