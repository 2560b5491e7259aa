/* Scaled dot-product attention of training: whole sequences, grouped queries, packed segments. Kernels keep no T x T
 * tensor: one number a row, lse, is enough for the gradient.
 */
#include "ops/attention/attention.h"

#include <math.h>

static status check(build *b, const node *n, int first, const value *starts)
{
    shape q = n->in[first]->shape, k = n->in[first + 1]->shape, v = n->in[first + 2]->shape;
    char one[128], other[128], third[128];
    bool fits = q.rank == 4 && k.rank == 4 && shape_equal(k, v) && q.dim[0] == k.dim[0] && q.dim[1] == k.dim[1] &&
                q.dim[3] == k.dim[3] && q.dim[2] % k.dim[2] == 0;
    if (!fits)
        return infer_fail(
            b, n, "q %s, k %s, v %s do not fit: they must be (B, T, H, D), (B, T, K, D) twice, H a multiple of K",
            shape_print(one, q), shape_print(other, k), shape_print(third, v));
    if (!starts) return INGOT_OK;
    if (starts->dtype != INGOT_I32 || starts->shape.rank != 2 || starts->shape.dim[0] != q.dim[0] ||
        starts->shape.dim[1] != q.dim[1])
        return infer_fail(b, n, "segment_start is %s%s, not int32 (B, T) of q %s", ingot_dtype_name(starts->dtype),
                          shape_print(one, starts->shape), shape_print(other, q));
    if (!ATTRS_OF(attention_attrs, n)->causal) return infer_fail(b, n, "segments take causal attention");
    return INGOT_OK;
}

static status infer(build *b, const node *n, inferred *out)
{
    TRY(check(b, n, 0, n->inputs > 3 ? n->in[3] : NULL));
    shape q = n->in[0]->shape;
    out[ATTENTION_LSE] =
        (inferred){.dtype = dtype_statistic(n->in[0]->dtype), .shape = INGOT_SHAPE(q.dim[0], q.dim[2], q.dim[1])};
    return INGOT_OK;
}

/* (B, T, H, D) -> (B, K, H/K, T, D) */
static value *by_group(build *b, value *v, int64_t kv_heads)
{
    shape s = v->shape;
    v = ingot_reshape(b, v, INGOT_SHAPE(s.dim[0], s.dim[1], kv_heads, s.dim[2] / kv_heads, s.dim[3]));
    return ingot_permute(b, v, INGOT_SHAPE(0, 2, 3, 1, 4));
}

/* The way back, summed over the group where `to` has fewer heads. */
static value *from_group(build *b, value *v, shape to)
{
    if (!v) return NULL;
    if (to.dim[2] == v->shape.dim[1]) v = ingot_sum(b, v, 2, 1);
    return ingot_reshape(b, ingot_permute(b, v, INGOT_SHAPE(0, 3, 1, 2, 4)), to);
}

/* (B, H, T) -> (B, K, H/K, T, 1) in x's dtype */
static value *statistic_by_group(build *b, value *v, int64_t kv_heads, dtype d)
{
    shape s = v->shape;
    return ingot_cast(b, ingot_reshape(b, v, INGOT_SHAPE(s.dim[0], kv_heads, s.dim[1] / kv_heads, s.dim[2], 1)), d);
}

/* 1 where a query (row) sees a key (column), (T, T) or (B, 1, 1, T, T); NULL: everywhere. */
static value *visible(build *b, const node *n, shape q, value *starts, dtype d)
{
    if (!ATTRS_OF(attention_attrs, n)->causal) return NULL;
    int64_t T = q.dim[1];
    value *query = ingot_iota(b, d, INGOT_SHAPE(T, T), 0), *key = ingot_iota(b, d, INGOT_SHAPE(T, T), 1);
    if (!starts) return ingot_less_equal(b, key, query);
    value *start = ingot_cast(b, ingot_reshape(b, starts, INGOT_SHAPE(q.dim[0], 1, 1, T, 1)), d);
    return ingot_pointwise(b, "(b <= a) * (min(c, a) <= b)", (value *const[]){query, key, start}, 3);
}

static value *scores(build *b, const node *n, value *q, value *k, value *seen)
{
    value *s = ingot_mul_scalar(b, ingot_matmul_with(b, q, k, NULL, 0, 1), ATTRS_OF(attention_attrs, n)->scale);
    return seen && s ? ingot_where(b, seen, s, ingot_constant(b, -INFINITY, s->dtype, INGOT_SCALAR)) : s;
}

static void lower(build *b, const node *n, value **out)
{
    value *q = n->in[0];
    int64_t kv_heads = n->in[1]->shape.dim[2];
    value *seen = visible(b, n, q->shape, n->inputs > 3 ? n->in[3] : NULL, q->dtype);
    value *s = scores(b, n, by_group(b, q, kv_heads), by_group(b, n->in[1], kv_heads), seen); /* (B, K, G, T, T) */
    value *max = ingot_max(b, s, -1, 1), *e = ingot_exp(b, ingot_sub(b, s, max)), *sum = ingot_sum(b, e, -1, 1);
    value *o = ingot_matmul(b, ingot_div(b, e, sum), by_group(b, n->in[2], kv_heads));
    out[ATTENTION_O] = ingot_reshape(b, ingot_permute(b, o, INGOT_SHAPE(0, 3, 1, 2, 4)), q->shape);
    if (n->out[ATTENTION_LSE]) {
        value *lse = ingot_cast(b, ingot_add(b, max, ingot_log(b, sum)), dtype_statistic(q->dtype));
        out[ATTENTION_LSE] = ingot_reshape(b, lse, n->out[ATTENTION_LSE]->shape);
    }
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (dout[ATTENTION_LSE]) {
        build_fail(b, INGOT_ERROR_UNSUPPORTED, "[attention] lse is kept for the gradient and has none itself");
        return;
    }
    value *lse = node_output(b, n, ATTENTION_LSE), *starts = n->inputs > 3 ? n->in[3] : NULL;
    value *in[] = {dout[0], n->in[0], n->in[1], n->in[2], n->out[ATTENTION_O], lse, starts};
    node *g = node_new(b, &op_attention_grad_def, in, starts ? 7 : 6, n->attrs);
    for (int i = 0; g && i < 3; i++)
        if (need[i]) din[i] = g->out[i];
}

/* Query-key pairs; segments are not known here. */
static double pairs(const node *n, shape q)
{
    double T = (double)q.dim[1];
    return (double)(q.dim[0] * q.dim[2]) * (ATTRS_OF(attention_attrs, n)->causal ? T * (T + 1) / 2 : T * T);
}

static op_cost cost(const node *n)
{
    shape q = n->in[0]->shape;
    return (op_cost){.flops = 4 * pairs(n, q) * (double)q.dim[3],
                     .bytes = 2.0 * (double)(value_bytes(n->in[0]) + value_bytes(n->in[1]))};
}

#define A(scale, causal)                                                                                               \
    &(const attention_attrs)                                                                                           \
    {                                                                                                                  \
        scale, causal                                                                                                  \
    }
const op_def op_attention_def = {
    .name = "attention",
    .doc =
        "o[t] = sum over s of softmax(scale q[t] k[s]) v[s]: q (B, T, H, D), k and v (B, T, K, D), H a multiple of K; "
        "head "
        "h reads kv head h K/H. causal: s <= t. segment_start int32 (B, T): s >= min(segment_start[t], t), for packed "
        "sequences. lse (B, H, T) is the logarithm of the sum. Vaswani et al. 2017; Ainslie et al. 2023; in tiles: Dao "
        "et al. 2022.",
    .inputs = {{"q", FLOAT}, {"k", FLOAT}, {"v", FLOAT}, {"segment_start", INTEGER, .optional = true}},
    .outputs = {{"o", .like = INPUT(0)}, {"lse", .optional = true, .no_gradient = true}},
    ATTRS(attention_attrs, ATTR(attention_attrs, scale, ATTR_F64),
          ATTR(attention_attrs, causal, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_WIDE,
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(4, 1024, 12, 64), S(4, 1024, 12, 64), S(4, 1024, 12, 64), NOT_GIVEN}, .attrs = A(0.125, 1)},
          {.in = {S(8, 128, 4, 32), S(8, 128, 2, 32), S(8, 128, 2, 32), NOT_GIVEN}, .attrs = A(0.125, 1)}),
    SAMPLES({.in = {S(2, 3, 4, 5), S(2, 3, 2, 5), S(2, 3, 2, 5), NOT_GIVEN}, .attrs = A(0.5, 1)},
            {.in = {S(2, 3, 4, 5), S(2, 3, 4, 5), S(2, 3, 4, 5), NOT_GIVEN}, .attrs = A(0.5, 0)},
            {.in = {S(1, 1, 1, 1), S(1, 1, 1, 1), S(1, 1, 1, 1), NOT_GIVEN}, .attrs = A(1, 1)},
            {.in = {S(2, 33, 3, 32), S(2, 33, 1, 32), S(2, 33, 1, 32), S(2, 33)},
             .attrs = A(0.1767766952966369, 1),
             .below = {[3] = 33},
             .sorted = {[3] = true}},
            {.in = {S(2, 128, 4, 32), S(2, 128, 2, 32), S(2, 128, 2, 32), NOT_GIVEN}, .attrs = A(0.2, 1)},
            {.in = {S(2, 91, 3, 56), S(2, 91, 1, 56), S(2, 91, 1, 56), S(2, 91)},
             .attrs = A(0.15, 1),
             .below = {[3] = 91},
             .sorted = {[3] = true}},
            {.in = {S(1, 131, 9, 64), S(1, 131, 3, 64), S(1, 131, 3, 64), NOT_GIVEN}, .attrs = A(0.125, 1)},
            {.in = {S(1, 150, 2, 128), S(1, 150, 1, 128), S(1, 150, 1, 128), S(1, 150)},
             .attrs = A(0.08838834764831845, 1),
             .below = {[3] = 150}},
            {.in = {S(1, 300, 2, 31), S(1, 300, 2, 31), S(1, 300, 2, 31), NOT_GIVEN}, .attrs = A(0.2, 1)},
            {.in = {S(1, 70, 2, 80), S(1, 70, 2, 80), S(1, 70, 2, 80), NOT_GIVEN}, .attrs = A(0.1, 0)},
            {.in = {S(1, 65, 2, 16), S(1, 65, 2, 16), S(1, 65, 2, 16), NOT_GIVEN},
             .attrs = A(0.25, 1),
             .values_of = {VALUES_TINY}},
            {.in = {S(1, 65, 2, 16), S(1, 65, 2, 16), S(1, 65, 2, 16), NOT_GIVEN},
             .attrs = A(0.25, 1),
             .values_of = {[1] = VALUES_ALL_EQUAL}},
            {.in = {S(1, 65, 2, 16), S(1, 65, 2, 16), S(1, 65, 2, 16), NOT_GIVEN},
             .attrs = A(0.25, 1),
             .values_of = {VALUES_ONE_DOMINANT, VALUES_NORMAL, VALUES_WIDE},
             .no_gradient = true},
            {.in = {S(1, 65, 2, 16), S(1, 65, 2, 16), S(1, 65, 2, 16), NOT_GIVEN},
             .attrs = A(0.25, 1),
             .values_of = {[2] = VALUES_LARGE_OFFSET},
             .no_gradient = true}),
};

ingot_value *ingot_attention(ingot_build *b, ingot_value *q, ingot_value *k, ingot_value *v, ingot_value *segment_start,
                             double scale, int causal)
{
    attention_attrs a = {scale, !!causal};
    if (segment_start) return APPLY(b, &op_attention_def, &a, q, k, v, segment_start);
    return APPLY(b, &op_attention_def, &a, q, k, v);
}

/* attention_grad */

static status grad_infer(build *b, const node *n, inferred *out)
{
    (void)out;
    char one[128], other[128];
    TRY(check(b, n, 1, n->inputs > 6 ? n->in[6] : NULL));
    shape q = n->in[1]->shape, lse = n->in[5]->shape;
    if (!shape_equal(n->in[0]->shape, q) || !shape_equal(n->in[4]->shape, q) ||
        !shape_equal(lse, INGOT_SHAPE(q.dim[0], q.dim[2], q.dim[1])))
        return infer_fail(b, n, "do is %s, q is %s", shape_print(one, n->in[0]->shape), shape_print(other, q));
    return INGOT_OK;
}

static void grad_lower(build *b, const node *n, value **out)
{
    value *q = n->in[1], *k = n->in[2], *v = n->in[3];
    int64_t kv_heads = k->shape.dim[2];
    value *seen = visible(b, n, q->shape, n->inputs > 6 ? n->in[6] : NULL, q->dtype);
    value *qg = by_group(b, q, kv_heads), *kg = by_group(b, k, kv_heads), *vg = by_group(b, v, kv_heads);
    value *dog = by_group(b, n->in[0], kv_heads), *og = by_group(b, n->in[4], kv_heads);
    value *lse = statistic_by_group(b, n->in[5], kv_heads, q->dtype);
    value *p = ingot_exp(b, ingot_sub(b, scores(b, n, qg, kg, seen), lse)); /* (B, K, G, T, T) */
    value *dp = ingot_matmul_with(b, dog, vg, NULL, 0, 1), *delta = ingot_sum(b, ingot_mul(b, dog, og), -1, 1);
    value *ds = ingot_mul_scalar(b, ingot_mul(b, p, ingot_sub(b, dp, delta)), ATTRS_OF(attention_attrs, n)->scale);
    out[ATTENTION_GRAD_DQ] = from_group(b, ingot_matmul(b, ds, kg), q->shape);
    out[ATTENTION_GRAD_DK] = from_group(b, ingot_matmul_with(b, ds, qg, NULL, 1, 0), k->shape);
    out[ATTENTION_GRAD_DV] = from_group(b, ingot_matmul_with(b, p, dog, NULL, 1, 0), v->shape);
}

static op_cost grad_cost(const node *n)
{
    shape q = n->in[1]->shape;
    return (op_cost){.flops = 10 * pairs(n, q) * (double)q.dim[3],
                     .bytes = 4.0 * (double)(value_bytes(n->in[1]) + value_bytes(n->in[2]))};
}

const op_def op_attention_grad_def = {
    .name = "attention_grad",
    .doc = "The gradient of attention: p = exp(scale q k - lse), dv = p^T do, ds = p (do v - sum(do o)), dq = scale ds "
           "k, dk = "
           "scale ds^T q; heads that share a kv head add up.",
    .inputs = {{"do", FLOAT},
               {"q", FLOAT},
               {"k", FLOAT},
               {"v", FLOAT},
               {"o", FLOAT},
               {"lse", FLOAT, .wide = true},
               {"segment_start", INTEGER, .optional = true}},
    .outputs = {{"dq", .like = INPUT(1)}, {"dk", .like = INPUT(2)}, {"dv", .like = INPUT(3)}},
    ATTRS(attention_attrs, ATTR(attention_attrs, scale, ATTR_F64),
          ATTR(attention_attrs, causal, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_WIDE | OP_INTERNAL,
    .infer = grad_infer,
    .lower = grad_lower,
    .cost = grad_cost,
    BENCH({.in = {S(4, 1024, 12, 64), S(4, 1024, 12, 64), S(4, 1024, 12, 64), S(4, 1024, 12, 64), S(4, 1024, 12, 64),
                  S(4, 12, 1024), NOT_GIVEN},
           .attrs = A(0.125, 1)},
          {.in = {S(8, 128, 4, 32), S(8, 128, 4, 32), S(8, 128, 2, 32), S(8, 128, 2, 32), S(8, 128, 4, 32),
                  S(8, 4, 128), NOT_GIVEN},
           .attrs = A(0.125, 1)}),
    SAMPLES({.in = {S(2, 3, 4, 5), S(2, 3, 4, 5), S(2, 3, 2, 5), S(2, 3, 2, 5), S(2, 3, 4, 5), S(2, 4, 3), NOT_GIVEN},
             .attrs = A(0.5, 1),
             .no_gradient = true},
            {.in = {S(1, 1, 1, 1), S(1, 1, 1, 1), S(1, 1, 1, 1), S(1, 1, 1, 1), S(1, 1, 1, 1), S(1, 1, 1), NOT_GIVEN},
             .attrs = A(0.5, 0),
             .no_gradient = true},
            {.in = {S(1, 131, 3, 32), S(1, 131, 3, 32), S(1, 131, 1, 32), S(1, 131, 1, 32), S(1, 131, 3, 32),
                    S(1, 3, 131), S(1, 131)},
             .attrs = A(0.1, 1),
             .below = {[6] = 131},
             .sorted = {[6] = true},
             .no_gradient = true},
            {.in = {S(1, 70, 2, 31), S(1, 70, 2, 31), S(1, 70, 2, 31), S(1, 70, 2, 31), S(1, 70, 2, 31), S(1, 2, 70),
                    NOT_GIVEN},
             .attrs = A(0.1, 0),
             .no_gradient = true},
            {.in = {S(1, 140, 2, 64), S(1, 140, 2, 64), S(1, 140, 1, 64), S(1, 140, 1, 64), S(1, 140, 2, 64),
                    S(1, 2, 140), NOT_GIVEN},
             .attrs = A(0.05, 1),
             .no_gradient = true},
            {.in = {S(1, 140, 1, 128), S(1, 140, 1, 128), S(1, 140, 1, 128), S(1, 140, 1, 128), S(1, 140, 1, 128),
                    S(1, 1, 140), S(1, 140)},
             .attrs = A(0.03, 1),
             .below = {[6] = 140},
             .sorted = {[6] = true},
             .no_gradient = true},
            {.in = {S(1, 130, 2, 80), S(1, 130, 2, 80), S(1, 130, 2, 80), S(1, 130, 2, 80), S(1, 130, 2, 80),
                    S(1, 2, 130), NOT_GIVEN},
             .attrs = A(0.05, 0),
             .no_gradient = true},
            {.in = {S(2, 128, 4, 32), S(2, 128, 4, 32), S(2, 128, 2, 32), S(2, 128, 2, 32), S(2, 128, 4, 32),
                    S(2, 4, 128), NOT_GIVEN},
             .attrs = A(0.05, 1),
             .no_gradient = true},
            {.in = {S(2, 91, 3, 56), S(2, 91, 3, 56), S(2, 91, 1, 56), S(2, 91, 1, 56), S(2, 91, 3, 56), S(2, 3, 91),
                    S(2, 91)},
             .attrs = A(0.05, 1),
             .below = {[6] = 91},
             .sorted = {[6] = true},
             .no_gradient = true},
            {.in = {S(1, 100, 2, 24), S(1, 100, 2, 24), S(1, 100, 2, 24), S(1, 100, 2, 24), S(1, 100, 2, 24),
                    S(1, 2, 100), NOT_GIVEN},
             .attrs = A(0.05, 0),
             .no_gradient = true},
            {.in = {S(1, 280, 2, 128), S(1, 280, 2, 128), S(1, 280, 1, 128), S(1, 280, 1, 128), S(1, 280, 2, 128),
                    S(1, 2, 280), S(1, 280)},
             .attrs = A(0.02, 1),
             .below = {[6] = 280},
             .sorted = {[6] = true},
             .no_gradient = true},
            {.in = {S(1, 200, 2, 80), S(1, 200, 2, 80), S(1, 200, 2, 80), S(1, 200, 2, 80), S(1, 200, 2, 80),
                    S(1, 2, 200), NOT_GIVEN},
             .attrs = A(0.05, 0),
             .no_gradient = true},
            {.in = {S(1, 65, 2, 33), S(1, 65, 2, 33), S(1, 65, 2, 33), S(1, 65, 2, 33), S(1, 65, 2, 33), S(1, 2, 65),
                    NOT_GIVEN},
             .attrs = A(0.1, 1),
             .values_of = {VALUES_WIDE, [2] = VALUES_TINY},
             .no_gradient = true}),
};
