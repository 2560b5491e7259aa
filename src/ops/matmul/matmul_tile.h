/* The register tile of rung simd, for `real` float or double: a file defines `real`, then includes this.
 *
 *     a: panels of MR rows, k by k          b: panels of NR columns, k by k         a tile of y (MR, NR)
 *        k=0: r0 r1 .. r11  k=1: r0 ..         k=0: c0 c1 .. c31  k=1: c0 ..          stays in 24 registers
 */
#ifndef OPS_MATMUL_MATMUL_TILE_H
#define OPS_MATMUL_MATMUL_TILE_H

#include "ops/matmul/matmul.h"

#if defined(__AVX512F__)
#define TILE_BYTES 64
enum { MR = 12 };
#elif defined(__AVX2__)
#define TILE_BYTES 32
enum { MR = 6 };
#else
#define TILE_BYTES 16
enum { MR = 4 };
#endif
enum { LANES = TILE_BYTES / (int)sizeof(real), NR = 2 * LANES, QUAD = 16 / (int)sizeof(real) };

static inline int64_t round_up(int64_t x, int64_t to)
{
    return (x + to - 1) / to * to;
}

static inline int64_t divide_up(int64_t x, int64_t by)
{
    return (x + by - 1) / by;
}

typedef real vec __attribute__((vector_size(TILE_BYTES), aligned(sizeof(real)), may_alias));
typedef real quad __attribute__((vector_size(16), aligned(sizeof(real)), may_alias));

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))

/* What will be read later comes nearer meanwhile, a line of 64 bytes at a time: `runs` of `lines`, `stride` bytes apart. */
typedef struct fetch {
    const char *at;
    int64_t stride, lines, runs, line;
} fetch;

INLINE void fetch_some(fetch *f, int64_t count)
{
    for (; count > 0 && f->runs > 0; count--) {
        __builtin_prefetch(f->at + f->line * 64, 0, 2);
        if (++f->line < f->lines) continue;
        f->line = 0;
        f->runs--;
        f->at += f->stride;
    }
}

enum { FETCH_EVERY = 8 }; /* steps of k: all at once, lines would wait for one another and the tile for them */

/* Where a tile is computed from: a(i, k) = a[i * a_row + k * a_col], b(k, j) = b[k * b_row + j]; `from` is added, if any. */
typedef struct tile_job {
    int64_t kc, a_row, a_col, b_row;
    const real *a, *b, *from;
    real *y;
    int64_t from_row, y_row;
    fetch *ahead;
    int64_t lines; /* of it, every FETCH_EVERY steps */
} tile_job;

/* `rows` and `vecs` are constants where this is inlined, so that the sums live in registers. Rows are reached from four
 * bases, which together with three strides fit the address units. */
INLINE void tile_run(const int rows, const int vecs, const tile_job *t)
{
    vec acc[MR][2];
    const real *b = t->b, *base[(MR + 2) / 3];
    int64_t a_row = t->a_row, a_col = t->a_col, b_row = t->b_row;
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < vecs; v++)
    {
        acc[i][v] = (vec){0};
        __builtin_prefetch(t->y + i * t->y_row + v * LANES, 1);
    }
    UNROLL for (int i = 0; i < rows; i += 3) base[i / 3] = t->a + i * a_row;
    for (int64_t k = 0, end; k < t->kc; k = end) {
        end = MIN(k + FETCH_EVERY, t->kc);
        fetch_some(t->ahead, t->lines);
        for (int64_t at = k; at < end; at++, b += b_row) {
            vec y[2];
            UNROLL for (int v = 0; v < vecs; v++) y[v] = *(const vec *)(b + v * LANES);
            UNROLL for (int i = 0; i < rows; i++)
            {
                real x = base[i / 3][i % 3 * a_row];
                UNROLL for (int v = 0; v < vecs; v++) acc[i][v] += x * y[v];
            }
            UNROLL for (int i = 0; i < rows; i += 3) base[i / 3] += a_col;
        }
    }
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < vecs; v++)
    {
        if (t->from) acc[i][v] += *(const vec *)(t->from + i * t->from_row + v * LANES);
        *(vec *)(t->y + i * t->y_row + v * LANES) = acc[i][v];
    }
}

#define TILE_CASE(n)                                                                                                   \
    case n: tile_run(n, vecs, t); break;
INLINE void tile_rows(int64_t rows, const int vecs, const tile_job *t)
{
    switch (rows) {
#if defined(__AVX512F__)
        TILE_CASE(11)
        TILE_CASE(10)
        TILE_CASE(9)
        TILE_CASE(8)
        TILE_CASE(7)
        TILE_CASE(6)
#endif
#if defined(__AVX2__)
        TILE_CASE(5)
        TILE_CASE(4)
#endif
        TILE_CASE(3) TILE_CASE(2) TILE_CASE(1) default : tile_run(MR, vecs, t);
        break;
    }
}
#undef TILE_CASE

/* A tile of up to MR x NR. What is not a whole vector goes through `edge` (MR, NR). */
static __attribute__((noinline)) void tile_ragged(int64_t rows, int64_t columns, const tile_job *t, real *edge)
{
    tile_job through = *t;
    int64_t whole = columns == LANES || columns == NR;
    if (!whole) {
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < NR; j++)
                edge[i * NR + j] = t->from && j < columns ? t->from[i * t->from_row + j] : 0;
        through.from = through.y = edge;
        through.from_row = through.y_row = NR;
    }
    if (columns > LANES)
        tile_rows(rows, 2, &through);
    else
        tile_rows(rows, 1, &through);
    for (int64_t i = 0; i < rows && !whole; i++)
        for (int64_t j = 0; j < columns; j++) t->y[i * t->y_row + j] = edge[i * NR + j];
}

static __attribute__((noinline)) void tile_whole(const tile_job *t)
{
    tile_run(MR, 2, t);
}

#endif
