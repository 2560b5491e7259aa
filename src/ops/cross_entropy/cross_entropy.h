#ifndef OPS_CROSS_ENTROPY_CROSS_ENTROPY_H
#define OPS_CROSS_ENTROPY_CROSS_ENTROPY_H

#include "ops/table.h"

/* cross_entropy: logits, targets -> losses, lse (optional). linear_cross_entropy: x, w, targets -> the same. */
enum { CROSS_ENTROPY_LOSSES, CROSS_ENTROPY_LSE };

#endif
