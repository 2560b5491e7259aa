/* What the files of conv2d share. */
#ifndef OPS_CONV2D_CONV2D_H
#define OPS_CONV2D_CONV2D_H

#include "ops/windows/windows.h"

/* (O, KH, KW, C) as rows of a matrix, (O, KH KW C); all windows of x as one, (N OH OW, KH KW C). */
value *conv2d_filter_rows(build *b, value *w);
value *conv2d_window_rows(build *b, value *x, const window_attrs *a);

/* Of conv2d and its gradients alike: y (N, OH, OW, O) or its gradient, w (O, KH, KW, C) or its own. */
op_cost conv2d_cost(const node *n, const shape *y, const shape *w);

#endif
