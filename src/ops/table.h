/* The built-in ops by name: op_add_def, op_matmul_def, ... one for each line of ops.def. */
#ifndef OPS_TABLE_H
#define OPS_TABLE_H

#include "graph/op.h"
#include "ingot/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

#define OP(name) extern const op_def op_##name##_def;
#include "ops/ops.def"
#undef OP

#ifdef __cplusplus
}
#endif

#endif
