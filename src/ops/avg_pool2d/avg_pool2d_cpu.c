/* The same loops, vectorised over channels. */
#include "kit/cpu/cpu.h"
#include "ops/windows/windows.h"

#include "ops/avg_pool2d/avg_pool2d_loop.h"

const kernel_def ISA_NAME(avg_pool2d_cpu)[] = {
    {.op = &op_avg_pool2d_def,
     .name = "avg_pool2d.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = pool_launch,
     .error = ERROR_SUM},
    {.op = &op_avg_pool2d_grad_def,
     .name = "avg_pool2d_grad.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = pool_grad_launch,
     .error = ERROR_SUM},
    {0},
};
