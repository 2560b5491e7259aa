/* The numbers of products as a stage: operand 0 is x, operands STAGE_INPUTS + j the results, number[j] their rows. */
#ifndef OPS_MATMUL_PRODUCTS_STAGE_CUDA_H
#define OPS_MATMUL_PRODUCTS_STAGE_CUDA_H

#include "kit/cuda/stage.h"

enum {
    PRODUCTS_MATRICES = STAGE_SIDE_BY_SIDE,
    PRODUCTS_COPY, /* where in shared memory x is brought, if it is not there */
    PRODUCTS_SHIFT /* of a row's pieces: stage_weights */
};

#endif
