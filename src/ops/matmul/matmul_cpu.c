/* Rung simd: register tiles over packed panels (Goto & van de Geijn 2008).
 *
 * Idea: a tile of MR x NR results stays in registers while k runs; each step loads NR of b and MR of a and does MR * NR
 * multiply-adds, so a tile of 12 x 32 does 384 for 44 numbers loaded, and the units for multiply-adds, two a cycle, never
 * wait for the two for loads. A block of b (depth, block) is packed and stays in the second cache while rows of a come by,
 * MR at a time; those stay in the first while the block's panels, NR columns each, meet them.
 * a is packed too where many columns will meet it, else read where it lies; so is b where few rows will meet it. What comes
 * next is prefetched all along. Each thread packs for itself: no barrier but the end. Blocks and threads: matmul_panels.h;
 * packing: matmul_pack.h.
 *
 * An element's sum runs over k in blocks, in order: it does not depend on the number of rows or threads.
 * Expertise 6, effort 460 lines with those, 60 hours.
 */
#include <math.h>

typedef float real;
#define REAL_BYTES 4
#include "ops/matmul/matmul_simd.h"

const kernel_def ISA_NAME(matmul_cpu)[] = {
    {MATMUL_PACKING_KERNEL, .name = "matmul.simd", .level = LEVEL_SIMD},
    {0},
};
