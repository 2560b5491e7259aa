/* Rung blas: the products of any CBLAS, each thread of our pool calling it on its own rows or columns. The library is set
 * to one thread: two pools on the same cores would fight. Expertise 2, effort 100 lines, 4 hours.
 */
#ifdef INGOT_CBLAS
#include "kit/cpu/cpu.h"
#include "ops/matmul/matmul.h"

#include <cblas.h>

typedef struct job {
    const step *step;
    matmul_shape shape;
    bool by_rows;
    int64_t pieces, piece; /* of rows or columns */
} job;

static void product(const job *j, int64_t batch, int64_t first, int64_t last)
{
    const step *s = j->step;
    const matmul_shape *p = &j->shape;
    int64_t a_at, b_at, size = p->m * p->n;
    matmul_offsets(s, batch, &a_at, &b_at);
    int64_t m = j->by_rows ? last - first : p->m, n = j->by_rows ? p->n : last - first;
    a_at += j->by_rows ? first * p->a_row : 0;
    b_at += j->by_rows ? 0 : first * p->b_col;
    int64_t y_at = batch * size + (j->by_rows ? first * p->n : first);
    bool trans_a = p->a_col != 1 && p->k != 1, trans_b = p->b_col != 1 && p->n != 1;
    int64_t lda = trans_a ? p->a_col : p->a_row, ldb = trans_b ? p->b_col : p->b_row;
    CBLAS_TRANSPOSE ta = trans_a ? CblasTrans : CblasNoTrans, tb = trans_b ? CblasTrans : CblasNoTrans;
    lda = MAX(lda, trans_a ? p->m : p->k), ldb = MAX(ldb, trans_b ? p->k : p->n);
    const void *a = s->in[0].data, *b = s->in[1].data;
    bool add = s->inputs > 2 && s->in[2].data;
    if (s->out[0].dtype == INGOT_F64)
        cblas_dgemm(CblasRowMajor, ta, tb, (int)m, (int)n, (int)p->k, 1, (const double *)a + a_at, (int)lda,
                    (const double *)b + b_at, (int)ldb, add, (double *)s->out[0].data + y_at, (int)p->n);
    else
        cblas_sgemm(CblasRowMajor, ta, tb, (int)m, (int)n, (int)p->k, 1, (const float *)a + a_at, (int)lda,
                    (const float *)b + b_at, (int)ldb, add, (float *)s->out[0].data + y_at, (int)p->n);
}

static void run(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const job *j = arg;
    int64_t total = j->by_rows ? j->shape.m : j->shape.n;
    for (int64_t i = first; i < last; i++) {
        int64_t start = i % j->pieces * j->piece;
        product(j, i / j->pieces, start, MIN(start + j->piece, total));
    }
}

static void copy_addend(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t bytes = ingot_dtype_bytes(s->out[0].dtype);
    memcpy((char *)s->out[0].data + first * bytes, (const char *)s->in[2].data + first * bytes,
           (size_t)((last - first) * bytes));
}

static status launch(const step *s, queue *q)
{
    job j = {.step = s, .shape = matmul_shape_of(s)};
    if (s->inputs > 2 && s->in[2].data && s->in[2].data != s->out[0].data)
        cpu_for(s, q, shape_count(s->out[0].shape), CPU_GRAIN * 4, copy_addend);
    int64_t threads = cpu_threads(q);
    bool small = 2.0 * (double)j.shape.m * (double)j.shape.n * (double)j.shape.k < 2e5;
    j.by_rows = j.shape.m >= j.shape.n;
    int64_t total = j.by_rows ? j.shape.m : j.shape.n;
    /* Pieces are multiples of 16, whole register tiles of every library. */
    j.piece = small || j.shape.batch >= threads ? total : MAX(16, (total + threads - 1) / threads + 15) / 16 * 16;
    j.pieces = (total + j.piece - 1) / j.piece;
    if (q->pool && j.pieces * j.shape.batch > 1)
        pool_for(q->pool, j.pieces * j.shape.batch, 1, run, &j);
    else
        run(&j, 0, j.pieces * j.shape.batch, 0);
    return INGOT_OK;
}

/* One of a matrix's two strides must be 1, which a permuted batch may not have: those take the contiguous copy. */
static status prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    (void)ctx, (void)s, (void)caps;
    *out = NULL;
#ifdef OPENBLAS_VERSION
    openblas_set_num_threads(1);
#endif
    return INGOT_OK;
}

const kernel_def matmul_blas[] = {
    {.op = &op_matmul_def,
     .name = "matmul.blas",
     .level = LEVEL_BLAS,
     .wants = {STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS},
     .prepare = prepare,
     .launch = launch,
     .error = ERROR_SUM},
    {.op = &op_matmul_def,
     .name = "matmul.blas.f64",
     .level = LEVEL_BLAS,
     .match = match_f64,
     .wants = {STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS},
     .prepare = prepare,
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
#else
#include "graph/kernel.h"
extern const kernel_def matmul_blas[];
const kernel_def matmul_blas[] = {{0}};
#endif
