/* Tiles of bfloat16 products for files named *_avx512bf16.c: what products and attention are made of.
 *
 * b is packed in panels of BF16_COLUMNS columns, pairs of k side by side, one panel behind the other:
 *
 *     panel: (k 0, k 1) of column 0, of column 1, .. of column 31; (k 2, k 3) of column 0, ...
 *
 * with zeros where k is odd and beyond the columns. a's pairs are read where they lie, k along memory, or packed likewise,
 * BF16_ROWS rows at a time. A tile sums up to 12 x 32 elements in registers and hands them to a bf16_target.
 */
#ifndef KIT_CPU_BF16_TILES_H
#define KIT_CPU_BF16_TILES_H

#include "kit/cpu/cpu.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#include <string.h>

enum { BF16_ROWS = 12, BF16_COLUMNS = 32 };

typedef uint16_t bf16;

/* What becomes of a tile's sums. */
typedef struct bf16_target {
    const float *add; /* float32 addend: c, y or scratch; NULL: none */
    const bf16 *add_narrow;
    float *y; /* float32 result, or: */
    bf16 *narrow;
    int64_t add_row, y_row; /* elements */
    __mmask32 columns;
} bf16_target;

static inline int64_t bf16_round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static inline __mmask32 bf16_columns(int64_t columns)
{
    return columns >= BF16_COLUMNS ? ~(__mmask32)0 : ((__mmask32)1 << columns) - 1;
}

/* ---- tiles ---- */

static inline __m512bh bf16_pair(const bf16 *a)
{
    int32_t both;
    memcpy(&both, a, sizeof both);
    return (__m512bh)_mm512_set1_epi32(both);
}

/* The last element of an odd k, with a zero. */
static inline __m512bh bf16_half_pair(const bf16 *a)
{
    return (__m512bh)_mm512_set1_epi32(*a);
}

static inline __m512 bf16_widened(__m256i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

static inline __attribute__((always_inline)) void bf16_finish_row(const bf16_target *t, int i, __m512 low, __m512 high)
{
    __mmask16 m0 = (__mmask16)t->columns, m1 = (__mmask16)(t->columns >> 16);
    if (t->add) {
        const float *from = t->add + i * t->add_row;
        low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(m0, from));
        high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(m1, from + 16));
    }
    if (t->add_narrow) {
        __m512i from = _mm512_maskz_loadu_epi16(t->columns, t->add_narrow + i * t->add_row);
        low = _mm512_add_ps(low, bf16_widened(_mm512_castsi512_si256(from)));
        high = _mm512_add_ps(high, bf16_widened(_mm512_extracti64x4_epi64(from, 1)));
    }
    if (t->y && t->columns == ~(__mmask32)0) { /* without a mask: Zen takes tens of cycles for a masked store */
        _mm512_storeu_ps(t->y + i * t->y_row, low);
        _mm512_storeu_ps(t->y + i * t->y_row + 16, high);
    } else if (t->y) {
        _mm512_mask_storeu_ps(t->y + i * t->y_row, m0, low);
        _mm512_mask_storeu_ps(t->y + i * t->y_row + 16, m1, high);
    } else {
        _mm512_mask_storeu_epi16(t->narrow + i * t->y_row, t->columns, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

/* rows is a constant where this is inlined. a's pair (i, k) is at a + i * a_row + k * a_pair. */
static inline __attribute__((always_inline)) void bf16_tile(const int rows, int64_t pairs, bool odd, const bf16 *a,
                                                            int64_t a_row, const int64_t a_pair, const bf16 *b,
                                                            const bf16_target *t)
{
    __m512 low[BF16_ROWS], high[BF16_ROWS];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) low[i] = high[i] = _mm512_setzero_ps();
    for (int64_t k = 0; k < pairs; k++, a += a_pair, b += 2 * BF16_COLUMNS) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + BF16_COLUMNS);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            __m512bh x = bf16_pair(a + i * a_row);
            low[i] = _mm512_dpbf16_ps(low[i], x, b0);
            high[i] = _mm512_dpbf16_ps(high[i], x, b1);
        }
    }
    if (odd) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + BF16_COLUMNS);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            __m512bh x = bf16_half_pair(a + i * a_row);
            low[i] = _mm512_dpbf16_ps(low[i], x, b0);
            high[i] = _mm512_dpbf16_ps(high[i], x, b1);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) bf16_finish_row(t, i, low[i], high[i]);
}

#define EACH_HEIGHT(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12)

static __attribute__((unused)) void bf16_tile_direct(int64_t rows, int64_t depth, const bf16 *a, int64_t a_row,
                                                     const bf16 *b, const bf16_target *t)
{
    switch (rows) {
#define HEIGHT(n)                                                                                                      \
    case n: bf16_tile(n, depth / 2, depth % 2, a, a_row, 2, b, t); break;
        EACH_HEIGHT(HEIGHT)
#undef HEIGHT
    default: break;
    }
}

static __attribute__((unused)) void bf16_tile_packed(int64_t rows, int64_t pairs, const bf16 *a, const bf16 *b,
                                                     const bf16_target *t)
{
    switch (rows) {
#define HEIGHT(n)                                                                                                      \
    case n: bf16_tile(n, pairs, false, a, 2, 2 * BF16_ROWS, b, t); break;
        EACH_HEIGHT(HEIGHT)
#undef HEIGHT
    default: break;
    }
}

/* ---- packing ---- */

/* Columns along memory: two rows are interleaved, along the whole block, since memory likes long runs. */
static __attribute__((unused)) void bf16_pack_rows(bf16 *to, const bf16 *b, int64_t b_row, int64_t depth,
                                                   int64_t columns)
{
    /* Elements 0 .. 15 of both, in turn; those from 32 on are of the second row. */
    const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                           37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    int64_t panel = bf16_round_up(depth, 2) * BF16_COLUMNS;
    for (int64_t k = 0; k < depth; k += 2, b += 2 * b_row, to += 2 * BF16_COLUMNS) {
        for (int64_t j = 0; j < columns; j += BF16_COLUMNS) {
            __mmask32 these = bf16_columns(columns - j);
            __m512i even = _mm512_maskz_loadu_epi16(these, b + j);
            __m512i odd = k + 1 < depth ? _mm512_maskz_loadu_epi16(these, b + b_row + j) : _mm512_setzero_si512();
            bf16 *pair = to + j / BF16_COLUMNS * panel;
            _mm512_storeu_si512(pair, _mm512_permutex2var_epi16(even, first, odd));
            _mm512_storeu_si512(pair + BF16_COLUMNS, _mm512_permutex2var_epi16(even, second, odd));
        }
    }
}

/* 16 x 16 elements of 32 bits, in place. */
static inline void bf16_transpose(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

/* k along memory: pairs are whole, their 16 x 16 blocks are turned. */
static __attribute__((unused)) void bf16_pack_columns(bf16 *to, const bf16 *b, int64_t b_col, int64_t depth,
                                                      int64_t columns)
{
    int64_t panel = bf16_round_up(depth, 2) * BF16_COLUMNS;
    for (int64_t j = 0; j < bf16_round_up(columns, BF16_COLUMNS); j += 16) {
        bf16 *half = to + j / BF16_COLUMNS * panel + j % BF16_COLUMNS * 2;
        for (int64_t k = 0; k < depth; k += 32) {
            int64_t rest = MIN(32, depth - k), pairs = (rest + 1) / 2;
            __mmask32 these = bf16_columns(rest);
            __m512i r[16];
            for (int64_t i = 0; i < 16; i++)
                r[i] =
                    j + i < columns ? _mm512_maskz_loadu_epi16(these, b + (j + i) * b_col + k) : _mm512_setzero_si512();
            bf16_transpose(r);
            for (int64_t i = 0; i < pairs; i++) _mm512_storeu_si512(half + (k + 2 * i) * BF16_COLUMNS, r[i]);
        }
    }
}

/* A block of b in panels, one behind the other; zeros where k is odd and beyond the columns. */
static inline void bf16_pack_b(bf16 *to, const bf16 *b, int64_t b_row, int64_t b_col, int64_t depth, int64_t columns)
{
    if (b_col == 1) {
        bf16_pack_rows(to, b, b_row, depth, columns);
    } else if (b_row == 1) {
        bf16_pack_columns(to, b, b_col, depth, columns);
    } else {
        int64_t panel = bf16_round_up(depth, 2) * BF16_COLUMNS;
        memset(to, 0, (size_t)(bf16_round_up(columns, BF16_COLUMNS) / BF16_COLUMNS * panel) * sizeof *to);
        for (int64_t k = 0; k < depth; k++)
            for (int64_t j = 0; j < columns; j++)
                to[j / BF16_COLUMNS * panel + (k / 2 * BF16_COLUMNS + j % BF16_COLUMNS) * 2 + k % 2] =
                    b[k * b_row + j * b_col];
    }
}

/* BF16_ROWS rows of a as pairs, BF16_ROWS pairs side by side; what lies beyond the rows is not read. */
static inline void bf16_pack_a(bf16 *to, const bf16 *a, int64_t a_row, int64_t a_col, int64_t depth, int64_t rows)
{
    if (a_row != 1) {
        for (int64_t k = 0; k < depth; k++)
            for (int64_t i = 0; i < rows; i++) to[(k / 2 * BF16_ROWS + i) * 2 + k % 2] = a[i * a_row + k * a_col];
        for (int64_t i = 0; depth % 2 && i < rows; i++) to[(depth / 2 * BF16_ROWS + i) * 2 + 1] = 0;
        return;
    }
    __mmask16 these = (__mmask16)((1 << rows) - 1);
    for (int64_t k = 0; k < depth; k += 2, a += 2 * a_col, to += 2 * BF16_ROWS) {
        __m256i even = _mm256_maskz_loadu_epi16(these, a);
        __m256i odd = k + 1 < depth ? _mm256_maskz_loadu_epi16(these, a + a_col) : _mm256_setzero_si256();
        __m512i pairs = _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
        _mm256_storeu_si256((__m256i *)to, _mm512_castsi512_si256(pairs)); /* 24 of the 32: a masked store is slow */
        _mm_storeu_si128((__m128i *)(to + 16), _mm512_extracti32x4_epi32(pairs, 2));
    }
}

#endif
#endif
