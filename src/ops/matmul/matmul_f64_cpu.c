/* Rung simd in float64: the loops of matmul_cpu.c, with half as many lanes. */
#include <math.h>

typedef double real;
#define REAL_BYTES 8
#include "ops/matmul/matmul_simd.h"

const kernel_def ISA_NAME(matmul_f64_cpu)[] = {
    {MATMUL_PACKING_KERNEL, .name = "matmul.simd.f64", .level = LEVEL_SIMD, .match = match_f64},
    {0},
};
