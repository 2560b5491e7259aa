#include "kit/cpu/cpu.h"
#include "ops/table.h"

typedef double real;
#include "ops/argmax/argmax_loop.h"

const kernel_def argmax_ref[] = {
    {.op = &op_argmax_def, .name = "argmax.ref", .level = LEVEL_NAIVE, .match = match_f64, .launch = launch},
    {0},
};
