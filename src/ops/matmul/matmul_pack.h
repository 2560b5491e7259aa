/* How rung simd packs its operands into the panels that its tile reads (matmul_tile.h). Memory is read in long runs, and asked
 * for ahead of its use: its latency is most of what packing costs. */
#ifndef OPS_MATMUL_MATMUL_PACK_H
#define OPS_MATMUL_MATMUL_PACK_H

#include "ops/matmul/matmul_tile.h"

/* 4 x 4 floats (2 x 2 doubles): to[k * to_row + i] = from[i * from_row + k]. */
INLINE void transpose_quad(real *to, int64_t to_row, const real *from, int64_t from_row)
{
    quad x[QUAD];
    UNROLL for (int i = 0; i < QUAD; i++) x[i] = *(const quad *)(from + i * from_row);
#if REAL_BYTES == 4
    quad ab = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5), cd = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
    quad AB = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7), CD = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
    *(quad *)to = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    *(quad *)(to + to_row) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    *(quad *)(to + 2 * to_row) = __builtin_shufflevector(AB, CD, 0, 1, 4, 5);
    *(quad *)(to + 3 * to_row) = __builtin_shufflevector(AB, CD, 2, 3, 6, 7);
#else
    *(quad *)to = __builtin_shufflevector(x[0], x[1], 0, 2);
    *(quad *)(to + to_row) = __builtin_shufflevector(x[0], x[1], 1, 3);
#endif
}

/* Panels of `width` rows (of a) or columns (of b), one behind the other: panel(i / width)[k * width + i % width] =
 * from[i * across + k * along], i < count, zeros beyond. */
enum { AHEAD = 12, PANELS_AT_ONCE = 8 /* fewer than the ways of a first cache: panels lie powers of two apart */ };

/* across == 1: rows of several panels together. */
INLINE void pack_runs(const int width, real *to, const real *from, int64_t along, int64_t kc, int64_t count)
{
    enum { LINE = 64 / (int)sizeof(real) };
    for (int64_t k = 0; k < kc; k++) {
        const real *row = from + k * along, *later = row + MIN((int64_t)AHEAD, kc - 1 - k) * along;
        for (int64_t i = 0; i < count; i += LINE) __builtin_prefetch(later + i);
        for (int64_t i = 0; i < count; i += width)
            memcpy(to + (i * kc + k * width), row + i, (size_t)width * sizeof(real));
    }
}

/* along == 1: blocks of QUAD x QUAD are turned, TURNED of k at a time, so that what is written stays in the first cache until
 * its lines are whole. */
enum { TURNED = 128 };

INLINE void turn_rows(const int width, real *to, const real *from, int64_t across, int64_t kc, const real *later)
{
    enum { LINE = 64 / (int)sizeof(real) };
    for (int64_t k = 0; k < kc; k += LINE) {
        UNROLL for (int r = 0; r < QUAD; r++) __builtin_prefetch(later + r * across + k);
        for (int64_t at = k; at < MIN(k + LINE, kc); at += QUAD)
            transpose_quad(to + at * width, width, from + at, across);
    }
}

INLINE void pack_turned(const int width, real *to, const real *from, int64_t across, int64_t kc, int64_t count)
{
    for (int64_t k = 0; k < kc; k += TURNED)
        for (int64_t i = 0; i < count; i += QUAD) {
            const real *row = from + i * across + k;
            const real *later = i + QUAD < count ? row + QUAD * across : k + TURNED < kc ? from + k + TURNED : row;
            turn_rows(width, to + k * width + i, row, across, MIN((int64_t)TURNED, kc - k), later);
        }
}

INLINE void pack_panels(const int width, real *to, const real *from, int64_t across, int64_t along, int64_t kc,
                        int64_t count)
{
    int64_t whole = count / width * width, i = 0;
    for (; across == 1 && i < whole; i += width * PANELS_AT_ONCE)
        pack_runs(width, to + i * kc, from + i, along, kc, MIN(whole - i, (int64_t)width * PANELS_AT_ONCE));
    for (i = across == 1 ? whole : 0; i < count; i += width) {
        int64_t high = MIN((int64_t)width, count - i), quads = along == 1 ? high / QUAD * QUAD : 0;
        int64_t turned = quads ? kc / QUAD * QUAD : 0;
        pack_turned(width, to + i * kc, from + i * across, across, turned, quads);
        for (int64_t k = 0; k < kc; k++)
            for (int64_t r = k < turned ? quads : 0; r < width; r++)
                to[i * kc + k * width + r] = r < high ? from[(i + r) * across + k * along] : 0;
    }
}

static __attribute__((noinline)) void pack_b(real *to, const real *from, int64_t across, int64_t along, int64_t kc,
                                             int64_t count)
{
    pack_panels(NR, to, from, across, along, kc, count);
}

static __attribute__((noinline)) void pack_a(real *to, const real *from, int64_t across, int64_t along, int64_t kc,
                                             int64_t count)
{
    pack_panels(MR, to, from, across, along, kc, count);
}

#endif
