#include "kit/cpu/cpu.h"
#include "ops/table.h"

typedef float real;
#include "ops/argmax/argmax_loop.h"

const kernel_def argmax_naive[] = {
    {.op = &op_argmax_def,
     .name = "argmax.parallel",
     .level = LEVEL_PARALLEL,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = launch},
    {.op = &op_argmax_def,
     .name = "argmax.naive",
     .level = LEVEL_NAIVE,
     .traits = KERNEL_ROW_INVARIANT,
     .launch = launch},
    {0},
};
