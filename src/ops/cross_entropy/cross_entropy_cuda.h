/* Cross-entropy of rows of logits on CUDA, for the ops that have logits of their own. */
#ifndef OPS_CROSS_ENTROPY_CROSS_ENTROPY_CUDA_H
#define OPS_CROSS_ENTROPY_CROSS_ENTROPY_CUDA_H

#include "kit/cuda/cuda.h"
#include "ops/cross_entropy/cross_entropy.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cross_entropy_rows {
    ingot_dtype dtype; /* of logits and dlogits */
    int64_t rows, columns, stride;
    int64_t padded; /* columns of dlogits from `columns` up to here become 0 */
    const void *logits;
    const int32_t *targets;
    float *losses, *lses; /* losses NULL: lses are given, for the gradient */
    const float *dlosses; /* NULL: 1 */
    void *dlogits;        /* NULL: no gradient; may be the logits */
    bool follows;         /* another launch of the same step, which makes the logits */
} cross_entropy_rows;

void cross_entropy_cuda_rows(const cross_entropy_rows *r, const queue *q);

#ifdef __cplusplus
}
#endif
#endif
