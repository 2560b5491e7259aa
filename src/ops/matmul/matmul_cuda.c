/* Products on CUDA by cuBLASLt. A batch is one strided batch when its offsets advance evenly (or stand still, for a side
 * that is broadcast), else a product at a time.
 */
#include "kit/cuda/product.h"
#include "ops/matmul/matmul.h"

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

static bool has_addend(const step *s)
{
    return s->inputs > 2 && s->node->in[2];
}

static product_shape shape_of(const step *s, const matmul_shape *m)
{
    product_shape p = {.m = m->m,
                       .n = m->n,
                       .k = m->k,
                       .a_row = m->a_row,
                       .a_col = m->a_col,
                       .b_row = m->b_row,
                       .b_col = m->b_col,
                       .in = s->in[0].dtype,
                       .out = s->out[0].dtype,
                       .adds = has_addend(s),
                       .a_offset = s->in[0].byte_offset,
                       .b_offset = s->in[1].byte_offset,
                       .y_offset = s->out[0].byte_offset,
                       .workspace = s->scratch_bytes};
    if (p.adds) p.c_offset = s->in[2].byte_offset;
    if (m->batch > 1 && advances_evenly(s, m, &p.a_step, &p.b_step)) {
        p.batch = m->batch;
    } else if (m->batch > 1) { /* one by one, beginning anywhere */
        p.a_offset = p.b_offset = ingot_dtype_bytes(p.in);
        p.c_offset = p.y_offset = ingot_dtype_bytes(p.out);
    }
    return p;
}

static status prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    matmul_shape m = matmul_shape_of(s);
    product_shape p = shape_of(s, &m);
    return product_prepare(ctx, caps, &p, out);
}

static status launch(const step *s, queue *q)
{
    matmul_shape m = matmul_shape_of(s);
    int64_t calls = shape_of(s, &m).batch > 1 ? 1 : m.batch;
    int64_t size = ingot_dtype_bytes(s->in[0].dtype), result = m.m * m.n * ingot_dtype_bytes(s->out[0].dtype);
    for (int64_t i = 0; i < calls; i++) {
        int64_t a, b;
        matmul_offsets(s, i, &a, &b);
        const char *c = has_addend(s) ? (const char *)s->in[2].data + i * result : NULL;
        TRY(product_run(s->prepared, q, (const char *)s->in[0].data + a * size, (const char *)s->in[1].data + b * size,
                        c, (char *)s->out[0].data + i * result, s->scratch));
    }
    return INGOT_OK;
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    (void)caps;
    return product_workspace(node_cost(n).flops);
}

/* Both sides of one dtype that the library multiplies, summed in float32; the result of theirs, or float32. */
static bool match(const node *n, const device_caps *caps)
{
    (void)caps;
    dtype d = n->in[0]->dtype, out = n->out[0]->dtype;
    if (n->in[1]->dtype != d || (n->inputs > 2 && n->in[2] && n->in[2]->dtype != out)) return false;
    return (d == INGOT_F32 || d == INGOT_BF16 || d == INGOT_F16) && (out == d || out == INGOT_F32);
}

extern const kernel_def matmul_cuda[];
const kernel_def matmul_cuda[] = {
    {.op = &op_matmul_def,
     .name = "matmul.cublaslt",
     .level = LEVEL_BEST,
     .match = match,
     .wants = {STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS},
     .scratch = scratch,
     .prepare = prepare,
     .unprepare = product_free,
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
