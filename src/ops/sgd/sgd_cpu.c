/* The same loop, vectorised: memory is the limit. */
#include "kit/cpu/cpu.h"
#include "ops/sgd/sgd.h"

#include "ops/sgd/sgd_loop.h"

const kernel_def ISA_NAME(sgd_cpu)[] = {
    {.op = &op_sgd_def,
     .name = "sgd.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = sgd_launch,
     .error = ERROR_POINTWISE},
    {0},
};
