/* Attributes of matmul, and how its kernels see a node: a batch of (M, K) x (K, N). */
#ifndef OPS_MATMUL_MATMUL_H
#define OPS_MATMUL_MATMUL_H

#include "graph/kernel.h"
#include "ops/table.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct matmul_attrs {
    int64_t trans_a, trans_b; /* a is (..., K, M), b is (..., N, K) */
    int64_t wide;             /* of 16-bit a and b: c and y are float32 */
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

/* What kernels of matmul that pack their operands declare alike, beside a `scratch` and a `launch` of their own. */
#define MATMUL_PACKING_KERNEL                                                                                          \
    .op = &op_matmul_def, .wants = {STORAGE_STRIDED, STORAGE_STRIDED}, .scratch = scratch, .launch = launch,           \
    .error = ERROR_SUM, .traits = KERNEL_ROW_INVARIANT

/* The product of 16-bit x and y in float32, as gradients of weights want it. */
value *matmul_wide(build *b, value *x, value *y, value *c, int64_t trans_x, int64_t trans_y);

#ifdef __cplusplus
}
#endif

#endif
