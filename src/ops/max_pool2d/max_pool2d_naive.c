#include "kit/cpu/cpu.h"
#include "ops/windows/windows.h"

#include "ops/max_pool2d/max_pool2d_loop.h"

#define POOL(level_, name_)                                                                                            \
    {                                                                                                                  \
        .op = &op_max_pool2d_def, .name = "max_pool2d." name_, .level = level_, .traits = KERNEL_ROW_INVARIANT,        \
        .launch = pool_launch                                                                                          \
    }
#define POOL_GRAD(level_, name_)                                                                                       \
    {                                                                                                                  \
        .op = &op_max_pool2d_grad_def, .name = "max_pool2d_grad." name_, .level = level_,                              \
        .traits = KERNEL_ROW_INVARIANT, .launch = pool_grad_launch, .error = ERROR_SUM                                 \
    }
const kernel_def max_pool2d_naive[] = {
    POOL(LEVEL_PARALLEL, "parallel"),
    POOL(LEVEL_NAIVE, "naive"),
    POOL_GRAD(LEVEL_PARALLEL, "parallel"),
    POOL_GRAD(LEVEL_NAIVE, "naive"),
    {0},
};
