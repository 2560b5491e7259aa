#include "kit/cpu/cpu.h"
#include "ops/table.h"

#include "ops/sum_squares/sum_squares_loop.h"

const kernel_def sum_squares_naive[] = {
    {.op = &op_sum_squares_def,
     .name = "sum_squares.parallel",
     .level = LEVEL_PARALLEL,
     .scratch = sum_squares_scratch,
     .launch = sum_squares_launch,
     .error = ERROR_SUM},
    {.op = &op_sum_squares_def,
     .name = "sum_squares.naive",
     .level = LEVEL_NAIVE,
     .scratch = sum_squares_scratch,
     .launch = sum_squares_launch,
     .error = ERROR_SUM},
    {0},
};
