/* Rung simd in float64: the loops of matmul_cpu.c, with half as many lanes. */
#include <math.h>

typedef double real;
#define REAL_BYTES 8
#include "ops/matmul/matmul_panels.h"

const kernel_def ISA_NAME(matmul_f64_cpu)[] = {
    {.op = &op_matmul_def,
     .name = "matmul.simd.f64",
     .level = LEVEL_SIMD,
     .match = match_f64,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
