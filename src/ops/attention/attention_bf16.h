/* What attention of bfloat16 and its backward pass share, for files named *_avx512bf16.c: tensors by heads, products of tiles
 * that lie in cache, and the exponential.
 *
 * SPAN queries lie side by side in vector lanes, in halves of 32; SPAN keys come at a time. Scores are (keys, queries), so
 * that what belongs to a query (maximum, sum, lse, delta) stays in its lane, and the results of the softmax leave the
 * registers as operands of the next product: rows of queries, or pairs of keys side by side.
 */
#ifndef OPS_ATTENTION_ATTENTION_BF16_H
#define OPS_ATTENTION_ATTENTION_BF16_H

#include "kit/cpu/bf16_tiles.h"
#include "kit/cpu/tile.h"
#include "kit/cpu/vmath.h"
#include "ops/attention/attention.h"

#if defined(__AVX512BF16__)

enum { SPAN = 64, HALF = BF16_COLUMNS, LANES = 16 };

#define LOG2_E 1.44269504f

/* A tensor (B, T, heads, D) by heads. */
typedef struct heads_of {
    bf16 *data;
    int64_t batch, token, head;
} heads_of;

static inline heads_of heads_in(const tensor *t)
{
    return (heads_of){t->data, t->stride[0], t->stride[1], t->stride[2]};
}

static inline bf16 *at_token(const heads_of *v, int64_t b, int64_t t, int64_t h)
{
    return v->data + b * v->batch + t * v->token + h * v->head;
}

static inline int64_t even(int64_t n)
{
    return bf16_round_up(n, 2);
}

static inline int64_t panels(int64_t columns)
{
    return bf16_round_up(columns, BF16_COLUMNS);
}

/* Rows of one tile so that all of `rows` are even: 64 are six tiles of 11 or 10, never five and a lean one. */
static inline int64_t tile_height(int64_t rows)
{
    int64_t tiles = (rows + BF16_ROWS - 1) / BF16_ROWS;
    return (rows + tiles - 1) / tiles;
}

/* One stripe of 32 columns: c (rows, 32) = or += a (rows, depth) b. a's pairs lie along its rows; b is one panel. */
static inline void stripe(float *c, int64_t c_row, int64_t columns, const bf16 *a, int64_t a_row, const bf16 *b,
                          int64_t rows, int64_t depth, bool add)
{
    bf16_target to = {.y_row = c_row, .add_row = c_row, .columns = bf16_columns(columns)};
    for (int64_t height; rows > 0; rows -= height, a += height * a_row, c += height * c_row) {
        height = tile_height(rows);
        to.y = c;
        to.add = add ? c : NULL;
        bf16_tile_direct(height, depth, a, a_row, b, &to);
    }
}

/* The same where the pairs of one row lie `a_pair` apart, those of the next row beside them: rows of memory taken in twos
 * (interleave), read as a transposed matrix. */
static inline void stripe_across(float *c, int64_t c_row, const bf16 *a, int64_t a_pair, const bf16 *b, int64_t rows,
                                 int64_t pairs)
{
    bf16_target to = {.y_row = c_row, .add_row = c_row, .columns = ~(__mmask32)0};
    for (int64_t height; rows > 0; rows -= height, a += height * 2, c += height * c_row) {
        height = tile_height(rows);
        to.y = c;
        to.add = c;
        switch (height) {
#define HEIGHT(n)                                                                                                      \
    case n: bf16_tile(n, pairs, false, a, 2, a_pair, b, &to); break;
            EACH_HEIGHT(HEIGHT)
#undef HEIGHT
        default: break;
        }
    }
}

/* Elements of two vectors of 32 in turn: the first halves, then the second ones. */
static inline void bf16_interleave(bf16 *to, __m512i even_row, __m512i odd_row, int64_t second)
{
    const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                           37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(even_row, first, odd_row));
    _mm512_storeu_si512(to + second,
                        _mm512_permutex2var_epi16(even_row, _mm512_add_epi16(first, _mm512_set1_epi16(16)), odd_row));
}

/* rows x columns as pairs of rows, (row 2i, row 2i + 1) of column 0, of column 1, ... panels(columns) to a pair; zeros where
 * rows is odd and beyond the columns. */
static inline void interleave(bf16 *to, const bf16 *from, int64_t from_row, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i += 2, to += 2 * panels(columns))
        for (int64_t j = 0; j < columns; j += BF16_COLUMNS) {
            __mmask32 these = bf16_columns(columns - j);
            const bf16 *row = from + i * from_row + j;
            __m512i next = i + 1 < rows ? _mm512_maskz_loadu_epi16(these, row + from_row) : _mm512_setzero_si512();
            bf16_interleave(to + 2 * j, _mm512_maskz_loadu_epi16(these, row), next, BF16_COLUMNS);
        }
}

/* Rows one behind the other. */
static inline void gather_rows(bf16 *to, const bf16 *from, int64_t from_row, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++, to += columns, from += from_row)
        for (int64_t j = 0; j < columns; j += BF16_COLUMNS) {
            __mmask32 these = bf16_columns(columns - j);
            _mm512_mask_storeu_epi16(to + j, these, _mm512_maskz_loadu_epi16(these, from + j));
        }
}

/* Queries of a span in two panels by pairs of D, zeros beyond `count`. */
static inline void pack_queries(bf16 *to, const bf16 *from, int64_t from_row, int64_t count, int64_t dim)
{
    bf16_pack_columns(to, from, from_row, dim, count);
    if (count <= HALF) memset(to + HALF * even(dim), 0, (size_t)(HALF * even(dim)) * sizeof *to);
}

/* The transpose of a float32 tile (dim, SPAN), rounded, as rows of `count` queries. */
static inline void turn_and_narrow(bf16 *to, int64_t to_row, const float *from, int64_t count, int64_t dim, float *room)
{
    tile_transpose(room, panels(dim), from, SPAN, dim, count, 1);
    for (int64_t i = 0; i < count; i++)
        for (int64_t d = 0; d < dim; d += BF16_COLUMNS) {
            const float *row = room + i * panels(dim) + d;
            __m512bh narrow = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(row + LANES), _mm512_loadu_ps(row));
            _mm512_mask_storeu_epi16(to + i * to_row + d, bf16_columns(dim - d), (__m512i)narrow);
        }
}

/* 2^x for x <= 127, with 0 for all below -150; NaN stays. Exact at 0; else 1e-7, which is 1/40,000 of what bfloat16 keeps. */
static inline __m512 exp2_lanes(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(-200), x); /* the second where one is NaN */
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), r = _mm512_sub_ps(x, whole);
    __m512 p = _mm512_set1_ps(0.0013264725f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.0096715139f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.0555073358f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.240222424f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.693147004f));
    return _mm512_scalef_ps(_mm512_fmadd_ps(p, r, _mm512_set1_ps(1)), whole);
}

/* Lanes whose query sees the key: from <= key < end. */
static inline __mmask16 sees(const int32_t *from, const int32_t *end, int64_t key)
{
    __m512i k = _mm512_set1_epi32((int32_t)key);
    return _mm512_cmple_epi32_mask(_mm512_loadu_si512(from), k) & _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(end), k);
}

static inline bool bf16_attention_match(const node *n, const device_caps *caps)
{
    if (!caps->avx512_bf16) return false;
    for (int i = 0; i < n->inputs; i++) {
        if (!n->in[i] || !dtype_is_float(n->in[i]->dtype)) continue;
        if (n->in[i]->dtype != (n->op->inputs[i].wide ? INGOT_F32 : INGOT_BF16)) return false;
    }
    return true;
}

#endif
#endif
