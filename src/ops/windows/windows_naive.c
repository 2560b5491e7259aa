#include "kit/cpu/cpu.h"
#include "ops/windows/windows.h"

#define REAL float
#include "ops/windows/windows_loop.h"

#define WINDOWS(level_, name_)                                                                                         \
    {                                                                                                                  \
        .op = &op_windows_def, .name = "windows." name_, .level = level_, .traits = KERNEL_ROW_INVARIANT,              \
        .launch = windows_launch                                                                                       \
    }
#define WINDOWS_ADD(level_, name_)                                                                                     \
    {                                                                                                                  \
        .op = &op_windows_add_def, .name = "windows_add." name_, .level = level_, .traits = KERNEL_ROW_INVARIANT,      \
        .launch = windows_add_launch, .error = ERROR_SUM                                                               \
    }
const kernel_def windows_naive[] = {
    WINDOWS(LEVEL_PARALLEL, "parallel"),
    WINDOWS(LEVEL_NAIVE, "naive"),
    WINDOWS_ADD(LEVEL_PARALLEL, "parallel"),
    WINDOWS_ADD(LEVEL_NAIVE, "naive"),
    {0},
};
