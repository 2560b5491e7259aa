/* The register tile and the packing of rung simd, for `real` float or double: a file defines `real`, then includes this.
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

/* Where a tile is computed from: a(i, k) = a[i * a_row + k * a_col], b(k, j) = b[k * b_row + j]; `from` is added, if any. */
typedef struct tile_job {
    int64_t kc, a_row, a_col, b_row;
    const real *a, *b, *from;
    real *y;
    int64_t y_row;
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
    for (int64_t k = 0; k < t->kc; k++, b += b_row) {
        vec y[2];
        UNROLL for (int v = 0; v < vecs; v++) y[v] = *(const vec *)(b + v * LANES);
        UNROLL for (int i = 0; i < rows; i++)
        {
            real x = base[i / 3][i % 3 * a_row];
            UNROLL for (int v = 0; v < vecs; v++) acc[i][v] += x * y[v];
        }
        UNROLL for (int i = 0; i < rows; i += 3) base[i / 3] += a_col;
    }
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < vecs; v++)
    {
        if (t->from) acc[i][v] += *(const vec *)(t->from + i * t->y_row + v * LANES);
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
            for (int64_t j = 0; j < NR; j++) edge[i * NR + j] = t->from && j < columns ? t->from[i * t->y_row + j] : 0;
        through.from = through.y = edge;
        through.y_row = NR;
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

/* ---- packing ---- */

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

/* A panel of `width` rows (of a) or columns (of b): to[k * width + i] = from[i * across + k * along], i < count, zeros
 * beyond. */
INLINE void pack_panel(const int width, real *to, const real *from, int64_t across, int64_t along, int64_t kc,
                       int64_t count)
{
    if (count == width && across == 1) {
        for (int64_t k = 0; k < kc; k++) memcpy(to + k * width, from + k * along, (size_t)width * sizeof(real));
        return;
    }
    int64_t whole = along == 1 ? kc / QUAD * QUAD : 0, quads = whole ? count / QUAD * QUAD : 0;
    for (int64_t i = 0; i < quads; i += QUAD) /* outside: rows a power of two apart would drive each other out */
        for (int64_t k = 0; k < whole; k += QUAD)
            transpose_quad(to + k * width + i, width, from + i * across + k, across);
    for (int64_t k = 0; k < kc; k++)
        for (int64_t i = k < whole ? quads : 0; i < width; i++)
            to[k * width + i] = i < count ? from[i * across + k * along] : 0;
}

/* What will be packed next comes nearer while tiles are computed: lines [first, last) of a panel as pack_panel reads it. */
static void prefetch_panel(const real *from, int64_t across, int64_t along, int64_t kc, int64_t count, int64_t first,
                           int64_t last)
{
    enum { LINE = 64 / (int)sizeof(real) };
    bool rows = across == 1;
    int64_t each = divide_up(rows ? count : kc, LINE), jump = rows ? along : across;
    for (int64_t i = first; i < last; i++)
        __builtin_prefetch(from + i / each * jump + MIN(i % each * LINE, (rows ? count : kc) - 1), 0, 2);
}

static int64_t panel_lines(int64_t across, int64_t kc, int64_t count)
{
    enum { LINE = 64 / (int)sizeof(real) };
    return across == 1 ? kc * divide_up(count, LINE) : count * divide_up(kc, LINE);
}

static __attribute__((noinline)) void pack_b(real *to, const real *from, int64_t across, int64_t along, int64_t kc,
                                             int64_t count)
{
    pack_panel(NR, to, from, across, along, kc, count);
}

static __attribute__((noinline)) void pack_a(real *to, const real *from, int64_t across, int64_t along, int64_t kc,
                                             int64_t count)
{
    pack_panel(MR, to, from, across, along, kc, count);
}

#endif
