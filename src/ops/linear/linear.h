#ifndef OPS_LINEAR_LINEAR_H
#define OPS_LINEAR_LINEAR_H

#include "ops/table.h"

typedef struct linear_attrs {
    int64_t in_out; /* w is (K, N), as GPT-2's Conv1D has it, in place of (N, K) */
} linear_attrs;

enum { LINEAR_ADD_C = 3 }; /* linear_add: what the product is added to */

#endif
