/* A linear layer with a low-rank adapter beside it (Hu et al. 2021), in the shapes of PEFT's files. */
#include "ops/table.h"

typedef struct lora_attrs {
    double scale;
} lora_attrs;

enum { X, W, A, B };

static status infer(build *b, const node *n, inferred *out)
{
    shape x = n->in[X]->shape, w = n->in[W]->shape, down = n->in[A]->shape, up = n->in[B]->shape;
    char one[128], other[128], third[128];
    if (x.rank < 2 || w.rank != 2 || down.rank != 2 || up.rank != 2)
        return infer_fail(b, n, "takes x (..., K) and matrices w (N, K), a (r, K), b (N, r); x is %s",
                          shape_print(one, x));
    if (w.dim[1] != x.dim[x.rank - 1])
        return infer_fail(b, n, "w is %s, last dim of x is %lld", shape_print(one, w), (long long)x.dim[x.rank - 1]);
    if (down.dim[1] != w.dim[1] || up.dim[0] != w.dim[0] || up.dim[1] != down.dim[0])
        return infer_fail(b, n, "a %s and b %s do not fit w %s", shape_print(one, down), shape_print(other, up),
                          shape_print(third, w));
    for (int i = W; i <= B; i++)
        if (n->in[i]->dtype != n->in[X]->dtype)
            return infer_fail(b, n, "%s is %s, x is %s; cast one", n->op->inputs[i].name,
                              ingot_dtype_name(n->in[i]->dtype), ingot_dtype_name(n->in[X]->dtype));
    x.dim[x.rank - 1] = w.dim[0];
    out[0] = (inferred){.dtype = n->in[X]->dtype, .shape = x};
    return INGOT_OK;
}

static value *rows(build *b, value *v)
{
    return ingot_reshape(b, v, INGOT_SHAPE(-1, v->shape.dim[v->shape.rank - 1]));
}

/* What the adapter sees of x: s x a^T, (M, r). */
static value *narrow(build *b, const node *n, value *x)
{
    return ingot_mul_scalar(b, ingot_matmul_with(b, x, n->in[A], NULL, 0, 1), ATTRS_OF(lora_attrs, n)->scale);
}

static void lower(build *b, const node *n, value **out)
{
    value *x = rows(b, n->in[X]);
    value *low = ingot_matmul_with(b, narrow(b, n, x), n->in[B], NULL, 0, 1); /* (M, N) */
    value *y = ingot_matmul_with(b, x, n->in[W], low, 0, 1);
    out[0] = y ? ingot_reshape(b, y, n->out[0]->shape) : NULL;
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    value *x = rows(b, n->in[X]), *d = rows(b, dout[0]); /* (M, K), (M, N) */
    value *through = ingot_mul_scalar(b, ingot_matmul(b, d, n->in[B]), ATTRS_OF(lora_attrs, n)->scale); /* (M, r) */
    if (need[X]) {
        value *low = ingot_matmul(b, through, n->in[A]);
        din[X] = ingot_reshape(b, ingot_matmul_with(b, d, n->in[W], low, 0, 0), n->in[X]->shape);
    }
    if (need[W]) din[W] = ingot_matmul_with(b, d, x, NULL, 1, 0);
    if (need[A]) din[A] = ingot_matmul_with(b, through, x, NULL, 1, 0);
    if (need[B]) din[B] = ingot_matmul_with(b, d, narrow(b, n, x), NULL, 1, 0);
}

static op_cost cost(const node *n)
{
    double m = (double)shape_count(n->in[X]->shape) / (double)n->in[W]->shape.dim[1];
    double k = (double)n->in[W]->shape.dim[1], cols = (double)n->in[W]->shape.dim[0],
           r = (double)n->in[A]->shape.dim[0];
    op_cost c = {.flops = 2 * m * (k * cols + r * (k + cols)), .bytes = (double)value_bytes(n->out[0])};
    for (int i = 0; i < n->inputs; i++) c.bytes += (double)value_bytes(n->in[i]);
    return c;
}

#define SCALE(s)                                                                                                       \
    .attrs = &(const lora_attrs)                                                                                       \
    {                                                                                                                  \
        s                                                                                                              \
    }

const op_def op_lora_linear_def = {
    .name = "lora_linear",
    .doc = "y = x w^T + scale (x a^T) b^T: x (..., K), w (N, K), a (r, K), b (N, r), y (..., N). With w frozen its "
           "gradient "
           "is never made. Hu et al. 2021.",
    .inputs = {{"x", FLOAT}, {"w", FLOAT}, {"a", FLOAT}, {"b", FLOAT}},
    .outputs = {{"y"}},
    ATTRS(lora_attrs, ATTR(lora_attrs, scale, ATTR_F64)),
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(128, 512), S(512, 512), S(8, 512), S(512, 8)}, SCALE(2)},
          {.in = {S(2048, 768), S(768, 768), S(16, 768), S(768, 16)}, SCALE(2)}),
    SAMPLES({.in = {S(2, 3, 5), S(7, 5), S(2, 5), S(7, 2)}, SCALE(2)},
            {.in = {S(1, 1), S(1, 1), S(1, 1), S(1, 1)}, SCALE(1)},
            {.in = {S(31, 33), S(32, 33), S(8, 33), S(32, 8)}, SCALE(0.5)},
            {.in = {S(3, 65), S(130, 65), S(4, 65), S(130, 4)}, SCALE(16), .values = VALUES_WIDE},
            {.in = {S(2, 2, 33, 40), S(24, 40), S(5, 40), S(24, 5)}, SCALE(0)}),
};

ingot_value *ingot_lora_linear(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *down, ingot_value *up,
                               double scale)
{
    return APPLY(b, &op_lora_linear_def, &((lora_attrs){scale}), x, w, down, up);
}
