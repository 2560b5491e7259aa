/* A matrix product by cuBLASLt, planned once: y (m, n) = op(a) (m, k) op(b) (k, n) (+ c), all by rows with strides.
 *
 *     product_plan *plan;
 *     TRY(product_new(ctx, caps, &(product_shape){.m = 3, .n = 5, .k = 7, .a_row = 7, .a_col = 1, ..}, &plan));
 *     product_run(plan, q, a, b, NULL, y, workspace);
 */
#ifndef KIT_CUDA_PRODUCT_H
#define KIT_CUDA_PRODUCT_H

#include "kit/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is done to the result while it is written. A bias has n elements; h is (m, n) of the result's dtype. */
typedef enum product_end {
    PRODUCT_PLAIN,
    PRODUCT_BIAS,      /* + bias */
    PRODUCT_GELU,      /* gelu(.. + bias) */
    PRODUCT_GELU_KEPT, /* the same; h is what gelu was taken of */
    PRODUCT_GELU_GRAD, /* gelu'(h) .. */
} product_end;

typedef struct product_shape {
    int64_t m, n, k;
    int64_t a_row, a_col, b_row, b_col; /* strides; one of each pair is 1 */
    int64_t y_row;                      /* 0: n. Of c as well */
    int64_t batch, a_step, b_step;      /* batch 0 or 1: one product; y and c of a batch lie one after the other */
    ingot_dtype in, out;
    bool adds; /* c is given */
    product_end end;
    ingot_dtype vector;                             /* of the bias */
    int64_t a_offset, b_offset, c_offset, y_offset; /* bytes that the pointers will be beyond a multiple of 256 */
    int64_t workspace;                              /* bytes that product_run will have */
} product_shape;

typedef struct product_plan product_plan;
status product_new(context *ctx, const struct device_caps *caps, const product_shape *p, product_plan **out);
void product_free(void *plan);
status product_run(const product_plan *plan, const queue *q, const void *a, const void *b, const void *c, void *y,
                   void *workspace);

/* The end of a kernel's prepare that keeps a plan and nothing else; product_free is its unprepare. */
status product_prepare(context *ctx, const struct device_caps *caps, const product_shape *p, void **prepared);

/* Output 0 = input 0 (..., k), its rows side by side, times input 1: (k, n), or (n, k) when turned. */
product_shape product_of_rows(const step *s, bool turned);

/* Where what the end needs lies, for the next runs: a bias (n) and h; NULL for what it does not need. */
void product_bind(product_plan *plan, const void *bias, const void *h);

/* Workspace for a product of so many operations: sums split over blocks, for large products what the library's makers
 * recommend. With room to begin at a multiple of 256. */
int64_t product_workspace(double flops);

#ifdef __cplusplus
}
#endif
#endif
