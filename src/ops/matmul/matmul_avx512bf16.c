/* Rung avx512-bf16: register tiles over pairs of bfloat16, vdpbf16ps.
 *
 * Idea: that instruction takes 16 pairs from each side and adds both products of every pair to 16 float32 sums: 64 FLOPs
 * where a float32 multiply-add does 32, from half the bytes. So k runs in pairs. b is packed in panels of 32 columns
 * (kit/cpu/bf16_tiles.h), and of a each row's pair is broadcast: a pair lies together in memory as it is when a's rows are
 * contiguous, else a is packed too. A tile of 12 x 32 needs 14 loads for 24 instructions.
 *
 * Blocks and threads: matmul_bf16_blocks.h.
 * Expertise 7, effort 425 lines with those, 60 hours.
 */
#include "kit/cpu/bf16_tiles.h"
#include "ops/matmul/matmul.h"

#if defined(__AVX512BF16__)

enum { TILE_ROWS = BF16_ROWS };
#define tile_direct                          bf16_tile_direct
#define tile_packed(height, depth, a, b, to) bf16_tile_packed(height, ((depth) + 1) / 2, a, b, to)
#define tile_pack_a                          bf16_pack_a
#define tiles_begin()                        (void)0
#define tiles_end()                          (void)0
#include "ops/matmul/matmul_bf16_blocks.h"

static bool match(const node *n, const device_caps *caps)
{
    return caps->avx512_bf16 && multiplies_bf16(n);
}

const kernel_def matmul_avx512bf16[] = {
    {MATMUL_PACKING_KERNEL, .name = "matmul.avx512-bf16", .level = LEVEL_AVX512_BF16, .match = match},
    {0},
};
#else
extern const kernel_def matmul_avx512bf16[];
const kernel_def matmul_avx512bf16[] = {{0}};
#endif
