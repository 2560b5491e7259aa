/* Products and transposes of tiles that lie in cache: the inner loops of attention and of other fused kernels.
 *
 * tile_product keeps up to 12 rows x 2 vectors of the result in registers; one operand is read element by element with any
 * strides (so that either side may be transposed for nothing), the other as vectors along its rows. Every element is one
 * chain of multiply-adds in ascending order of depth, added to what is there: its bits do not depend on how many rows or
 * columns are computed.
 */
#ifndef KIT_CPU_TILE_H
#define KIT_CPU_TILE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define TILE_BYTES 64
#define TILE_ROWS  12
#elif defined(__AVX2__)
#define TILE_BYTES 32
#define TILE_ROWS  6
#else
#define TILE_BYTES 16
#define TILE_ROWS  6
#endif
#define TILE_LANES (TILE_BYTES / 4) /* columns are a multiple of this */
#define TILE_VECS  2

typedef float tile_vec __attribute__((vector_size(TILE_BYTES), aligned(4), may_alias));

/* One operand by elements: a(i, k) = at[i * row + k * col]. */
typedef struct tile_scalars {
    const float *at;
    int64_t row, col;
} tile_scalars;

/* In full, before arrays are given registers: clang takes a count as a hint for later. */
#if defined(__clang__)
#define TILE_UNROLL _Pragma("unroll")
#else
#define TILE_UNROLL _Pragma("GCC unroll 12")
#endif
#define TILE_INLINE static inline __attribute__((always_inline))

/* `rows` and `vecs` are constants where this is inlined, so that `sum` lives in registers. */
TILE_INLINE void tile_block(const int rows, const int vecs, int64_t depth, tile_scalars a, const float *b,
                            int64_t b_row, float *c, int64_t c_row, bool add)
{
    tile_vec sum[TILE_ROWS][TILE_VECS];
    TILE_UNROLL
    for (int i = 0; i < rows; i++) {
        TILE_UNROLL
        for (int v = 0; v < vecs; v++) sum[i][v] = (tile_vec){0};
    }
    /* Rows are reached from every third: with two strides that is what address units can add. */
    const float *base[TILE_ROWS / 3];
    TILE_UNROLL
    for (int i = 0; i < rows; i += 3) base[i / 3] = a.at + i * a.row;
    for (int64_t k = 0; k < depth; k++, b += b_row) {
        tile_vec y[TILE_VECS];
        TILE_UNROLL
        for (int v = 0; v < vecs; v++) y[v] = *(const tile_vec *)(b + v * TILE_LANES);
        TILE_UNROLL
        for (int i = 0; i < rows; i++) {
            float x = base[i / 3][i % 3 * a.row];
            TILE_UNROLL
            for (int v = 0; v < vecs; v++) sum[i][v] += x * y[v];
        }
        TILE_UNROLL
        for (int i = 0; i < rows; i += 3) base[i / 3] += a.col;
    }
    TILE_UNROLL
    for (int i = 0; i < rows; i++) {
        tile_vec *to = (tile_vec *)(c + i * c_row);
        TILE_UNROLL
        for (int v = 0; v < vecs; v++) {
            if (add) sum[i][v] += to[v];
            to[v] = sum[i][v];
        }
    }
}

/* All rows of one stripe of columns. */
TILE_INLINE void tile_stripe(const int vecs, int64_t rows, int64_t depth, tile_scalars a, const float *b, int64_t b_row,
                             float *c, int64_t c_row, bool add)
{
    for (; rows >= TILE_ROWS; rows -= TILE_ROWS, a.at += TILE_ROWS * a.row, c += TILE_ROWS * c_row)
        tile_block(TILE_ROWS, vecs, depth, a, b, b_row, c, c_row, add);
#if TILE_ROWS > 6
    for (; rows >= 6; rows -= 6, a.at += 6 * a.row, c += 6 * c_row)
        tile_block(6, vecs, depth, a, b, b_row, c, c_row, add);
#endif
    switch (rows) {
    case 5: tile_block(5, vecs, depth, a, b, b_row, c, c_row, add); break;
    case 4: tile_block(4, vecs, depth, a, b, b_row, c, c_row, add); break;
    case 3: tile_block(3, vecs, depth, a, b, b_row, c, c_row, add); break;
    case 2: tile_block(2, vecs, depth, a, b, b_row, c, c_row, add); break;
    case 1: tile_block(1, vecs, depth, a, b, b_row, c, c_row, add); break;
    default: break;
    }
}

/* c (rows, columns) = a (rows, depth) b (depth, columns), or += with `add`. */
static __attribute__((noinline, unused)) void tile_product(int64_t rows, int64_t columns, int64_t depth, tile_scalars a,
                                                           const float *b, int64_t b_row, float *c, int64_t c_row,
                                                           bool add)
{
    const int64_t wide = TILE_VECS * TILE_LANES;
    for (; columns >= wide; columns -= wide, b += wide, c += wide)
        tile_stripe(TILE_VECS, rows, depth, a, b, b_row, c, c_row, add);
    for (; columns > 0; columns -= TILE_LANES, b += TILE_LANES, c += TILE_LANES)
        tile_stripe(1, rows, depth, a, b, b_row, c, c_row, add);
}

/* Rows that will be read (or written) soon. */
static inline void tile_prefetch(const float *at, int64_t row, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j += 16) __builtin_prefetch(at + i * row + j, 0, 2);
}

typedef float tile_four __attribute__((vector_size(16), aligned(4), may_alias));

/* to[j * to_row + i] = from[i * from_row + j] * scale for i < rows, j < columns. */
static __attribute__((unused)) void tile_transpose(float *to, int64_t to_row, const float *from, int64_t from_row,
                                                   int64_t rows, int64_t columns, float scale)
{
    int64_t whole_rows = rows & ~(int64_t)3, whole = columns & ~(int64_t)3;
    for (int64_t i = 0; i < whole_rows; i += 4) {
        const float *f = from + i * from_row;
        for (int64_t j = 0; j < whole; j += 4) {
            tile_four a = *(const tile_four *)(f + j), b = *(const tile_four *)(f + from_row + j);
            tile_four c = *(const tile_four *)(f + 2 * from_row + j), d = *(const tile_four *)(f + 3 * from_row + j);
            tile_four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
            tile_four AB = __builtin_shufflevector(a, b, 2, 6, 3, 7), CD = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            float *t = to + j * to_row + i;
            *(tile_four *)t = __builtin_shufflevector(ab, cd, 0, 1, 4, 5) * scale;
            *(tile_four *)(t + to_row) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7) * scale;
            *(tile_four *)(t + 2 * to_row) = __builtin_shufflevector(AB, CD, 0, 1, 4, 5) * scale;
            *(tile_four *)(t + 3 * to_row) = __builtin_shufflevector(AB, CD, 2, 3, 6, 7) * scale;
        }
        for (int64_t j = whole; j < columns; j++)
            for (int64_t r = 0; r < 4; r++) to[j * to_row + i + r] = f[r * from_row + j] * scale;
    }
    for (int64_t i = whole_rows; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[j * to_row + i] = from[i * from_row + j] * scale;
}

/* Rows of `columns` elements to rows of `padded`, the rest of which becomes 0. */
static inline void tile_copy(float *to, int64_t to_row, const float *from, int64_t from_row, int64_t rows,
                             int64_t columns, int64_t padded, float scale)
{
    for (int64_t i = 0; i < rows; i++, to += to_row, from += from_row) {
        for (int64_t j = 0; j < columns; j++) to[j] = from[j] * scale;
        for (int64_t j = columns; j < padded; j++) to[j] = 0;
    }
}

#endif
