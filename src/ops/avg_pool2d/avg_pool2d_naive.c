#include "kit/cpu/cpu.h"
#include "ops/windows/windows.h"

#include "ops/avg_pool2d/avg_pool2d_loop.h"

#define POOL(level_, name_)                                                                                            \
    {                                                                                                                  \
        .op = &op_avg_pool2d_def, .name = "avg_pool2d." name_, .level = level_, .traits = KERNEL_ROW_INVARIANT,        \
        .launch = pool_launch, .error = ERROR_SUM                                                                      \
    }
#define POOL_GRAD(level_, name_)                                                                                       \
    {                                                                                                                  \
        .op = &op_avg_pool2d_grad_def, .name = "avg_pool2d_grad." name_, .level = level_,                              \
        .traits = KERNEL_ROW_INVARIANT, .launch = pool_grad_launch, .error = ERROR_SUM                                 \
    }
const kernel_def avg_pool2d_naive[] = {
    POOL(LEVEL_PARALLEL, "parallel"),
    POOL(LEVEL_NAIVE, "naive"),
    POOL_GRAD(LEVEL_PARALLEL, "parallel"),
    POOL_GRAD(LEVEL_NAIVE, "naive"),
    {0},
};
