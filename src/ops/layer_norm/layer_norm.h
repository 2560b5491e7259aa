#ifndef OPS_LAYER_NORM_LAYER_NORM_H
#define OPS_LAYER_NORM_LAYER_NORM_H

#include "ops/table.h"

typedef struct layer_norm_attrs {
    double eps;
} layer_norm_attrs;

/* layer_norm: x, w, bias (optional) -> y, rstd (optional). layer_norm_grad: dy, x, w, rstd, residual
 * (optional) -> dx, dw, dbias, sums. */
enum { LAYER_NORM_Y, LAYER_NORM_RSTD };
enum { LAYER_NORM_GRAD_DX, LAYER_NORM_GRAD_DW, LAYER_NORM_GRAD_DBIAS, LAYER_NORM_GRAD_SUMS };

#endif
