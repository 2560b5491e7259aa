#ifndef OPS_LINEAR_GELU_LINEAR_GELU_H
#define OPS_LINEAR_GELU_LINEAR_GELU_H

#include "ops/linear/linear.h"

enum { LINEAR_GELU_Y, LINEAR_GELU_H };
enum { LINEAR_GELU_GRAD_DH, LINEAR_GELU_GRAD_SUMS };

#endif
