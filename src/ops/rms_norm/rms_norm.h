#ifndef OPS_RMS_NORM_RMS_NORM_H
#define OPS_RMS_NORM_RMS_NORM_H

#include "ops/table.h"

typedef struct rms_norm_attrs {
    double eps;
} rms_norm_attrs;

/* rms_norm: x, w -> y, rstd (optional). rms_norm_grad: dy, x, w, rstd, residual (optional)
 * -> dx, dw (optional). */
enum { RMS_NORM_Y, RMS_NORM_RSTD };
enum { RMS_NORM_GRAD_DX, RMS_NORM_GRAD_DW };

#endif
