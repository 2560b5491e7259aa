/* Attributes and outputs of the losses from rows, a matrix and targets. */
#ifndef OPS_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_H
#define OPS_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_H

#include "ops/cross_entropy/cross_entropy.h"

typedef struct linear_cross_entropy_attrs {
    int64_t chunk; /* rows whose logits are alive at a time, where the op is lowered */
} linear_cross_entropy_attrs;

/* Outputs after losses and lse: the gradient of the sum of all losses. */
enum { LINEAR_SUM_DX = CROSS_ENTROPY_LSE + 1, LINEAR_SUM_DW };

/* linear_cross_entropy_grad: x, w, targets, lse, dlosses -> dx, dw. */
enum { LINEAR_GRAD_DX, LINEAR_GRAD_DW };

#endif
