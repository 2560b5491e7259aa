/* What devices need to know of an application's op. */
#ifndef OPS_CUSTOM_CUSTOM_H
#define OPS_CUSTOM_CUSTOM_H

#include "graph/kernel.h"
#include "ingot/custom.h"

#ifdef __cplusplus
extern "C" {
#endif

/* NULL for ops that are not an application's. */
const ingot_custom_def *custom_def_of(const op_def *op);
ingot_custom_tensor custom_tensor(const tensor *t);

#ifdef __cplusplus
}
#endif
#endif
