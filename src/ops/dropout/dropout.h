#ifndef OPS_DROPOUT_DROPOUT_H
#define OPS_DROPOUT_DROPOUT_H

#include "ops/random_uniform/random_uniform.h"

typedef struct dropout_attrs {
    double p; /* representable in float32, so that every dtype compares with the same number */
    int64_t stream;
} dropout_attrs;

#endif
