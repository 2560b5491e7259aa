/* The head of a language model and its loss as one op: logits live for one chunk of rows at a time. Where the losses are
 * only summed, their gradients in x and w are made in the forward pass while a chunk is at hand, and nothing is computed
 * twice; else the backward pass makes each chunk again. It lowers to products and cross_entropy of chunks, whose kernels do
 * the work; the plan gives all chunks the same memory.
 */
#include "ops/linear_cross_entropy/linear_cross_entropy.h"
#include "ops/matmul/matmul.h"
#include "ops/source/source.h"

#define CHUNK_BYTES (100 << 20) /* of logits: beyond caches anyway, and rows enough to keep products busy */
#define MOST_CHUNKS 256 /* each is nodes of the graph: a batch that no machine holds is still planned in a moment */

static status check(build *b, const node *n)
{
    const value *x = n->in[0], *w = n->in[1], *targets = n->in[2];
    char one[128], other[128], third[128];
    bool fits = x->shape.rank == 2 && w->shape.rank == 2 && x->shape.dim[1] == w->shape.dim[1] &&
                x->dtype == w->dtype && targets->dtype == INGOT_I32 && targets->shape.rank == 1 &&
                targets->shape.dim[0] == x->shape.dim[0];
    if (fits) return INGOT_OK;
    return infer_fail(b, n, "x %s, w %s and targets %s do not fit: they must be (N, C), (V, C) and int32 (N)",
                      shape_print(one, x->shape), shape_print(other, w->shape), shape_print(third, targets->shape));
}

static status infer(build *b, const node *n, inferred *out)
{
    TRY(check(b, n));
    out[CROSS_ENTROPY_LOSSES] = (inferred){.dtype = dtype_statistic(n->in[0]->dtype), .shape = n->in[2]->shape};
    out[CROSS_ENTROPY_LSE] = out[CROSS_ENTROPY_LOSSES];
    out[LINEAR_SUM_DX] = (inferred){.dtype = n->in[0]->dtype, .shape = n->in[0]->shape};
    out[LINEAR_SUM_DW] = (inferred){.dtype = dtype_statistic(n->in[1]->dtype), .shape = n->in[1]->shape};
    return INGOT_OK;
}

static int64_t chunk_of(const node *n)
{
    return MIN(ATTRS_OF(linear_cross_entropy_attrs, n)->chunk, n->in[0]->shape.dim[0]);
}

static value *rows_of(build *b, value *v, int64_t first, int64_t chunk)
{
    return v ? ingot_slice(b, v, 0, first, MIN(chunk, v->shape.dim[0] - first)) : NULL;
}

/* Parts of all chunks, joined at the end. */
typedef struct parts {
    value **at;
    int count;
} parts;

static bool parts_start(build *b, parts *p, int64_t rows, int64_t chunk)
{
    p->count = 0;
    p->at = ARENA_ARRAY(b->arena, value *, (rows + chunk - 1) / chunk);
    if (!p->at) build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
    return p->at;
}

static value *joined(build *b, const parts *p)
{
    return p->count == 1 ? p->at[0] : ingot_concat(b, p->at, p->count, 0);
}

/* The gradient of one chunk's losses by its logits, which may lie over them, and what follows from it. */
static void add_gradients(build *b, const node *n, value *d, value *part, parts *dx, value **dw)
{
    if (n->out[LINEAR_SUM_DX]) dx->at[dx->count++] = ingot_matmul(b, d, n->in[1]);
    if (n->out[LINEAR_SUM_DW]) *dw = matmul_wide(b, d, part, *dw, 1, 0); /* adds to the chunks before */
}

static void lower(build *b, const node *n, value **out)
{
    int64_t rows = n->in[0]->shape.dim[0], chunk = chunk_of(n);
    bool keeps = n->out[CROSS_ENTROPY_LSE], both = n->out[LINEAR_SUM_DX] || n->out[LINEAR_SUM_DW];
    parts losses, lses, dx;
    if (!parts_start(b, &losses, rows, chunk) || !parts_start(b, &lses, rows, chunk) ||
        !parts_start(b, &dx, rows, chunk))
        return;
    for (int64_t first = 0; first < rows && !b->status; first += chunk) {
        value *part = rows_of(b, n->in[0], first, chunk), *target = rows_of(b, n->in[2], first, chunk);
        value *logits = ingot_linear(b, part, n->in[1], NULL), *loss = ingot_cross_entropy(b, logits, target);
        losses.at[losses.count++] = loss;
        if (b->status || !(keeps || both)) continue;
        value *lse = lses.at[lses.count++] = node_output(b, loss->node, CROSS_ENTROPY_LSE);
        if (!both) continue;
        value *ones = ingot_constant(b, 1, loss->dtype, loss->shape);
        value *d = APPLY(b, &op_cross_entropy_grad_def, NULL, logits, target, lse, ones);
        add_gradients(b, n, d, part, &dx, &out[LINEAR_SUM_DW]);
    }
    if (b->status) return;
    out[CROSS_ENTROPY_LOSSES] = joined(b, &losses);
    if (keeps) out[CROSS_ENTROPY_LSE] = joined(b, &lses);
    if (n->out[LINEAR_SUM_DX]) out[LINEAR_SUM_DX] = joined(b, &dx);
}

/* Whether all elements are one constant: what the gradient of a sum looks like. */
static bool all_equal(const value *v, double *out)
{
    while (v->node->op->traits & OP_VIEW) v = v->node->in[0];
    if (v->node->op != &op_constant_def) return false;
    *out = ((const constant_attrs *)v->node->attrs)->value;
    return true;
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (dout[CROSS_ENTROPY_LSE]) {
        build_fail(b, INGOT_ERROR_UNSUPPORTED,
                   "[linear_cross_entropy] lse is kept for the gradient and has none itself");
        return;
    }
    double scale;
    if (all_equal(dout[CROSS_ENTROPY_LOSSES], &scale)) {
        for (int i = 0; i < 2; i++) {
            value *d = need[i] ? node_output(b, n, LINEAR_SUM_DX + i) : NULL;
            if (d) din[i] = ingot_cast(b, scale == 1 ? d : ingot_mul_scalar(b, d, scale), n->in[i]->dtype);
        }
        return;
    }
    value *lse = node_output(b, n, CROSS_ENTROPY_LSE);
    value *in[] = {n->in[0], n->in[1], n->in[2], lse, dout[CROSS_ENTROPY_LOSSES]};
    node *g = node_new(b, &op_linear_cross_entropy_grad_def, in, 5, n->attrs);
    if (g && need[0]) din[0] = node_output(b, g, LINEAR_GRAD_DX);
    if (g && need[1]) din[1] = ingot_cast(b, node_output(b, g, LINEAR_GRAD_DW), n->in[1]->dtype);
}

static double product_flops(const node *n)
{
    shape x = n->in[0]->shape;
    return 2 * (double)shape_count(x) * (double)n->in[1]->shape.dim[0];
}

static op_cost cost(const node *n)
{
    double products = 1 + (n->out[LINEAR_SUM_DX] != NULL) + (n->out[LINEAR_SUM_DW] != NULL);
    return (op_cost){.flops = products * product_flops(n),
                     .bytes = products * (double)(value_bytes(n->in[0]) + value_bytes(n->in[1]))};
}

#define CHUNK(rows)                                                                                                    \
    &(const linear_cross_entropy_attrs)                                                                                \
    {                                                                                                                  \
        rows                                                                                                           \
    }
#define ATTRIBUTES                                                                                                     \
    ATTRS(linear_cross_entropy_attrs, ATTR(linear_cross_entropy_attrs, chunk, ATTR_I64, .minimum = 1, .maximum = 1e15))
const op_def op_linear_cross_entropy_def = {
    .name = "linear_cross_entropy",
    .doc = "cross_entropy of logits x w^T that are never kept: x (N, C), w (V, C), targets int32 (N), losses (N), lse "
           "(N); dx and dw are the gradient of the sum of all losses. `chunk` rows of logits are alive at a time.",
    .inputs = {{"x", FLOAT}, {"w", FLOAT}, {"targets", INTEGER}},
    .outputs = {{"losses"},
                {"lse", .optional = true, .no_gradient = true},
                {"dx", .optional = true, .no_gradient = true},
                {"dw", .optional = true, .no_gradient = true}},
    ATTRIBUTES,
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(256, 768), S(50257, 768), S(256)}, .attrs = CHUNK(128), .below = {[2] = 50257}}),
    SAMPLES({.in = {S(3, 5), S(7, 5), S(3)}, .attrs = CHUNK(2), .below = {[2] = 7}},
            {.in = {S(1, 1), S(1, 1), S(1)}, .attrs = CHUNK(8), .below = {[2] = 1}},
            {.in = {S(33, 31), S(65, 31), S(33)}, .attrs = CHUNK(16), .below = {[2] = 80}},
            {.in = {S(5, 32), S(4099, 32), S(5)}, .attrs = CHUNK(5), .below = {[2] = 4099}},
            {.in = {S(9, 33), S(130, 33), S(9)}, .attrs = CHUNK(4), .values = VALUES_TINY, .below = {[2] = 130}}),
};

ingot_value *ingot_linear_cross_entropy(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *targets)
{
    if (!x || !w || !x->shape.rank || !w->shape.rank) return NULL;
    int64_t rows = MAX(CHUNK_BYTES / 4 / MAX(w->shape.dim[0], 1), x->shape.dim[0] / MOST_CHUNKS);
    return APPLY(b, &op_linear_cross_entropy_def, CHUNK(MAX(rows / 64, 1) * 64), x, w, targets);
}

/* linear_cross_entropy_grad */

static status grad_infer(build *b, const node *n, inferred *out)
{
    TRY(check(b, n));
    char one[128], other[128];
    shape rows = n->in[2]->shape;
    if (!shape_equal(n->in[3]->shape, rows) || !shape_equal(n->in[4]->shape, rows))
        return infer_fail(b, n, "lse is %s, dlosses are %s", shape_print(one, n->in[3]->shape),
                          shape_print(other, n->in[4]->shape));
    out[LINEAR_GRAD_DX] = (inferred){.dtype = n->in[0]->dtype, .shape = n->in[0]->shape};
    out[LINEAR_GRAD_DW] = (inferred){.dtype = dtype_statistic(n->in[1]->dtype), .shape = n->in[1]->shape};
    return INGOT_OK;
}

static void grad_lower(build *b, const node *n, value **out)
{
    value *x = n->in[0], *w = n->in[1], *dw = NULL;
    int64_t rows = x->shape.dim[0], chunk = chunk_of(n);
    parts dx;
    if (!parts_start(b, &dx, rows, chunk)) return;
    for (int64_t first = 0; first < rows && !b->status; first += chunk) {
        value *part = rows_of(b, x, first, chunk), *target = rows_of(b, n->in[2], first, chunk);
        value *lse = rows_of(b, n->in[3], first, chunk), *dlosses = rows_of(b, n->in[4], first, chunk);
        value *logits = ingot_linear(b, part, w, NULL);
        if (!logits) return;
        logits->node->recomputed = true; /* equal to those of the forward pass, which are gone */
        value *d = APPLY(b, &op_cross_entropy_grad_def, NULL, logits, target, lse, dlosses);
        if (n->out[LINEAR_GRAD_DX]) dx.at[dx.count++] = ingot_matmul(b, d, w);
        if (n->out[LINEAR_GRAD_DW]) dw = matmul_wide(b, d, part, dw, 1, 0); /* adds to the chunks before */
    }
    if (b->status) return;
    if (n->out[LINEAR_GRAD_DX]) out[LINEAR_GRAD_DX] = joined(b, &dx);
    if (n->out[LINEAR_GRAD_DW]) out[LINEAR_GRAD_DW] = dw;
}

static op_cost grad_cost(const node *n)
{
    return (op_cost){.flops =
                         (1 + (n->out[LINEAR_GRAD_DX] != NULL) + (n->out[LINEAR_GRAD_DW] != NULL)) * product_flops(n),
                     .bytes = 2.0 * (double)(value_bytes(n->in[0]) + value_bytes(n->in[1]))};
}

const op_def op_linear_cross_entropy_grad_def = {
    .name = "linear_cross_entropy_grad",
    .doc =
        "The gradient of linear_cross_entropy: dlogits as in cross_entropy_grad, dx = dlogits w, dw = dlogits^T x, by "
        "chunks of rows whose logits are computed again.",
    .inputs = {{"x", FLOAT},
               {"w", FLOAT},
               {"targets", INTEGER},
               {"lse", FLOAT, .wide = true},
               {"dlosses", FLOAT, .wide = true}},
    .outputs = {{"dx", .optional = true}, {"dw", .optional = true}},
    ATTRIBUTES,
    .traits = OP_INTERNAL,
    .infer = grad_infer,
    .lower = grad_lower,
    .cost = grad_cost,
    BENCH({.in = {S(256, 768), S(50257, 768), S(256), S(256), S(256)}, .attrs = CHUNK(128), .below = {[2] = 50257}}),
    SAMPLES({.in = {S(3, 5), S(7, 5), S(3), S(3), S(3)}, .attrs = CHUNK(2), .below = {[2] = 7}, .no_gradient = true},
            {.in = {S(33, 31), S(65, 31), S(33), S(33), S(33)},
             .attrs = CHUNK(16),
             .values_of = {VALUES_TINY}, /* e^(logits - lse) of others would leave float16 */
             .below = {[2] = 80},
             .no_gradient = true}),
};
