/* The same loops, vectorised over channels. */
#include "kit/cpu/cpu.h"
#include "ops/windows/windows.h"

#include "ops/max_pool2d/max_pool2d_loop.h"

const kernel_def ISA_NAME(max_pool2d_cpu)[] = {
    {.op = &op_max_pool2d_def,
     .name = "max_pool2d.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = pool_launch},
    {.op = &op_max_pool2d_grad_def,
     .name = "max_pool2d_grad.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = pool_grad_launch,
     .error = ERROR_SUM},
    {0},
};
