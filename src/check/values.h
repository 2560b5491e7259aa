/* Sample values, and tensors of a check in float64. */
#ifndef CHECK_VALUES_H
#define CHECK_VALUES_H

#include "base/rng.h"
#include "check/check.h"

/* Fills `out` with what `fill` asks for, rounded to `type`. `s` tells where rows end. */
void values_fill(double *out, shape s, dtype type, const check_fill *fill, rng *r);

#endif
