/* Attributes of sgd. */
#ifndef OPS_SGD_SGD_H
#define OPS_SGD_SGD_H

#include "graph/kernel.h"
#include "ops/table.h"

typedef struct sgd_attrs {
    double momentum, weight_decay;
    int64_t nesterov;
} sgd_attrs;

#endif
