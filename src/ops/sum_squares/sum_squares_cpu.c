/* The same loop, vectorised: 64 sums side by side. */
#include "kit/cpu/cpu.h"
#include "ops/table.h"

#include "ops/sum_squares/sum_squares_loop.h"

const kernel_def ISA_NAME(sum_squares_cpu)[] = {
    {.op = &op_sum_squares_def,
     .name = "sum_squares.simd",
     .level = LEVEL_SIMD,
     .scratch = sum_squares_scratch,
     .launch = sum_squares_launch,
     .error = ERROR_SUM},
    {0},
};
