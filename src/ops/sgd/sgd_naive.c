#include "kit/cpu/cpu.h"
#include "ops/sgd/sgd.h"

#include "ops/sgd/sgd_loop.h"

const kernel_def sgd_naive[] = {
    {.op = &op_sgd_def,
     .name = "sgd.parallel",
     .level = LEVEL_PARALLEL,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = sgd_launch,
     .error = ERROR_POINTWISE},
    {.op = &op_sgd_def,
     .name = "sgd.naive",
     .level = LEVEL_NAIVE,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = sgd_launch,
     .error = ERROR_POINTWISE},
    {0},
};
