/* Attributes of matmul, and how its kernels see a node: a batch of (M, K) x (K, N). */
#ifndef OPS_MATMUL_MATMUL_H
#define OPS_MATMUL_MATMUL_H

#include "graph/kernel.h"
#include "ops/table.h"

typedef struct matmul_attrs {
    int64_t trans_a, trans_b; /* a is (..., K, M), b is (..., N, K) */
} matmul_attrs;

/* One product of the batch; strides in elements, so that transposes and broadcasts are nothing special. */
typedef struct matmul_shape {
    int64_t m, n, k;
    int64_t a_row, a_col, b_row, b_col; /* strides of op(a) (M, K) and op(b) (K, N) */
    int64_t batch; /* products; a (M, K) batch over one b is folded into one product of more rows */
} matmul_shape;
matmul_shape matmul_shape_of(const step *s);
/* Element offsets of product `i` of the batch in a, b; c and the result lie one after the other. */
void matmul_offsets(const step *s, int64_t i, int64_t *a, int64_t *b);

#endif
