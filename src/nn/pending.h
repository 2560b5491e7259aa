/* Linear, RoPE, attention and cross-entropy out of primitives, until these ops stand in ops/. Correct and slow. */
#ifndef NN_PENDING_H
#define NN_PENDING_H
#include "ingot/ops.h"
#include "nn/nn.h"
#include <math.h>
static inline __attribute__((unused)) value *pending_linear(build *b, value *x, value *w, value *bias)
{
    value *y = ingot_matmul_with(b, x, w, NULL, 0, 1);
    return bias ? ingot_add(b, y, bias) : y;
}
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
static inline __attribute__((unused)) value *pending_rope(build *b, value *x, value *pos,
                                                          const nn_rope_options *o) /* x (N,H,D) */
{
    int64_t D = x->shape.dim[2], h = D / 2;
    value *i = ingot_iota(b, INGOT_F32, INGOT_SHAPE(h), 0);
    value *f = ingot_exp(b, ingot_mul_scalar(b, i, -log(o->theta) * 2 / (double)D));
    if (o->llama3) {
        double L = (double)o->original_context, lo = o->low_freq_factor, hi = o->high_freq_factor;
        value *wl = ingot_div(b, ingot_constant(b, 2 * 3.14159265358979, INGOT_F32, INGOT_SHAPE(h)), f);
        value *smooth = ingot_mul_scalar(
            b, ingot_add_scalar(b, ingot_div(b, ingot_constant(b, L, INGOT_F32, INGOT_SHAPE(h)), wl), -lo),
            1 / (hi - lo));
        value *slow = ingot_mul_scalar(b, f, 1 / o->factor);
        value *mid =
            ingot_add(b, ingot_mul(b, smooth, f),
                      ingot_mul(b, ingot_sub(b, ingot_constant(b, 1, INGOT_F32, INGOT_SHAPE(h)), smooth), slow));
        value *is_low = ingot_less(b, ingot_constant(b, L / lo, INGOT_F32, INGOT_SHAPE(h)), wl);
        value *is_high = ingot_less(b, wl, ingot_constant(b, L / hi, INGOT_F32, INGOT_SHAPE(h)));
        f = ingot_where(b, is_low, slow, ingot_where(b, is_high, f, mid));
    }
    value *a = ingot_mul(b, ingot_reshape(b, ingot_cast(b, pos, INGOT_F32), INGOT_SHAPE(-1, 1, 1)), f);
    value *c = ingot_cos(b, a), *s = ingot_sin(b, a);
    value *x1 = ingot_slice(b, x, 2, 0, h), *x2 = ingot_slice(b, x, 2, h, h);
    value *y[2] = {ingot_sub(b, ingot_mul(b, x1, c), ingot_mul(b, x2, s)),
                   ingot_add(b, ingot_mul(b, x2, c), ingot_mul(b, x1, s))};
    return ingot_concat(b, y, 2, 2);
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
