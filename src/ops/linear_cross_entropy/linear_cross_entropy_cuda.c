/* Losses from rows, a matrix and targets on CUDA, a chunk of logits in scratch at a time. The gradient takes the logits'
 * place. Products run several times slower where a dim is odd, so a vocabulary that is no multiple of 64 gets rows of zeros:
 * in a copy of the matrix, in the logits, and in the sum of its gradient.
 */
#include "kit/cuda/product.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/linear_cross_entropy/linear_cross_entropy.h"

/* What one chunk of rows needs; the last chunk may be shorter. */
typedef struct chunk_plans {
    int64_t rows;
    product_plan *logits, *dx, *first_dw, *more_dw;
} chunk_plans;

/* Where in scratch things begin. */
typedef struct places {
    int64_t logits, lse, w, dw, workspace, end;
} places;

typedef struct sizes {
    int64_t rows, chunk, vocabulary, padded, width; /* N, rows a chunk, V, V with its zeros, C */
    int64_t workspace;
    places at;
} sizes;

typedef struct ready {
    sizes n;
    chunk_plans whole, last;
} ready;

static void free_plans(chunk_plans *c)
{
    product_free(c->logits);
    product_free(c->dx);
    product_free(c->first_dw);
    product_free(c->more_dw);
}

static void unprepare(void *prepared)
{
    ready *r = prepared;
    if (!r) return;
    free_plans(&r->whole);
    free_plans(&r->last);
    free(r);
}

/* Rows a chunk: what fills 1/32 of the memory, 7/8 GiB at most, in even chunks. GPT-2's three products of 8192 rows take 2.52 ms
 * on an H200, those of 16384 rows 5.49. */
static int64_t chunk_of(int64_t rows, int64_t row_bytes, const device_caps *caps)
{
    int64_t most = MAX(MIN((int64_t)7 << 27, caps->memory_bytes / 32) / row_bytes, 1);
    int64_t chunks = (rows + most - 1) / most, chunk = (rows + chunks - 1) / chunks;
    return chunks == 1 ? rows : (chunk + 127) / 128 * 128;
}

static const value *gradient_of_w(const node *n)
{
    return n->out[n->op == &op_linear_cross_entropy_def ? (int)LINEAR_SUM_DW : (int)LINEAR_GRAD_DW];
}

static sizes sizes_of(const node *n, const device_caps *caps)
{
    shape x = n->in[0]->shape;
    int64_t size = ingot_dtype_bytes(n->in[0]->dtype), v = n->in[1]->shape.dim[0],
            padded = v % 8 ? (v + 63) / 64 * 64 : v;
    const value *dw = gradient_of_w(n);
    sizes s = {.rows = x.dim[0], .vocabulary = v, .padded = padded, .width = x.dim[1]};
    s.chunk = chunk_of(s.rows, padded * size, caps);
    s.workspace = product_workspace(2.0 * (double)(s.chunk * s.width * padded));
    s.at.lse = s.chunk * padded * size;
    s.at.w = s.at.lse + (s.chunk * 4 + 255) / 256 * 256;
    s.at.dw = s.at.w + (v == padded ? 0 : padded * s.width * size);
    s.at.workspace = s.at.dw + (v == padded || !dw ? 0 : padded * s.width * ingot_dtype_bytes(dw->dtype));
    s.at.end = s.at.workspace + s.workspace;
    return s;
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    return sizes_of(n, caps).at.end + 256;
}

typedef struct tensors {
    const tensor *x, *w, *targets, *lse, *dlosses;
    const tensor *losses, *lses, *dx, *dw;
} tensors;

static const tensor *live(const step *s, int output)
{
    return s->node->out[output] ? &s->out[output] : NULL;
}

static tensors tensors_of(const step *s)
{
    tensors t = {.x = &s->in[0], .w = &s->in[1], .targets = &s->in[2]};
    if (s->node->op == &op_linear_cross_entropy_def) {
        t.losses = live(s, CROSS_ENTROPY_LOSSES);
        t.lses = live(s, CROSS_ENTROPY_LSE);
        t.dx = live(s, LINEAR_SUM_DX);
        t.dw = live(s, LINEAR_SUM_DW);
    } else {
        t.lse = &s->in[3];
        t.dlosses = &s->in[4];
        t.dx = live(s, LINEAR_GRAD_DX);
        t.dw = live(s, LINEAR_GRAD_DW);
    }
    return t;
}

/* logits (rows, V) = x w^T; dx (rows, C) = dlogits w; dw (V, C) = dlogits^T x. */
static status plan_chunk(context *ctx, const device_caps *caps, const sizes *n, const tensors *t, int64_t rows,
                         chunk_plans *c)
{
    dtype d = t->x->dtype;
    int64_t C = n->width, V = n->padded, next = rows < n->rows ? n->chunk * C * ingot_dtype_bytes(d) : 0;
    bool copied = n->padded != n->vocabulary;
    product_shape logits = {.m = rows, .n = V, .k = C, .a_row = C, .a_col = 1, .b_row = 1, .b_col = C};
    product_shape dx = {.m = rows, .n = C, .k = V, .a_row = V, .a_col = 1, .b_row = C, .b_col = 1};
    product_shape dw = {.m = V, .n = C, .k = rows, .a_row = 1, .a_col = V, .b_row = C, .b_col = 1};
    logits.in = logits.out = dx.in = dx.out = dw.in = d;
    logits.workspace = dx.workspace = dw.workspace = n->workspace;
    logits.a_offset = dw.b_offset = t->x->byte_offset | next;
    logits.b_offset = dx.b_offset = copied ? 0 : t->w->byte_offset;
    c->rows = rows;
    TRY(product_new(ctx, caps, &logits, &c->logits));
    if (t->dx) {
        dx.y_offset = t->dx->byte_offset | next;
        TRY(product_new(ctx, caps, &dx, &c->dx));
    }
    if (!t->dw) return INGOT_OK;
    dw.out = t->dw->dtype;
    dw.y_offset = dw.c_offset = copied ? 0 : t->dw->byte_offset;
    TRY(product_new(ctx, caps, &dw, &c->first_dw));
    dw.adds = true;
    return product_new(ctx, caps, &dw, &c->more_dw);
}

static status prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    ready *r = calloc(1, sizeof *r);
    if (!r) return fail_memory(ctx, "a loss", sizeof *r);
    tensors t = tensors_of(s);
    r->n = sizes_of(s->node, caps);
    int64_t rest = r->n.rows % r->n.chunk;
    status failed = plan_chunk(ctx, caps, &r->n, &t, r->n.chunk, &r->whole);
    if (!failed && rest) failed = plan_chunk(ctx, caps, &r->n, &t, rest, &r->last);
    if (failed)
        unprepare(r);
    else
        *out = r;
    return failed;
}

static void *row_at(const tensor *t, int64_t row)
{
    if (!t) return NULL;
    int64_t width = t->shape.rank > 1 ? t->shape.dim[1] : 1;
    return (char *)t->data + row * width * ingot_dtype_bytes(t->dtype);
}

static status run_chunk(const sizes *n, const chunk_plans *c, const tensors *t, int64_t first, char *start,
                        const void *w, void *dw, queue *q)
{
    char *workspace = start + n->at.workspace;
    TRY(product_run(c->logits, q, row_at(t->x, first), w, NULL, start, workspace));
    cross_entropy_rows rows = {.dtype = t->x->dtype,
                               .rows = c->rows,
                               .columns = n->vocabulary,
                               .stride = n->padded,
                               .padded = n->padded,
                               .logits = start,
                               .targets = row_at(t->targets, first),
                               .losses = row_at(t->losses, first),
                               .lses = row_at(t->lse ? t->lse : t->lses, first),
                               .dlosses = row_at(t->dlosses, first),
                               .dlogits = t->dx || t->dw ? start : NULL,
                               .follows = true};
    if (!rows.lses) rows.lses = (float *)(start + n->at.lse);
    cross_entropy_cuda_rows(&rows, q);
    if (t->dx) TRY(product_run(c->dx, q, start, w, NULL, row_at(t->dx, first), workspace));
    if (!t->dw) return INGOT_OK;
    if (first + c->rows == n->rows) queue_first_outputs_made(q, t->lse ? (int)LINEAR_GRAD_DW : (int)LINEAR_SUM_DW);
    return product_run(first ? c->more_dw : c->first_dw, q, start, row_at(t->x, first), dw, dw, workspace);
}

static status launch(const step *s, queue *q)
{
    const ready *r = s->prepared;
    const sizes *n = &r->n;
    tensors t = tensors_of(s);
    char *start = (char *)(((uintptr_t)s->scratch + 255) / 256 * 256);
    const void *w = t.w->data;
    void *dw = t.dw ? t.dw->data : NULL;
    size_t bytes = (size_t)(n->vocabulary * n->width * ingot_dtype_bytes(t.w->dtype));
    if (n->padded != n->vocabulary) {
        size_t all = (size_t)(n->padded * n->width * ingot_dtype_bytes(t.w->dtype));
        w = start + n->at.w;
        dw = start + n->at.dw;
        (void)cudaMemcpyAsync(start + n->at.w, t.w->data, bytes, cudaMemcpyDeviceToDevice, q->stream);
        (void)cudaMemsetAsync(start + n->at.w + bytes, 0, all - bytes, q->stream);
    }
    for (int64_t first = 0; first < n->rows; first += n->chunk)
        TRY(run_chunk(n, n->rows - first >= n->chunk ? &r->whole : &r->last, &t, first, start, w, dw, q));
    if (t.dw && dw != t.dw->data)
        (void)cudaMemcpyAsync(t.dw->data, dw, (size_t)(n->vocabulary * n->width * ingot_dtype_bytes(t.dw->dtype)),
                              cudaMemcpyDeviceToDevice, q->stream);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
{
    (void)caps;
    dtype d = n->in[0]->dtype;
    if ((d != INGOT_F32 && d != INGOT_BF16 && d != INGOT_F16) || n->in[1]->dtype != d) return false;
    for (int i = 3; i < n->inputs; i++)
        if (n->in[i]->dtype != INGOT_F32) return false;
    return n->in[1]->shape.dim[0] < INT32_MAX / 2;
}

#define LOSSES                                                                                                         \
    .level = LEVEL_BEST, .match = match, .scratch = scratch, .prepare = prepare, .unprepare = unprepare,               \
    .launch = launch, .error = ERROR_SUM
extern const kernel_def linear_cross_entropy_cuda[];
const kernel_def linear_cross_entropy_cuda[] = {
    {.op = &op_linear_cross_entropy_def, .name = "linear_cross_entropy.cuda", LOSSES},
    {.op = &op_linear_cross_entropy_grad_def, .name = "linear_cross_entropy_grad.cuda", LOSSES},
    {0},
};
