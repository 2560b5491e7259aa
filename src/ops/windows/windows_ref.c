#include "kit/cpu/cpu.h"
#include "ops/windows/windows.h"

#define REAL double
#include "ops/windows/windows_loop.h"

const kernel_def windows_ref[] = {
    {.op = &op_windows_def, .name = "windows.ref", .level = LEVEL_NAIVE, .match = match_f64, .launch = windows_launch},
    {.op = &op_windows_add_def,
     .name = "windows_add.ref",
     .level = LEVEL_NAIVE,
     .match = match_f64,
     .launch = windows_add_launch,
     .error = ERROR_SUM},
    {0},
};
