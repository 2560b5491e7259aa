/* Rung simd: register tiles over packed panels (Goto & van de Geijn 2008).
 *
 * Idea: a tile of MR x NR results stays in registers while k runs; each step loads NR of b and MR of a and does MR * NR
 * multiply-adds, so a tile of 12 x 32 does 384 for 44 numbers loaded, and the units for multiply-adds, two a cycle, never
 * wait for the two for loads. A panel of b (KC rows, NR columns) is packed right before its use and stays in the first
 * cache while all panels of a (MR rows each, in the second cache) come by. Each thread packs for itself: no barrier but
 * the end. Where little would be computed from it, a or b is read where it lies (matmul_panels.h).
 *
 * An element's sum runs over k in blocks of at most KC, in order: it does not depend on the number of rows or threads.
 * Expertise 6, effort 300 lines.
 */
#include <math.h>

typedef float real;
#define REAL_BYTES 4
#include "ops/matmul/matmul_panels.h"

const kernel_def ISA_NAME(matmul_cpu)[] = {
    {MATMUL_PACKING_KERNEL, .name = "matmul.simd", .level = LEVEL_SIMD},
    {0},
};
