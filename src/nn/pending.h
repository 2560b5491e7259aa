/* Attention and cross-entropy out of primitives, until these ops stand in ops/. Correct and slow. */
#ifndef NN_PENDING_H
#define NN_PENDING_H
#include "ingot/ops.h"
#include "nn/nn.h"
#include <math.h>
static inline __attribute__((unused)) value *pending_cross_entropy(build *b, value *x, value *t)
{
    value *m = ingot_max(b, x, -1, 1);
    value *e = ingot_sub(b, x, m);
    value *lse = ingot_log(b, ingot_sum(b, ingot_exp(b, e), -1, 1));
    value *lp = ingot_sub(b, e, lse);
    value *id = ingot_iota(b, INGOT_F32, ingot_shape_get(x), 1);
    value *hot = ingot_equal(b, id, ingot_reshape(b, ingot_cast(b, t, INGOT_F32), INGOT_SHAPE(-1, 1)));
    return ingot_neg(b, ingot_sum(b, ingot_mul(b, hot, lp), -1, 0));
}
/* q (B,T,H,D), k v (B,T,K,D) */
static inline __attribute__((unused)) value *pending_attention(build *b, value *q, value *k, value *v, value *start)
{
    int64_t B = q->shape.dim[0], T = q->shape.dim[1], H = q->shape.dim[2], D = q->shape.dim[3], K = k->shape.dim[2],
            G = H / K;
    q = ingot_permute(b, ingot_reshape(b, q, INGOT_SHAPE(B, T, K, G, D)), INGOT_SHAPE(0, 2, 3, 1, 4)); /* B K G T D */
    k = ingot_reshape(b, ingot_permute(b, k, INGOT_SHAPE(0, 2, 1, 3)), INGOT_SHAPE(B, K, 1, T, D));
    v = ingot_reshape(b, ingot_permute(b, v, INGOT_SHAPE(0, 2, 1, 3)), INGOT_SHAPE(B, K, 1, T, D));
    value *s = ingot_mul_scalar(b, ingot_matmul_with(b, q, k, NULL, 0, 1), 1 / sqrt((double)D));
    value *i = ingot_iota(b, INGOT_F32, INGOT_SHAPE(T, T), 0), *j = ingot_iota(b, INGOT_F32, INGOT_SHAPE(T, T), 1);
    value *ok = ingot_less_equal(b, j, i);
    if (start) {
        value *st = ingot_reshape(b, ingot_cast(b, start, INGOT_F32), INGOT_SHAPE(B, 1, 1, T, 1));
        ok = ingot_mul(b, ok, ingot_less_equal(b, st, j));
    }
    s = ingot_where(b, ok, s, ingot_constant(b, -1e30, INGOT_F32, INGOT_SCALAR));
    value *e = ingot_exp(b, ingot_sub(b, s, ingot_max(b, s, -1, 1)));
    e = ingot_div(b, e, ingot_sum(b, e, -1, 1));
    return ingot_permute(b, ingot_matmul(b, e, v), INGOT_SHAPE(0, 3, 1, 2, 4));
}
#endif
