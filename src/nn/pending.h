/* Cross-entropy out of primitives, until the op stands in ops/. Correct and slow. */
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
#endif
