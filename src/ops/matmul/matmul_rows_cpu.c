/* Rung simd, few rows: what decoding does all the time, and then reading the weights is all the work.
 *
 * Idea: no packing. Each element of b is read once, where it lies and in the order of memory, and used for all rows of a
 * at once: dot products where b's columns lie along memory (trans_b), sums of scaled rows where its rows do. Threads take columns. The sums run in
 * another order than matmul.simd's, so a row's bits would depend on how many others there are: not row-invariant.
 * Expertise 3, effort 80 lines.
 */
#include "kit/cpu/cpu.h"
#include "ops/matmul/matmul.h"

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
enum { MOST_ROWS = 8, COLUMNS = 4, WIDE = 4 * LANES, ROWS_AT_ONCE = 8, STRIPE = 1024 };

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

static inline float sum_lanes(vec v)
{
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += v[i];
    return sum;
}

/* y[c] = from[c] + dot(a, b + c * b_col) for COLUMNS of them: one load of a serves all. */
static inline void dot_columns(int64_t k, const float *a, const float *b, int64_t b_col, const float *from, float *y)
{
    vec acc[COLUMNS] = {{0}};
    int64_t i = 0;
    for (; i + LANES <= k; i += LANES) {
        vec x = *(const vec *)(a + i);
        for (int c = 0; c < COLUMNS; c++) {
            __builtin_prefetch(b + (COLUMNS + c) * b_col + i, 0, 2);
            acc[c] += x * *(const vec *)(b + c * b_col + i);
        }
    }
    for (int c = 0; c < COLUMNS; c++) {
        float sum = sum_lanes(acc[c]);
        for (int64_t r = i; r < k; r++) sum += a[r] * b[c * b_col + r];
        y[c] = sum + (from ? from[c] : 0);
    }
}

static inline void dot_column(int64_t k, const float *a, const float *b, const float *from, float *y)
{
    vec acc = {0};
    int64_t i = 0;
    for (; i + LANES <= k; i += LANES) acc += *(const vec *)(a + i) * *(const vec *)(b + i);
    float sum = sum_lanes(acc);
    for (; i < k; i++) sum += a[i] * b[i];
    *y = sum + (from ? *from : 0);
}

/* Columns of b lie along memory: (N, K). */
static void dots(const step *s, const matmul_shape *p, int64_t first, int64_t last)
{
    const float *a = f32(&s->in[0]), *b = f32(&s->in[1]), *from = s->inputs > 2 ? s->in[2].data : NULL;
    float *y = f32(&s->out[0]);
    int64_t j = first;
    for (; j + COLUMNS <= last; j += COLUMNS)
        for (int64_t i = 0; i < p->m; i++)
            dot_columns(p->k, a + i * p->a_row, b + j * p->b_col, p->b_col, from ? from + i * p->n + j : NULL,
                        y + i * p->n + j);
    for (; j < last; j++)
        for (int64_t i = 0; i < p->m; i++)
            dot_column(p->k, a + i * p->a_row, b + j * p->b_col, from ? from + i * p->n + j : NULL, y + i * p->n + j);
}

/* y (m, columns) += `rows` rows of b from k on, scaled by a's elements; the same rows further on are asked for. `rows` is
 * a constant where this is inlined. */
static inline __attribute__((always_inline)) void add_rows(const int rows, const matmul_shape *p, const float *a,
                                                           const float *b, float *y, int64_t columns)
{
    for (int64_t j = 0; j + LANES <= columns; j += LANES) {
        vec x[ROWS_AT_ONCE];
        for (int r = 0; r < rows; r++) {
            x[r] = *(const vec *)(b + r * p->b_row + j);
            __builtin_prefetch(b + (rows + r) * p->b_row + j, 0, 2);
        }
        for (int64_t i = 0; i < p->m; i++) {
            vec sum = *(vec *)(y + i * p->n + j);
            for (int r = 0; r < rows; r++) sum += a[i * p->a_row + r] * x[r];
            *(vec *)(y + i * p->n + j) = sum;
        }
    }
    for (int64_t j = columns / LANES * LANES; j < columns; j++)
        for (int64_t i = 0; i < p->m; i++)
            for (int r = 0; r < rows; r++) y[i * p->n + j] += a[i * p->a_row + r] * b[r * p->b_row + j];
}

/* Rows of b lie along memory: (K, N). Stripes of them are read in order, a few rows side by side; y stays in cache. */
static void sums(const step *s, const matmul_shape *p, int64_t first, int64_t last)
{
    const float *a = f32(&s->in[0]), *b = f32(&s->in[1]), *from = s->inputs > 2 ? s->in[2].data : NULL;
    for (int64_t j = first; j < last; j += STRIPE) {
        float *y = f32(&s->out[0]) + j;
        int64_t columns = MIN((int64_t)STRIPE, last - j), k = 0;
        for (int64_t i = 0; i < p->m; i++)
            for (int64_t c = 0; c < columns; c++) y[i * p->n + c] = from ? from[i * p->n + j + c] : 0;
        for (; k + ROWS_AT_ONCE <= p->k; k += ROWS_AT_ONCE)
            add_rows(ROWS_AT_ONCE, p, a + k, b + k * p->b_row + j, y, columns);
        for (; k < p->k; k++) add_rows(1, p, a + k, b + k * p->b_row + j, y, columns);
    }
}

static void blocks(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    matmul_shape p = matmul_shape_of(s);
    int64_t end = MIN(last * WIDE, p.n);
    if (p.b_row == 1)
        dots(s, &p, first * WIDE, end);
    else
        sums(s, &p, first * WIDE, end);
}

static status launch(const step *s, queue *q)
{
    matmul_shape p = matmul_shape_of(s);
    int64_t wides = (p.n + WIDE - 1) / WIDE, threads = cpu_threads(q);
    /* One long stripe a thread, as far as it goes: memory likes to be read in order. */
    return cpu_for(s, q, wides, MAX((wides + threads - 1) / threads, 4 * CPU_GRAIN / (p.k * WIDE)), blocks);
}

/* One product of few rows, large enough for the weights to be the work. */
static bool match(const node *n, const device_caps *caps)
{
    const matmul_attrs *t = n->attrs;
    const shape *b = &n->in[1]->shape, *y = &n->out[0]->shape;
    int64_t columns = y->dim[y->rank - 1], rows = columns ? shape_count(*y) / columns : 0;
    return match_f32(n, caps) && !t->trans_a && b->rank == 2 && rows <= MOST_ROWS && columns >= WIDE &&
           b->dim[t->trans_b ? 1 : 0] >= 64;
}

const kernel_def ISA_NAME(matmul_rows_cpu)[] = {
    {.op = &op_matmul_def,
     .name = "matmul.rows",
     .level = LEVEL_SIMD,
     .match = match,
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
