/* What the norms of rows have alike: the check of their vectors, the shape of their statistics. */
#ifndef OPS_LAYER_NORM_NORM_H
#define OPS_LAYER_NORM_NORM_H

#include "ops/table.h"

static inline shape norm_rows(shape s) /* (..., C) -> (...) */
{
    s.rank--;
    return s;
}

/* `w`, or NULL, is a vector as long as x's last dim. */
static inline status norm_check(build *b, const node *n, const value *x, const char *name, const value *w)
{
    char one[128], other[128];
    if (x->shape.rank < 1) return infer_fail(b, n, "takes at least one dim, got a scalar");
    int64_t columns = x->shape.dim[x->shape.rank - 1];
    if (w && (w->shape.rank != 1 || w->shape.dim[0] != columns))
        return infer_fail(b, n, "%s is %s, last dim of x %s is %lld", name, shape_print(one, w->shape),
                          shape_print(other, x->shape), (long long)columns);
    return INGOT_OK;
}

/* `residual`, or NULL, is what a norm's gradient adds to the gradient of x: what came past the norm. */
static inline status norm_check_residual(build *b, const node *n, const value *x, const value *residual)
{
    char one[128], other[128];
    if (residual && (!shape_equal(residual->shape, x->shape) || residual->dtype != x->dtype))
        return infer_fail(b, n, "residual is %s, x is %s", shape_print(one, residual->shape),
                          shape_print(other, x->shape));
    return INGOT_OK;
}

/* Of both gradients: inputs dy, x, w, rstd and residual. */
#define NORM_GRAD_SAMPLES                                                                                              \
    SAMPLES({.in = {S(2, 3, 5), S(2, 3, 5), S(5), S(2, 3), S(2, 3, 5)}},                                               \
            {.in = {S(1, 1), S(1, 1), S(1), S(1), NOT_GIVEN}},                                                         \
            {.in = {S(31, 33), S(31, 33), S(33), S(31), NOT_GIVEN}},                                                   \
            {.in = {S(33, 4099), S(33, 4099), S(4099), S(33), NOT_GIVEN}},                                             \
            {.in = {S(33, 4099), S(33, 4099), S(4099), S(33), S(33, 4099)}},                                           \
            {.in = {S(1030, 128), S(1030, 128), S(128), S(1030), S(1030, 128)}},                                       \
            {.in = {S(67, 640), S(67, 640), S(640), S(67), NOT_GIVEN}},                                                \
            {.in = {S(4, 768), S(4, 768), S(768), S(4), S(4, 768)}, .values = VALUES_WIDE})

#endif
