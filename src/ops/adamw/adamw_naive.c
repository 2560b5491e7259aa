#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "ops/adamw/adamw.h"

#include <math.h>

#include "ops/adamw/adamw_loop.h"

const kernel_def adamw_naive[] = {
    {.op = &op_adamw_def,
     .name = "adamw.parallel",
     .level = LEVEL_PARALLEL,
     .traits = KERNEL_ROW_INVARIANT,
     .match = adamw_match,
     .launch = adamw_launch,
     .error = ERROR_POINTWISE},
    {.op = &op_adamw_def,
     .name = "adamw.naive",
     .level = LEVEL_NAIVE,
     .traits = KERNEL_ROW_INVARIANT,
     .match = adamw_match,
     .launch = adamw_launch,
     .error = ERROR_POINTWISE},
    {0},
};
