#ifndef OPS_GELU_GELU_H
#define OPS_GELU_GELU_H

#include "ops/table.h"

value *gelu_grad(build *b, value *x, value *dy); /* gelu'(x) dy */

#endif
