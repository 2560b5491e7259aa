/* The same loop, vectorised: seven streams, so memory is the limit. */
#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "ops/adamw/adamw.h"

#include <math.h>

#include "ops/adamw/adamw_loop.h"

const kernel_def ISA_NAME(adamw_cpu)[] = {
    {.op = &op_adamw_def,
     .name = "adamw.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .match = adamw_match,
     .launch = adamw_launch,
     .error = ERROR_POINTWISE},
    {0},
};
