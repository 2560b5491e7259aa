/* What kernels of linear_gelu and linear_gelu_grad share: the way by the library, where copies cannot read its tensors. */
#ifndef OPS_LINEAR_GELU_LINEAR_GELU_CUDA_H
#define OPS_LINEAR_GELU_LINEAR_GELU_CUDA_H

#include "kit/cuda/cuda.h"
#include "ops/linear_gelu/linear_gelu.h"

#ifdef __cplusplus
extern "C" {
#endif

bool linear_gelu_by_library(const node *n, const device_caps *caps);
int64_t linear_gelu_scratch(const node *n, const device_caps *caps);
status linear_gelu_prepare(context *ctx, const step *s, const device_caps *caps, void **out);
status linear_gelu_launch(const step *s, queue *q);
/* parts (count, columns) -> sums (columns). */
void linear_gelu_add_parts(float *sums, const float *parts, int count, int columns, const queue *q);

#ifdef __cplusplus
}
#endif

#endif
