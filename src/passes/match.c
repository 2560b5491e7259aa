/* Small graphs that a device has one kernel for become one op: a linear layer and the gelu behind it, the way back through
 * both, a linear layer and the sum behind it; of a few rows, a linear layer with what stands on either side. Where no kernel
 * takes the larger op the graph stays as it is.
 */
#include "ops/linear_gelu/linear_gelu.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rows_linear/rows_linear.h"
#include "ops/view/view.h"
#include "passes/passes.h"

/* Before `at`, in its scope; the caller ends with `done`. */
static void write_before(build *b, node *at)
{
    b->cursor = at;
    b->scope = at->scope;
    b->in_backward = at->backward;
    b->segment = at->segment;
}

static void done(build *b)
{
    b->cursor = NULL;
    b->scope = "";
    b->in_backward = false;
    b->segment = 0;
}

/* gelu(linear(x, w, bias)) */
static void match_linear_gelu(build *b, const kernel_choice *choice, const node *gelu)
{
    value *h = gelu->in[0];
    node *linear = h->node;
    if (linear->op != &op_linear_def || linear->recomputed != gelu->recomputed) return;
    write_before(b, linear);
    node *made = node_new(b, &op_linear_gelu_def, linear->in, linear->inputs, linear->attrs);
    done(b);
    if (!made) return;
    made->recomputed = linear->recomputed;
    if (value_uses(b, h) > 1) node_output(b, made, LINEAR_GELU_H);
    if (!choice->kernel(choice->device, made)) {
        node_remove(b, made);
        return;
    }
    value_replace(b, gelu->out[0], made->out[LINEAR_GELU_Y]);
    if (made->out[LINEAR_GELU_H]) value_replace(b, h, made->out[LINEAR_GELU_H]);
}

/* What a value was before its dims were written otherwise. */
static value *unshaped(value *v)
{
    while (v->node->op == &op_reshape_def) v = v->node->in[0];
    return v;
}

node *sum_of_rows(const value *v)
{
    for (node *n = v->node->after; n; n = n->after) {
        if (n->op != &op_reduce_def || unshaped(n->in[0]) != v) continue;
        const reduce_attrs *a = n->attrs;
        if (a->kind == REDUCE_SUM && a->axis == 0 && !a->keep && n->in[0]->shape.rank == 2 &&
            n->out[0]->dtype == dtype_statistic(n->in[0]->dtype))
            return n;
    }
    return NULL;
}

/* gelu_grad(h, dy w), the product used nowhere else. */
static void match_linear_gelu_grad(build *b, const kernel_choice *choice, node *n)
{
    value *d = n->in[1];
    while (d->node->op == &op_reshape_def && value_uses(b, d) == 1) d = d->node->in[0];
    const node *product = d->node;
    if (product->op != &op_matmul_def || product->inputs > 2 || value_uses(b, d) > 1 || d->shape.rank != 2) return;
    const matmul_attrs *t = product->attrs;
    if (t->trans_a || t->wide || product->recomputed != n->recomputed) return;
    const linear_attrs in_out = {t->trans_b};
    write_before(b, n);
    value *h = ingot_reshape(b, n->in[0], d->shape);
    node *made =
        h ? node_new(b, &op_linear_gelu_grad_def, (value *const[]){product->in[0], product->in[1], h}, 3, &in_out)
          : NULL;
    value *dh = made ? ingot_reshape(b, made->out[LINEAR_GELU_GRAD_DH], n->out[0]->shape) : NULL;
    done(b);
    if (!dh) return;
    node *sum = sum_of_rows(n->out[0]); /* the gradient of a bias */
    if (sum) node_output(b, made, LINEAR_GELU_GRAD_SUMS);
    made->recomputed = n->recomputed;
    if (!choice->kernel(choice->device, made)) return; /* dead nodes are dropped */
    value_replace(b, n->out[0], dh);
    if (sum) value_replace(b, sum->out[0], made->out[LINEAR_GELU_GRAD_SUMS]);
}

/* c + linear(x, w, bias), the product used nowhere else. */
static void match_linear_add(build *b, const kernel_choice *choice, node *add)
{
    for (int i = 0; i < 2; i++) {
        const node *linear = add->in[i]->node;
        value *c = add->in[1 - i];
        if (linear->op != &op_linear_def || linear->recomputed != add->recomputed || value_uses(b, add->in[i]) > 1)
            continue;
        if (!shape_equal(c->shape, add->in[i]->shape) || c->dtype != add->in[i]->dtype) continue;
        value *in[] = {linear->in[0], linear->in[1], linear->inputs > 2 ? linear->in[2] : NULL, c};
        write_before(b, add);
        node *made = node_new(b, &op_linear_add_def, in, (int)COUNT(in), linear->attrs);
        done(b);
        if (!made) return;
        made->recomputed = add->recomputed;
        made->scope = linear->scope;
        if (choice->kernel(choice->device, made)) {
            value_replace(b, add->out[0], made->out[0]);
            return;
        }
        node_remove(b, made);
    }
}

/* The node that reads v, where it is the only one. */
static node *only_reader(const build *b, const value *v)
{
    if (value_uses(b, v) != 1) return NULL;
    for (node *n = v->node->after; n; n = n->after)
        for (int i = 0; i < n->inputs; i++)
            if (n->in[i] == v) return n;
    return NULL; /* an output of the graph */
}

/* swiglu of y's halves, which nobody else reads. */
static node *swiglu_of_halves(const build *b, const value *y)
{
    const int64_t last = y->shape.rank - 1, half = y->shape.dim[last] / 2;
    node *found = NULL;
    if (value_uses(b, y) != 2 || y->shape.dim[last] % 2) return NULL;
    for (node *n = y->node->after; n; n = n->after) {
        if (n->inputs < 1 || n->in[0] != y) continue;
        if (n->op != &op_slice_def) return NULL;
        const slice_attrs *a = n->attrs;
        node *reader = only_reader(b, n->out[0]);
        if (!reader || reader->op != &op_swiglu_def || (found && reader != found)) return NULL;
        if (a->axis != last || a->length != half || a->start % half || reader->in[a->start != 0] != n->out[0])
            return NULL;
        found = reader;
    }
    return found;
}

/* What stands behind a linear layer of a few rows and goes into it: its last node, and what that adds. */
static node *end_of_rows(const build *b, value *y, rows_linear_attrs *a, value **c)
{
    node *swiglu = swiglu_of_halves(b, y), *end = swiglu ? swiglu : only_reader(b, y);
    if (swiglu) a->swiglu = 1;
    if (swiglu || !end) return swiglu;
    if (end->op == &op_cast_def && end->out[0]->dtype == INGOT_F32 && dtype_is_narrow(y->dtype)) {
        a->wide = 1;
        return end;
    }
    if (end->op != &op_add_def) return NULL;
    *c = end->in[end->in[0] == y];
    return shape_equal((*c)->shape, y->shape) && (*c)->dtype == y->dtype ? end : NULL;
}

/* A linear layer of a few rows, the norm before it, and what it is added to, its swiglu or its cast behind it, where nobody
 * else reads what lies between them. */
static void match_rows_linear(build *b, const kernel_choice *choice, node *linear)
{
    value *x = linear->in[0], *y = linear->out[0], *c = NULL, *gain = NULL;
    rows_linear_attrs a = {0};
    if (ATTRS_OF(linear_attrs, linear)->in_out || (linear->inputs > 2 && linear->in[2]) || linear->backward) return;
    if (shape_count(x->shape) > ROWS_LINEAR_MOST * x->shape.dim[x->shape.rank - 1]) return;
    const node *norm = x->node;
    if (norm->op == &op_rms_norm_def && value_uses(b, x) == 1 && !norm->out[RMS_NORM_RSTD]) {
        x = norm->in[0], gain = norm->in[1];
        a.eps = ATTRS_OF(rms_norm_attrs, norm)->eps;
    }
    node *end = end_of_rows(b, y, &a, &c);
    if (!end) a.swiglu = a.wide = 0, c = NULL;
    if (!gain && !end) return;
    if (linear->recomputed || (gain && norm->recomputed) || (end && end->recomputed)) return;
    write_before(b, end ? end : linear);
    node *made = node_new(b, &op_rows_linear_def, (value *const[]){x, linear->in[1], gain, c}, 4, &a);
    done(b);
    if (!made) return;
    made->scope = linear->scope;
    if (choice->kernel(choice->device, made))
        value_replace(b, end ? end->out[0] : y, made->out[0]);
    else
        node_remove(b, made);
}

status pass_match(build *b, const kernel_choice *choice)
{
    for (node *n = b->first; n && !b->status; n = n->after) {
        if (n->op == &op_linear_def) match_rows_linear(b, choice, n);
        if (n->op == &op_add_def) match_linear_add(b, choice, n);
        if (n->op == &op_gelu_def) match_linear_gelu(b, choice, n);
        if (n->op == &op_gelu_grad_def) match_linear_gelu_grad(b, choice, n);
    }
    drop_dead_nodes(b);
    return ingot_build_status(b);
}
