/* Rung avx512-bf16: register tiles over pairs of bfloat16, vdpbf16ps.
 *
 * Idea: that instruction takes 16 pairs from each side and adds both products of every pair to 16 float32 sums: 64 FLOPs
 * where a float32 multiply-add does 32, from half the bytes. So k runs in pairs. b is packed in panels of NR columns,
 *
 *     panel: (k 0, k 1) of column 0, of column 1, .. of column 31; (k 2, k 3) of column 0, ...
 *
 * and of a each row's pair is broadcast: a pair lies together in memory as it is when a's rows are contiguous, else a is
 * packed too, MR rows at a time. A tile of 12 x 32 needs 14 loads for 24 instructions. Sums stay in registers for the whole
 * of k up to DEEP, beyond it in float32 scratch, and are rounded to bfloat16 once.
 *
 * A block of b, at most BLOCK bytes, stays in the second cache while all rows of a come by; what is packed of a, at most
 * PACKED bytes, serves all blocks of b. Each thread packs for itself.
 * An element's sum runs over k in order, whatever the number of rows or threads.
 * Expertise 7, effort 300 lines.
 */
#include "kit/cpu/cpu.h"
#include "ops/matmul/matmul.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>

enum { MR = 12, NR = 32, DEEP = 4096, DEPTH = 2048, BLOCK = 384 << 10, MOST_SUMS = 512, PACKED = 3 << 19 };

typedef uint16_t bf16;

/* How a product is cut. Pieces are row_pieces x column_pieces for each product of the batch. */
typedef struct grid {
    const step *step;
    matmul_shape shape;
    int64_t depth, block;            /* k and columns of a packed block of b; depth is even */
    int64_t sum_rows;                /* rows whose sums are kept in scratch at once; 0: none */
    int64_t packed_rows;             /* rows of a that are packed at once; 0: a's pairs are read where they lie */
    int64_t a_bytes, b_bytes, bytes; /* of one worker's scratch */
    int64_t row_pieces, column_pieces, rows, columns;
} grid;

/* What becomes of a tile's sums. */
typedef struct target {
    const float *add; /* float32 addend: c, y or scratch; NULL: none */
    const bf16 *add_narrow;
    float *y; /* float32 result, or: */
    bf16 *narrow;
    int64_t add_row, y_row; /* elements */
    __mmask32 columns;
} target;

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static __mmask32 first_columns(int64_t columns)
{
    return columns >= NR ? ~(__mmask32)0 : ((__mmask32)1 << columns) - 1;
}

/* ---- tiles ---- */

static inline __m512bh pair_of(const bf16 *a)
{
    int32_t both;
    memcpy(&both, a, sizeof both);
    return (__m512bh)_mm512_set1_epi32(both);
}

/* The last element of an odd k, with a zero. */
static inline __m512bh half_pair_of(const bf16 *a)
{
    return (__m512bh)_mm512_set1_epi32(*a);
}

static inline __m512 widened(__m256i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

static inline __attribute__((always_inline)) void finish_row(const target *t, int i, __m512 low, __m512 high)
{
    __mmask16 m0 = (__mmask16)t->columns, m1 = (__mmask16)(t->columns >> 16);
    if (t->add) {
        const float *from = t->add + i * t->add_row;
        low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(m0, from));
        high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(m1, from + 16));
    }
    if (t->add_narrow) {
        __m512i from = _mm512_maskz_loadu_epi16(t->columns, t->add_narrow + i * t->add_row);
        low = _mm512_add_ps(low, widened(_mm512_castsi512_si256(from)));
        high = _mm512_add_ps(high, widened(_mm512_extracti64x4_epi64(from, 1)));
    }
    if (t->y) {
        _mm512_mask_storeu_ps(t->y + i * t->y_row, m0, low);
        _mm512_mask_storeu_ps(t->y + i * t->y_row + 16, m1, high);
    } else {
        _mm512_mask_storeu_epi16(t->narrow + i * t->y_row, t->columns, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

/* rows is a constant where this is inlined. a's pair (i, k) is at a + i * a_row + k * a_pair. */
static inline __attribute__((always_inline)) void tile(const int rows, int64_t pairs, bool odd, const bf16 *a,
                                                       int64_t a_row, const int64_t a_pair, const bf16 *b,
                                                       const target *t)
{
    __m512 low[MR], high[MR];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) low[i] = high[i] = _mm512_setzero_ps();
    for (int64_t k = 0; k < pairs; k++, a += a_pair, b += 2 * NR) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + NR);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            __m512bh x = pair_of(a + i * a_row);
            low[i] = _mm512_dpbf16_ps(low[i], x, b0);
            high[i] = _mm512_dpbf16_ps(high[i], x, b1);
        }
    }
    if (odd) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + NR);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            __m512bh x = half_pair_of(a + i * a_row);
            low[i] = _mm512_dpbf16_ps(low[i], x, b0);
            high[i] = _mm512_dpbf16_ps(high[i], x, b1);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) finish_row(t, i, low[i], high[i]);
}

#define EACH_HEIGHT(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12)

static void tile_direct(int64_t rows, int64_t depth, const bf16 *a, int64_t a_row, const bf16 *b, const target *t)
{
    switch (rows) {
#define HEIGHT(n)                                                                                                      \
    case n: tile(n, depth / 2, depth % 2, a, a_row, 2, b, t); break;
        EACH_HEIGHT(HEIGHT)
#undef HEIGHT
    default: break;
    }
}

static void tile_packed(int64_t rows, int64_t pairs, const bf16 *a, const bf16 *b, const target *t)
{
    switch (rows) {
#define HEIGHT(n)                                                                                                      \
    case n: tile(n, pairs, false, a, 2, 2 * MR, b, t); break;
        EACH_HEIGHT(HEIGHT)
#undef HEIGHT
    default: break;
    }
}

/* ---- packing ---- */

/* Columns along memory: two rows are interleaved, along the whole block, since memory likes long runs. */
static void pack_rows(bf16 *to, const bf16 *b, int64_t b_row, int64_t depth, int64_t columns)
{
    /* Elements 0 .. 15 of both, in turn; those from 32 on are of the second row. */
    const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                           37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    int64_t panel = round_up(depth, 2) * NR;
    for (int64_t k = 0; k < depth; k += 2, b += 2 * b_row, to += 2 * NR) {
        for (int64_t j = 0; j < columns; j += NR) {
            __mmask32 these = first_columns(columns - j);
            __m512i even = _mm512_maskz_loadu_epi16(these, b + j);
            __m512i odd = k + 1 < depth ? _mm512_maskz_loadu_epi16(these, b + b_row + j) : _mm512_setzero_si512();
            bf16 *pair = to + j / NR * panel;
            _mm512_storeu_si512(pair, _mm512_permutex2var_epi16(even, first, odd));
            _mm512_storeu_si512(pair + NR, _mm512_permutex2var_epi16(even, second, odd));
        }
    }
}

/* 16 x 16 elements of 32 bits, in place. */
static inline void transpose_pairs(__m512i r[16])
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
static void pack_columns(bf16 *to, const bf16 *b, int64_t b_col, int64_t depth, int64_t columns)
{
    int64_t panel = round_up(depth, 2) * NR;
    for (int64_t j = 0; j < round_up(columns, NR); j += 16) {
        bf16 *half = to + j / NR * panel + j % NR * 2;
        for (int64_t k = 0; k < depth; k += 32) {
            int64_t rest = MIN(32, depth - k), pairs = (rest + 1) / 2;
            __mmask32 these = first_columns(rest);
            __m512i r[16];
            for (int64_t i = 0; i < 16; i++)
                r[i] =
                    j + i < columns ? _mm512_maskz_loadu_epi16(these, b + (j + i) * b_col + k) : _mm512_setzero_si512();
            transpose_pairs(r);
            for (int64_t i = 0; i < pairs; i++) _mm512_storeu_si512(half + (k + 2 * i) * NR, r[i]);
        }
    }
}

/* A block of b in panels, one behind the other; zeros where k is odd and beyond the columns. */
static void pack_block(bf16 *to, const bf16 *b, const matmul_shape *s, int64_t depth, int64_t columns)
{
    if (s->b_col == 1) {
        pack_rows(to, b, s->b_row, depth, columns);
    } else if (s->b_row == 1) {
        pack_columns(to, b, s->b_col, depth, columns);
    } else {
        int64_t panel = round_up(depth, 2) * NR;
        memset(to, 0, (size_t)(round_up(columns, NR) / NR * panel) * sizeof *to);
        for (int64_t k = 0; k < depth; k++)
            for (int64_t j = 0; j < columns; j++)
                to[j / NR * panel + (k / 2 * NR + j % NR) * 2 + k % 2] = b[k * s->b_row + j * s->b_col];
    }
}

/* MR rows of a as pairs, MR pairs side by side; what lies beyond the rows is not read. */
static void pack_a(bf16 *to, const bf16 *a, const matmul_shape *s, int64_t depth, int64_t rows)
{
    if (s->a_row != 1) {
        for (int64_t k = 0; k < depth; k++)
            for (int64_t i = 0; i < rows; i++) to[(k / 2 * MR + i) * 2 + k % 2] = a[i * s->a_row + k * s->a_col];
        for (int64_t i = 0; depth % 2 && i < rows; i++) to[(depth / 2 * MR + i) * 2 + 1] = 0;
        return;
    }
    __mmask16 these = (__mmask16)((1 << rows) - 1);
    __mmask32 written = (1 << 2 * MR) - 1;
    for (int64_t k = 0; k < depth; k += 2, a += 2 * s->a_col, to += 2 * MR) {
        __m256i even = _mm256_maskz_loadu_epi16(these, a);
        __m256i odd = k + 1 < depth ? _mm256_maskz_loadu_epi16(these, a + s->a_col) : _mm256_setzero_si256();
        __m512i pairs = _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
        _mm512_mask_storeu_epi16(to, written, pairs);
    }
}

/* ---- blocks ---- */

/* Of one product: where its matrices lie. */
typedef struct product {
    const grid *grid;
    const bf16 *a, *b;
    const void *c; /* in y's dtype; NULL: none */
    void *y;
    bool wide;
    bf16 *pack_a, *pack_b; /* this worker's */
    float *sums;
} product;

/* A block of the result over k [k, k + depth). */
typedef struct block {
    int64_t row, rows, column, columns, k, depth;
} block;

static target target_of(const product *p, const block *t, int64_t i, int64_t j)
{
    const grid *g = p->grid;
    int64_t at = (t->row + i) * g->shape.n + t->column + j;
    bool first = t->k == 0, last = t->k + t->depth == g->shape.k;
    float *sums = p->sums + i * g->block + j;
    target to = {.add_row = g->shape.n, .y_row = g->shape.n, .columns = first_columns(t->columns - j)};
    if (first && p->c && p->wide) to.add = (const float *)p->c + at;
    if (first && p->c && !p->wide) to.add_narrow = (const bf16 *)p->c + at;
    if (p->wide) {
        to.y = (float *)p->y + at;
        if (!first) to.add = to.y;
        return to;
    }
    if (!first) to.add = sums, to.add_row = g->block;
    if (last)
        to.narrow = (bf16 *)p->y + at;
    else
        to.y = sums, to.y_row = g->block;
    return to;
}

static void pack_a_block(const product *p, const block *t)
{
    const matmul_shape *s = &p->grid->shape;
    for (int64_t i = 0; p->grid->packed_rows && i < t->rows; i += MR)
        pack_a(p->pack_a + i * round_up(t->depth, 2), p->a + (t->row + i) * s->a_row + t->k * s->a_col, s, t->depth,
               MIN(MR, t->rows - i));
}

/* What the next block of b will be packed from comes into the second cache while this one is multiplied with, a few lines
 * before each tile: memory's latency is the only cost of packing that shows. */
typedef struct fetch {
    const char *at;
    int64_t runs, lines, stride; /* pieces of so many lines of 64 bytes, so many bytes apart */
    int64_t next, a_tile;        /* the line to be fetched next; how many before a tile */
} fetch;

static fetch fetch_of(const product *p, const block *t, int64_t columns_after)
{
    const matmul_shape *s = &p->grid->shape;
    int64_t columns = MIN(t->columns, columns_after - t->columns), rows_of_b = s->b_col == 1;
    fetch f = {.at = (const char *)(p->b + t->k * s->b_row + (t->column + t->columns) * s->b_col)};
    if (columns <= 0 || (s->b_col != 1 && s->b_row != 1)) return f;
    f.runs = rows_of_b ? t->depth : columns;
    f.lines = ((rows_of_b ? columns : t->depth) * 2 + 63) / 64;
    f.stride = (rows_of_b ? s->b_row : s->b_col) * 2;
    f.a_tile = f.runs * f.lines * MR * NR / (t->rows * t->columns) + 1;
    return f;
}

static inline void fetch_some(fetch *f)
{
    int64_t end = MIN(f->next + f->a_tile, f->runs * f->lines);
    int64_t run = f->lines ? f->next / f->lines : 0, line = f->next - run * f->lines;
    for (; f->next < end; f->next++) {
        _mm_prefetch(f->at + run * f->stride + line * 64, _MM_HINT_T1);
        if (++line == f->lines) line = 0, run++;
    }
}

static void run_block(const product *p, const block *t, int64_t columns_after)
{
    const grid *g = p->grid;
    const matmul_shape *s = &g->shape;
    int64_t pairs = (t->depth + 1) / 2;
    fetch ahead = fetch_of(p, t, columns_after);
    pack_block(p->pack_b, p->b + t->k * s->b_row + t->column * s->b_col, s, t->depth, t->columns);
    for (int64_t i = 0; i < t->rows; i += MR) {
        int64_t height = MIN(MR, t->rows - i);
        const bf16 *a = p->a + (t->row + i) * s->a_row + t->k * s->a_col;
        for (int64_t j = 0; j < t->columns; j += NR) {
            const target to = target_of(p, t, i, j);
            fetch_some(&ahead);
            const bf16 *b = p->pack_b + j * pairs * 2;
            if (g->packed_rows)
                tile_packed(height, pairs, p->pack_a + i * pairs * 2, b, &to);
            else
                tile_direct(height, t->depth, a, s->a_row, b, &to);
        }
    }
}

/* k outside, so that a is packed once for all columns; inside where sums of a block wait in scratch. */
static void run_piece(const product *p, int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    const grid *g = p->grid;
    int64_t all = g->shape.k, step = MIN(rows, g->packed_rows ? g->packed_rows : rows);
    if (g->sum_rows) step = MIN(step, g->sum_rows);
    for (int64_t i = 0; i < rows; i += step) {
        block t = {.row = row + i, .rows = MIN(step, rows - i)};
        for (int64_t k = 0; k < all && !g->sum_rows; k += g->depth) {
            t.k = k, t.depth = MIN(g->depth, all - k);
            pack_a_block(p, &t);
            for (int64_t j = 0; j < columns; j += g->block) {
                t.column = column + j, t.columns = MIN(g->block, columns - j);
                run_block(p, &t, columns - j);
            }
        }
        for (int64_t j = 0; j < columns && g->sum_rows; j += g->block) {
            t.column = column + j, t.columns = MIN(g->block, columns - j);
            for (int64_t k = 0; k < all; k += g->depth) {
                t.k = k, t.depth = MIN(g->depth, all - k);
                pack_a_block(p, &t);
                run_block(p, &t, t.columns);
            }
        }
    }
}

/* Sizes that scratch and launch agree on. m: rows, those of a batch that may be folded into rows among them. */
static void size_blocks(grid *g, int64_t m, int64_t n, int64_t k, bool packs_a, bool wide)
{
    g->depth = packs_a && wide ? MIN(round_up(k, 2), DEPTH / 2) : k <= DEEP ? round_up(k, 2) : DEPTH;
    g->block = MIN(MAX(BLOCK / 2 / g->depth / NR, 2) * NR, round_up(n, NR));
    g->sum_rows = !wide && k > g->depth ? MIN(MOST_SUMS, round_up(m, MR)) : 0;
    g->packed_rows = packs_a ? MIN(PACKED / 2 / g->depth / MR * MR, round_up(m, MR)) : 0;
    g->a_bytes = round_up(g->packed_rows * g->depth * 2 + 64, 64);
    g->b_bytes = g->depth * g->block * 2;
    g->bytes = g->a_bytes + g->b_bytes + round_up(g->sum_rows * g->block * 4, 64);
}

static void cut(grid *g, int64_t threads)
{
    const matmul_shape *p = &g->shape;
    double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    bool pieces = threads > 1 && p->batch < threads && flops > 4e5;
    /* Cutting rows makes each thread pack all of b; cutting columns, all of a where a must be packed. */
    bool by_rows = p->m >= p->n * (g->packed_rows ? 1 : 4);
    g->rows = pieces && by_rows ? round_up((p->m + threads - 1) / threads, MR) : p->m;
    g->columns = pieces && !by_rows ? round_up((p->n + threads - 1) / threads, NR) : p->n;
    g->row_pieces = (p->m + g->rows - 1) / g->rows;
    g->column_pieces = (p->n + g->columns - 1) / g->columns;
}

static void run_pieces(void *arg, int64_t first, int64_t last, int worker)
{
    const grid *g = arg;
    const step *s = g->step;
    char *memory = (char *)s->scratch + worker * g->bytes;
    bool wide = s->out[0].dtype == INGOT_F32;
    int64_t each = g->row_pieces * g->column_pieces, size = g->shape.m * g->shape.n * (wide ? 4 : 2);
    for (int64_t at = first; at < last; at++) {
        int64_t batch = at / each, a_at, b_at;
        matmul_offsets(s, batch, &a_at, &b_at);
        product p = {.grid = g, .wide = wide, .pack_a = (bf16 *)memory, .pack_b = (bf16 *)(memory + g->a_bytes)};
        p.sums = (float *)(memory + g->a_bytes + g->b_bytes);
        p.a = (const bf16 *)s->in[0].data + a_at;
        p.b = (const bf16 *)s->in[1].data + b_at;
        p.y = (char *)s->out[0].data + batch * size;
        p.c = s->inputs > 2 && s->in[2].data ? (const char *)s->in[2].data + batch * size : NULL;
        int64_t row = at % each / g->column_pieces * g->rows, column = at % g->column_pieces * g->columns;
        run_piece(&p, row, MIN(g->rows, g->shape.m - row), column, MIN(g->columns, g->shape.n - column));
    }
}

static int64_t depth_of(const node *n)
{
    const shape *x = &n->in[0]->shape;
    return x->dim[x->rank - (ATTRS_OF(matmul_attrs, n)->trans_a ? 2 : 1)];
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    const shape *y = &n->out[0]->shape;
    int64_t columns = y->dim[y->rank - 1];
    grid g = {0};
    int64_t most = 0; /* where a lies is not known yet */
    for (int packs = 0; packs < 2; packs++) {
        size_blocks(&g, shape_count(*y) / columns, columns, depth_of(n), packs, n->out[0]->dtype == INGOT_F32);
        most = MAX(most, g.bytes);
    }
    return most * caps->threads;
}

static status launch(const step *s, queue *q)
{
    grid g = {.step = s, .shape = matmul_shape_of(s)};
    const shape *y = &s->out[0].shape;
    size_blocks(&g, shape_count(*y) / g.shape.n, g.shape.n, g.shape.k, g.shape.a_col != 1,
                s->out[0].dtype == INGOT_F32);
    cut(&g, cpu_threads(q));
    int64_t pieces = g.row_pieces * g.column_pieces * g.shape.batch;
    if (q->pool && pieces > 1)
        pool_for(q->pool, pieces, 1, run_pieces, &g);
    else
        run_pieces(&g, 0, pieces, 0);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
{
    return caps->avx512_bf16 && n->in[0]->dtype == INGOT_BF16 &&
           (n->out[0]->dtype == INGOT_BF16 || n->out[0]->dtype == INGOT_F32);
}

const kernel_def matmul_avx512bf16[] = {
    {.op = &op_matmul_def,
     .name = "matmul.avx512-bf16",
     .level = LEVEL_AVX512_BF16,
     .match = match,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
#else
extern const kernel_def matmul_avx512bf16[];
const kernel_def matmul_avx512bf16[] = {{0}};
#endif
