// Small products of float32: matmul with any side transposed, and a linear layer with what it is added to.
#include "ops/matmul/matmul_small_cuda.cuh"
#include "ops/linear/linear.h"
#include "ops/matmul/matmul.h"

struct sides {
    bool turn_a, turn_b; // a (k, m), b (n, k)
    int64_t m, n, k;
    const value *bias, *c;
};

static sides sides_of(const node *n)
{
    sides s = {};
    if (n->op == &op_matmul_def) {
        const matmul_attrs *t = ATTRS_OF(matmul_attrs, n);
        s.turn_a = t->trans_a, s.turn_b = t->trans_b;
        s.c = n->inputs > 2 ? n->in[2] : nullptr;
        s.k = n->in[0]->shape.dim[t->trans_a ? 0 : 1];
    } else {
        s.turn_b = !ATTRS_OF(linear_attrs, n)->in_out;
        s.bias = n->inputs > 2 ? n->in[2] : nullptr;
        s.c = n->op == &op_linear_add_def ? n->in[LINEAR_ADD_C] : nullptr;
        s.k = n->in[0]->shape.dim[n->in[0]->shape.rank - 1];
    }
    const shape *y = &n->out[0]->shape;
    s.n = y->dim[y->rank - 1], s.m = shape_count(*y) / s.n;
    return s;
}

template <bool EXACT> static cudaError_t launch_exact(const step *s, cudaStream_t stream)
{
    sides d = sides_of(s->node);
    int c = s->node->op == &op_matmul_def ? 2 : LINEAR_ADD_C;
    small_product p = {(const float *)s->in[0].data,
                       (const float *)s->in[1].data,
                       d.c ? (const float *)s->in[c].data : nullptr,
                       d.bias ? (const float *)s->in[2].data : nullptr,
                       (float *)s->out[0].data,
                       (int)d.m,
                       (int)d.n,
                       (int)d.k,
                       d.turn_a ? d.m : d.k,
                       d.turn_b ? d.k : d.n};
    if (d.turn_a)
        return d.turn_b ? small_launch<true, true, EXACT>(p, stream) : small_launch<true, false, EXACT>(p, stream);
    return d.turn_b ? small_launch<false, true, EXACT>(p, stream) : small_launch<false, false, EXACT>(p, stream);
}

static status launch(const step *s, queue *q)
{
    cudaError_t e = q->caps->tf32 ? launch_exact<false>(s, q->stream) : launch_exact<true>(s, q->stream);
    return e ? INGOT_ERROR_DEVICE : INGOT_OK;
}

// Where a library's tiles would leave most of the GPU idle; sums that a cluster can share.
static bool match(const node *n, const device_caps *caps)
{
    if (caps->major != 9 || !match_f32(n, caps) || n->in[1]->shape.rank != 2) return false;
    if (n->op == &op_matmul_def && n->in[0]->shape.rank != 2) return false;
    sides s = sides_of(n);
    if (s.m <= 8 && !s.turn_a) return false; // matmul.rows reads the matrix once
    if ((s.turn_a && s.m % 8) || s.n % 8 || s.k % 8 || small_parts(s.k) > SMALL_PARTS) return false;
    return (double)s.m * (double)s.n * (double)s.k <= 1.5e8 && s.m <= 1 << 20;
}

#define SMALL(op_, name_)                                                                                              \
    {                                                                                                                  \
        .op = op_, .name = name_, .level = LEVEL_SIMD, .traits = KERNEL_WAITS, .match = match, .launch = launch,       \
        .error = ERROR_SUM                                                                                             \
    }
extern "C" const kernel_def matmul_small_cuda[] = {
    SMALL(&op_matmul_def, "matmul.small"),
    SMALL(&op_linear_add_def, "linear_add.small"),
    {},
};
