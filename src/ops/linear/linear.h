#ifndef OPS_LINEAR_LINEAR_H
#define OPS_LINEAR_LINEAR_H

#include "ops/table.h"

typedef struct linear_attrs {
    int64_t in_out; /* w is (K, N), as GPT-2's Conv1D has it, in place of (N, K) */
} linear_attrs;

/* Of samples. */
#define OUT_IN                                                                                                         \
    &(const linear_attrs)                                                                                              \
    {                                                                                                                  \
        0                                                                                                              \
    }
#define IN_OUT                                                                                                         \
    &(const linear_attrs)                                                                                              \
    {                                                                                                                  \
        1                                                                                                              \
    }

/* Of a linear layer, whatever it ends with: its product, and all that goes in and comes out. */
#ifdef __cplusplus
extern "C" {
#endif
op_cost linear_cost(const node *n);
#ifdef __cplusplus
}
#endif

enum { LINEAR_ADD_C = 3 }; /* linear_add: what the product is added to */

#endif
