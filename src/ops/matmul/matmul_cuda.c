/* Products on CUDA by cuBLASLt. It thinks in columns: our y (M, N) by rows is its y (N, M) by columns, so b comes first.
 *
 * A batch is one strided batch when its offsets advance evenly (or stand still, for a side that is broadcast), else a
 * product at a time. The algorithm is the library's first choice for the shape.
 */
#include "kit/cuda/cuda.h"
#include "ops/matmul/matmul.h"

typedef struct ready {
    matmul_shape shape;
    cublasLtMatmulDesc_t how;
    cublasLtMatrixLayout_t a, b, y;
    cublasLtMatmulAlgo_t algorithm;
    bool even; /* the batch in one call */
    int64_t a_step, b_step;
} ready;

static void unprepare(void *prepared)
{
    ready *r = prepared;
    if (!r) return;
    if (r->how) cublasLtMatmulDescDestroy(r->how);
    if (r->a) cublasLtMatrixLayoutDestroy(r->a);
    if (r->b) cublasLtMatrixLayoutDestroy(r->b);
    if (r->y) cublasLtMatrixLayoutDestroy(r->y);
    free(r);
}

/* Whether the offsets of both sides are i * step for every i. */
static bool advances_evenly(const step *s, const matmul_shape *p, int64_t *a_step, int64_t *b_step)
{
    *a_step = *b_step = 0;
    for (int64_t i = 1; i < p->batch; i++) {
        int64_t a, b;
        matmul_offsets(s, i, &a, &b);
        if (i == 1) *a_step = a, *b_step = b;
        if (a != i * *a_step || b != i * *b_step) return false;
    }
    return true;
}

static cudaDataType type_of(dtype d)
{
    return d == INGOT_BF16 ? CUDA_R_16BF : d == INGOT_F16 ? CUDA_R_16F : CUDA_R_32F;
}

/* A matrix of ours, op(x) rows x cols with strides, as the library's column-major one. *transposed: it must be turned. */
static cublasStatus_t make_layout(cublasLtMatrixLayout_t *out, cudaDataType type, int64_t rows, int64_t cols,
                                  int64_t row, int64_t col, bool *transposed)
{
    *transposed = col != 1 && cols != 1; /* stored with rows side by side */
    int64_t leading = *transposed ? col : row;
    if (*transposed) return cublasLtMatrixLayoutCreate(out, type, (uint64_t)rows, (uint64_t)cols, MAX(leading, rows));
    return cublasLtMatrixLayoutCreate(out, type, (uint64_t)cols, (uint64_t)rows, MAX(leading, cols));
}

static cublasStatus_t set_batch(cublasLtMatrixLayout_t layout, int64_t count, int64_t step)
{
    int32_t batch = (int32_t)count;
    cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch);
    return cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step);
}

static bool has_addend(const step *s)
{
    return s->inputs > 2 && s->node->in[2];
}

/* The largest power of two, up to 256, that every product's matrix begins at a multiple of. */
static uint32_t alignment_of(const ready *r, const tensor *t, int64_t step)
{
    int64_t at = t->byte_offset;
    if (r->shape.batch > 1) at |= (r->even ? step : 1) * ingot_dtype_bytes(t->dtype);
    uint32_t align = 256;
    while (align > 1 && at % align) align /= 2;
    return align;
}

static cublasStatus_t pick_algorithm(ready *r, const step *step, const device_caps *caps)
{
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    cublasStatus_t s = cublasLtMatmulPreferenceCreate(&preference);
    if (s) return s;
    uint64_t workspace = (uint64_t)caps->workspace_bytes;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                         sizeof workspace);
    const matmul_shape *p = &r->shape;
    uint32_t a = alignment_of(r, &step->in[1], r->b_step), b = alignment_of(r, &step->in[0], r->a_step);
    uint32_t y = alignment_of(r, &step->out[0], p->m * p->n), c = y;
    if (has_addend(step)) c = alignment_of(r, &step->in[2], p->m * p->n);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a, sizeof a);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b, sizeof b);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &c, sizeof c);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &y, sizeof y);
    s = cublasLtMatmulAlgoGetHeuristic(caps->blas, r->how, r->b, r->a, r->y, r->y, preference, 1, &found, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    if (s || count == 0) return s ? s : CUBLAS_STATUS_NOT_SUPPORTED;
    r->algorithm = found.algo;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t describe(ready *r, const step *s, const device_caps *caps)
{
    const matmul_shape *p = &r->shape;
    bool turn_a, turn_b;
    cudaDataType in = type_of(s->in[0].dtype), out = type_of(s->out[0].dtype);
    cublasStatus_t e = cublasLtMatmulDescCreate(&r->how, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!e) e = make_layout(&r->a, in, p->m, p->k, p->a_row, p->a_col, &turn_a);
    if (!e) e = make_layout(&r->b, in, p->k, p->n, p->b_row, p->b_col, &turn_b);
    if (!e) e = cublasLtMatrixLayoutCreate(&r->y, out, (uint64_t)p->n, (uint64_t)p->m, p->n);
    if (e) return e;
    cublasOperation_t first = turn_b ? CUBLAS_OP_T : CUBLAS_OP_N, second = turn_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtMatmulDescSetAttribute(r->how, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
    cublasLtMatmulDescSetAttribute(r->how, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
    r->even = p->batch > 1 && advances_evenly(s, p, &r->a_step, &r->b_step);
    if (r->even) {
        set_batch(r->a, p->batch, r->a_step);
        set_batch(r->b, p->batch, r->b_step);
        set_batch(r->y, p->batch, p->m * p->n);
    }
    return pick_algorithm(r, s, caps);
}

static status prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    ready *r = calloc(1, sizeof *r);
    if (!r) return fail_memory(ctx, "a product", sizeof *r);
    r->shape = matmul_shape_of(s);
    cublasStatus_t e = describe(r, s, caps);
    if (e) {
        const matmul_shape p = r->shape;
        unprepare(r);
        return ingot_fail(ctx, INGOT_ERROR_DEVICE, "cuda: cublasLt cannot multiply (%lld, %lld) by (%lld, %lld): %s",
                          (long long)p.m, (long long)p.k, (long long)p.k, (long long)p.n, cublasLtGetStatusString(e));
    }
    *out = r;
    return INGOT_OK;
}

static status launch(const step *s, queue *q)
{
    const ready *r = s->prepared;
    const matmul_shape *p = &r->shape;
    const float one = 1, beta = has_addend(s) ? 1 : 0;
    int64_t calls = r->even ? 1 : p->batch, size = ingot_dtype_bytes(s->in[0].dtype);
    int64_t result = p->m * p->n * ingot_dtype_bytes(s->out[0].dtype); /* bytes */
    for (int64_t i = 0; i < calls; i++) {
        int64_t a, b;
        matmul_offsets(s, i, &a, &b);
        char *y = (char *)s->out[0].data + i * result;
        const char *c = has_addend(s) ? (const char *)s->in[2].data + i * result : y;
        cublasStatus_t e =
            cublasLtMatmul(q->caps->blas, r->how, &one, (const char *)s->in[1].data + b * size, r->b,
                           (const char *)s->in[0].data + a * size, r->a, &beta, c, r->y, y, r->y, &r->algorithm,
                           q->caps->workspace, (size_t)q->caps->workspace_bytes, q->stream);
        if (e) return INGOT_ERROR_DEVICE;
    }
    return INGOT_OK;
}

/* All of one dtype that the library multiplies, summed in float32. */
static bool match(const node *n, const device_caps *caps)
{
    (void)caps;
    dtype d = n->in[0]->dtype;
    for (int i = 1; i < n->inputs; i++)
        if (n->in[i] && n->in[i]->dtype != d) return false;
    return (d == INGOT_F32 || d == INGOT_BF16 || d == INGOT_F16) && n->out[0]->dtype == d;
}

extern const kernel_def matmul_cuda[];
const kernel_def matmul_cuda[] = {
    {.op = &op_matmul_def,
     .name = "matmul.cublaslt",
     .level = LEVEL_BEST,
     .match = match,
     .wants = {STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS},
     .prepare = prepare,
     .unprepare = unprepare,
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
