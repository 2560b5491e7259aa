/* The same loops, vectorised over channels. */
#include "kit/cpu/cpu.h"
#include "ops/windows/windows.h"

#define REAL float
#include "ops/windows/windows_loop.h"

const kernel_def ISA_NAME(windows_cpu)[] = {
    {.op = &op_windows_def,
     .name = "windows.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = windows_launch},
    {.op = &op_windows_add_def,
     .name = "windows_add.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = windows_add_launch,
     .error = ERROR_SUM},
    {0},
};
