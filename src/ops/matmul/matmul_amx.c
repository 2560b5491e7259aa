/* Rung amx: the processor multiplies tiles itself.
 *
 * Idea: eight tile registers of 16 rows x 64 bytes. tdpbf16ps multiplies 16 rows of 16 pairs with 16 pairs of 16 columns into
 * 16 x 16 float32 sums: 16,384 FLOPs in one instruction, sixteen times what the widest vector does, from 2 KB. A tile of
 * 32 x 32 results takes four of them and two loads from each side for every 32 of k:
 *
 *     tiles    0 1    +=    4    x    6 7          a's rows are loaded where they lie, b's pairs from the packed panel
 *              2 3          5
 *
 * The system gives tiles out on request only (arch_prctl), each thread says how large its tiles are. Blocks and threads:
 * matmul_bf16_blocks.h.
 * Expertise 8, effort 110 lines on top of those, 80 hours.
 */
#include "kit/cpu/bf16_tiles.h"
#include "ops/matmul/matmul.h"

#if defined(__AMX_BF16__)

enum { TILE_ROWS = 32, STEP = 32, HALF = 16 };

/* What ldtilecfg reads. */
typedef struct tile_sizes {
    uint8_t palette, start, zero[14];
    uint16_t bytes[16]; /* of a row */
    uint8_t rows[16];
} tile_sizes;

/* Tiles for so many rows of a; sums are zero afterwards. */
static void set_tiles(int64_t height)
{
    tile_sizes sizes = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        bool later = i == 2 || i == 3 || i == 5; /* rows from 16 on */
        sizes.bytes[i] = 64;
        sizes.rows[i] = i >= 6 ? HALF : (uint8_t)(later ? MAX(height - HALF, 1) : MIN(height, HALF));
    }
    _tile_loadconfig(&sizes);
}

static void tiles_begin(void)
{
    set_tiles(TILE_ROWS);
}

static void tiles_end(void)
{
    _tile_release();
}

/* 32 of k: a's rows a_bytes apart, b's 16 rows of pairs as a panel has them. */
static inline void multiply(bool tall, const bf16 *a, int64_t a_row, const bf16 *b)
{
    _tile_loadd(4, a, (size_t)a_row * sizeof *a);
    if (tall) _tile_loadd(5, a + HALF * a_row, (size_t)a_row * sizeof *a);
    _tile_loadd(6, b, 2 * BF16_COLUMNS * sizeof *b);
    _tile_loadd(7, b + BF16_COLUMNS, 2 * BF16_COLUMNS * sizeof *b);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (!tall) return;
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

/* What is left of k, between zeros. */
static void multiply_rest(int64_t height, int64_t depth, const bf16 *a, int64_t a_row, const bf16 *b)
{
    bf16 rows[TILE_ROWS * STEP] __attribute__((aligned(64))) = {0};
    bf16 pairs[STEP * BF16_COLUMNS] __attribute__((aligned(64))) = {0};
    for (int64_t i = 0; i < height; i++) memcpy(rows + i * STEP, a + i * a_row, (size_t)depth * sizeof *a);
    memcpy(pairs, b, (size_t)(bf16_round_up(depth, 2) * BF16_COLUMNS) * sizeof *b);
    multiply(height > HALF, rows, STEP, pairs);
}

static void tile_direct(int64_t height, int64_t depth, const bf16 *a, int64_t a_row, const bf16 *b,
                        const bf16_target *to)
{
    float sums[TILE_ROWS * BF16_COLUMNS] __attribute__((aligned(64)));
    bool tall = height > HALF;
    if (height < TILE_ROWS) set_tiles(height); /* rows beyond are not read */
    _tile_zero(0);
    _tile_zero(1);
    if (tall) _tile_zero(2);
    if (tall) _tile_zero(3);
    for (; depth >= STEP; depth -= STEP, a += STEP, b += STEP * BF16_COLUMNS) multiply(tall, a, a_row, b);
    if (depth) multiply_rest(height, depth, a, a_row, b);
    const size_t row = BF16_COLUMNS * sizeof *sums;
    _tile_stored(0, sums, row);
    _tile_stored(1, sums + HALF, row);
    if (tall) _tile_stored(2, sums + HALF * BF16_COLUMNS, row);
    if (tall) _tile_stored(3, sums + HALF * BF16_COLUMNS + HALF, row);
    if (height < TILE_ROWS) set_tiles(TILE_ROWS);
    for (int i = 0; i < height; i++) {
        const float *sum = sums + i * BF16_COLUMNS;
        bf16_finish_row(to, i, _mm512_load_ps(sum), _mm512_load_ps(sum + HALF));
    }
}

/* Rows of a, each with an even number of elements, as tiles want them. */
static void tile_pack_a(bf16 *to, const bf16 *a, int64_t a_row, int64_t a_col, int64_t depth, int64_t rows)
{
    int64_t wide = bf16_round_up(depth, 2);
    for (int64_t i = 0; i < rows; i += HALF) {
        int64_t here = MIN(HALF, rows - i);
        for (int64_t k = 0; k < depth; k += STEP) {
            int64_t rest = MIN(STEP, depth - k);
            if (a_row != 1) {
                for (int64_t r = 0; r < here; r++)
                    for (int64_t c = 0; c < rest; c++)
                        to[(i + r) * wide + k + c] = a[(i + r) * a_row + (k + c) * a_col];
                continue;
            }
            __m512i pair[HALF];
            __mmask16 these = (__mmask16)((1 << here) - 1);
            for (int64_t c = 0; c < HALF; c++) {
                const bf16 *at = a + i + (k + 2 * c) * a_col;
                __m256i even = 2 * c < rest ? _mm256_maskz_loadu_epi16(these, at) : _mm256_setzero_si256();
                __m256i odd = 2 * c + 1 < rest ? _mm256_maskz_loadu_epi16(these, at + a_col) : _mm256_setzero_si256();
                pair[c] =
                    _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
            }
            bf16_transpose(pair);
            for (int64_t r = 0; r < here; r++)
                _mm512_mask_storeu_epi16(to + (i + r) * wide + k, bf16_columns(bf16_round_up(rest, 2)), pair[r]);
        }
    }
}

#define tile_packed(height, depth, a, b, to) tile_direct(height, depth, a, bf16_round_up(depth, 2), b, to)
#include "ops/matmul/matmul_bf16_blocks.h"

static bool match(const node *n, const device_caps *caps)
{
    return caps->amx && multiplies_bf16(n);
}

const kernel_def matmul_amx[] = {
    {MATMUL_PACKING_KERNEL, .name = "matmul.amx", .level = LEVEL_AMX, .match = match},
    {0},
};
#else
extern const kernel_def matmul_amx[];
const kernel_def matmul_amx[] = {{0}};
#endif
