/* cuBLASLt thinks in columns: our y (M, N) by rows is its y (N, M) by columns, so b comes first. The algorithm is one of those
 * that the library proposes for the shape.
 */
#include "kit/cuda/product.h"

struct product_plan {
    product_shape shape;
    cublasLtMatmulDesc_t how;
    cublasLtMatrixLayout_t a, b, y;
    cublasLtMatmulAlgo_t algorithm;
};

void product_free(void *plan)
{
    product_plan *p = plan;
    if (!p) return;
    if (p->how) cublasLtMatmulDescDestroy(p->how);
    if (p->a) cublasLtMatrixLayoutDestroy(p->a);
    if (p->b) cublasLtMatrixLayoutDestroy(p->b);
    if (p->y) cublasLtMatrixLayoutDestroy(p->y);
    free(p);
}

int64_t product_workspace(double flops)
{
    return (flops < 2e9 ? 1 << 20 : 32 << 20) + 256;
}

static cudaDataType type_of(dtype d)
{
    return d == INGOT_BF16 ? CUDA_R_16BF : d == INGOT_F16 ? CUDA_R_16F : CUDA_R_32F;
}

/* A matrix of ours, op(x) rows x cols with strides, as the library's column-major one. *turned: it must be transposed. */
static cublasStatus_t make_layout(cublasLtMatrixLayout_t *out, dtype d, int64_t rows, int64_t cols, int64_t row,
                                  int64_t col, bool *turned)
{
    *turned = col != 1 && cols != 1; /* stored with rows side by side */
    if (*turned) return cublasLtMatrixLayoutCreate(out, type_of(d), (uint64_t)rows, (uint64_t)cols, MAX(col, rows));
    return cublasLtMatrixLayoutCreate(out, type_of(d), (uint64_t)cols, (uint64_t)rows, MAX(row, cols));
}

static void set_batch(cublasLtMatrixLayout_t layout, int64_t count, int64_t step)
{
    int32_t batch = (int32_t)count;
    cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch);
    cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step);
}

/* The largest power of two, up to 256, that every matrix of the batch begins at a multiple of. */
static void set_alignment(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t which,
                          const product_shape *p, int64_t offset, int64_t step, dtype d)
{
    int64_t at = offset | (p->batch > 1 ? step * ingot_dtype_bytes(d) : 0);
    uint32_t align = 256;
    while (align > 1 && at % align) align /= 2;
    cublasLtMatmulPreferenceSetAttribute(preference, which, &align, sizeof align);
}

enum { PROPOSALS = 8, SHORT_SUM = 4096 };

typedef uint32_t tile_ids[14]; /* end with 0 */

static int first_with_tile(const tile_ids wanted, const cublasLtMatmulHeuristicResult_t *found, int count)
{
    for (int i = 0; i < count; i++) {
        uint32_t tile = 0;
        size_t size;
        if (found[i].state != CUBLAS_STATUS_SUCCESS) continue;
        cublasLtMatmulAlgoConfigGetAttribute(&found[i].algo, CUBLASLT_ALGO_CONFIG_TILE_ID, &tile, sizeof tile, &size);
        for (int t = 0; wanted[t]; t++)
            if (wanted[t] == tile) return i;
    }
    return 0;
}

/* The library's first choice has the largest tiles. Where sums are short and tiles many, smaller ones are faster, by 3 to 20 %
 * on an H200: one group of warps multiplies while the other writes its result. Which ones depends on what is written, as
 * measured (docs/performance.md). */
static int pick_proposal(const product_shape *p, const struct device_caps *caps,
                         const cublasLtMatmulHeuristicResult_t *found, int count)
{
    static const tile_ids plain = {
        CUBLASLT_MATMUL_TILE_136x128, CUBLASLT_MATMUL_TILE_128x136, CUBLASLT_MATMUL_TILE_144x128,
        CUBLASLT_MATMUL_TILE_128x144, CUBLASLT_MATMUL_TILE_152x128, CUBLASLT_MATMUL_TILE_128x152,
        CUBLASLT_MATMUL_TILE_160x128, CUBLASLT_MATMUL_TILE_128x160, CUBLASLT_MATMUL_TILE_168x128,
        CUBLASLT_MATMUL_TILE_128x168, CUBLASLT_MATMUL_TILE_176x128, CUBLASLT_MATMUL_TILE_128x176};
    static const tile_ids bias = {CUBLASLT_MATMUL_TILE_128x128}, kept = {CUBLASLT_MATMUL_TILE_96x128};
    double tiles = (double)p->m * (double)p->n * (double)MAX(p->batch, 1) / (128 * 128);
    if (caps->major != 9 || p->in == INGOT_F32 || p->k > SHORT_SUM || tiles < 4 * caps->multiprocessors) return 0;
    if ((p->adds && p->end != PRODUCT_BIAS) || p->end == PRODUCT_GELU_GRAD) return 0; /* measured with a bias only */
    if (p->end == PRODUCT_GELU_KEPT) return first_with_tile(kept, found, count);
    return first_with_tile(p->end == PRODUCT_PLAIN ? plain : bias, found, count);
}

static cublasStatus_t pick_algorithm(product_plan *plan, const struct device_caps *caps)
{
    const product_shape *p = &plan->shape;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found[PROPOSALS];
    int count = 0;
    cublasStatus_t s = cublasLtMatmulPreferenceCreate(&preference);
    if (s) return s;
    uint64_t workspace = (uint64_t)MAX(p->workspace - 256, 0);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                         sizeof workspace);
    /* A sum in parts is added up in float32: the default lets parts be rounded to a result's 16 bits first, where a sum that
     * cancels loses all its digits. */
    uint32_t schemes =
        dtype_is_narrow(p->out) ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE : CUBLASLT_REDUCTION_SCHEME_MASK;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes,
                                         sizeof schemes);
    int64_t y_step = p->m * p->n;
    set_alignment(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p, p->b_offset, p->b_step, p->in);
    set_alignment(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p, p->a_offset, p->a_step, p->in);
    set_alignment(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p, p->adds ? p->c_offset : p->y_offset,
                  y_step, p->out);
    set_alignment(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p, p->y_offset, y_step, p->out);
    s = cublasLtMatmulAlgoGetHeuristic(caps->blas, plan->how, plan->b, plan->a, plan->y, plan->y, preference, PROPOSALS,
                                       found, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    if (s || count == 0) return s ? s : CUBLAS_STATUS_NOT_SUPPORTED;
    plan->algorithm = found[pick_proposal(p, caps, found, count)].algo;
    return CUBLAS_STATUS_SUCCESS;
}

static void describe_end(product_plan *plan)
{
    static const cublasLtEpilogue_t ends[] = {
        [PRODUCT_PLAIN] = CUBLASLT_EPILOGUE_DEFAULT,   [PRODUCT_BIAS] = CUBLASLT_EPILOGUE_BIAS,
        [PRODUCT_GELU] = CUBLASLT_EPILOGUE_GELU_BIAS,  [PRODUCT_GELU_KEPT] = CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
        [PRODUCT_GELU_GRAD] = CUBLASLT_EPILOGUE_DGELU,
    };
    const product_shape *p = &plan->shape;
    cublasLtEpilogue_t end = ends[p->end];
    cudaDataType vector = type_of(p->vector);
    int64_t h_row = p->n;
    cublasLtMatmulDescSetAttribute(plan->how, CUBLASLT_MATMUL_DESC_EPILOGUE, &end, sizeof end);
    if (p->end != PRODUCT_GELU_GRAD)
        cublasLtMatmulDescSetAttribute(plan->how, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &vector, sizeof vector);
    if (p->end >= PRODUCT_GELU_KEPT)
        cublasLtMatmulDescSetAttribute(plan->how, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &h_row, sizeof h_row);
}

static cublasStatus_t describe(product_plan *plan, const struct device_caps *caps)
{
    const product_shape *p = &plan->shape;
    bool turn_a, turn_b;
    bool tf32 = caps->tf32 && p->in == INGOT_F32;
    cublasStatus_t e =
        cublasLtMatmulDescCreate(&plan->how, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!e) e = make_layout(&plan->a, p->in, p->m, p->k, p->a_row, p->a_col, &turn_a);
    if (!e) e = make_layout(&plan->b, p->in, p->k, p->n, p->b_row, p->b_col, &turn_b);
    int64_t leading = p->y_row ? p->y_row : p->n;
    if (!e) e = cublasLtMatrixLayoutCreate(&plan->y, type_of(p->out), (uint64_t)p->n, (uint64_t)p->m, leading);
    if (e) return e;
    cublasOperation_t first = turn_b ? CUBLAS_OP_T : CUBLAS_OP_N, second = turn_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtMatmulDescSetAttribute(plan->how, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
    cublasLtMatmulDescSetAttribute(plan->how, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
    if (p->end != PRODUCT_PLAIN) describe_end(plan);
    if (p->batch > 1) {
        set_batch(plan->a, p->batch, p->a_step);
        set_batch(plan->b, p->batch, p->b_step);
        set_batch(plan->y, p->batch, p->m * p->n);
    }
    return pick_algorithm(plan, caps);
}

status product_new(context *ctx, const struct device_caps *caps, const product_shape *p, product_plan **out)
{
    product_plan *plan = *out = calloc(1, sizeof *plan);
    if (!plan) return fail_memory(ctx, "a product", sizeof *plan);
    plan->shape = *p;
    cublasStatus_t e = describe(plan, caps);
    if (!e) return INGOT_OK;
    product_free(plan);
    *out = NULL;
    return ingot_fail(ctx, INGOT_ERROR_DEVICE, "cuda: cublasLt cannot multiply (%lld, %lld) by (%lld, %lld): %s",
                      (long long)p->m, (long long)p->k, (long long)p->k, (long long)p->n, cublasLtGetStatusString(e));
}

status product_prepare(context *ctx, const struct device_caps *caps, const product_shape *p, void **prepared)
{
    product_plan *plan;
    status failed = product_new(ctx, caps, p, &plan);
    *prepared = plan;
    return failed;
}

product_shape product_of_rows(const step *s, bool turned)
{
    shape x = s->in[0].shape, y = s->out[0].shape;
    int64_t k = x.dim[x.rank - 1], n = y.dim[y.rank - 1];
    return (product_shape){
        .m = shape_count(x) / k,
        .n = n,
        .k = k,
        .a_row = k,
        .a_col = 1,
        .b_row = turned ? 1 : n,
        .b_col = turned ? k : 1,
        .in = s->in[0].dtype,
        .out = s->out[0].dtype,
        .vector = s->out[0].dtype,
        .a_offset = s->in[0].byte_offset,
        .b_offset = s->in[1].byte_offset,
        .y_offset = s->out[0].byte_offset,
        .workspace = s->scratch_bytes,
    };
}

void product_bind(product_plan *plan, const void *bias, const void *h)
{
    if (bias) cublasLtMatmulDescSetAttribute(plan->how, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    if (h) cublasLtMatmulDescSetAttribute(plan->how, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &h, sizeof h);
}

status product_run(const product_plan *plan, const queue *q, const void *a, const void *b, const void *c, void *y,
                   void *workspace)
{
    const float one = 1, beta = plan->shape.adds ? 1 : 0;
    uintptr_t at = ((uintptr_t)workspace + 255) / 256 * 256;
    cublasStatus_t e = cublasLtMatmul(q->caps->blas, plan->how, &one, b, plan->b, a, plan->a, &beta,
                                      plan->shape.adds ? c : y, plan->y, y, plan->y, &plan->algorithm, (void *)at,
                                      (size_t)MAX(plan->shape.workspace - 256, 0), q->stream);
    return e ? INGOT_ERROR_DEVICE : INGOT_OK;
}
