/* Small graphs that a device has one kernel for become one op: a linear layer and the gelu behind it, the way back through
 * both, a linear layer and the sum behind it; of a few rows, a linear layer with what stands on either side, and attention
 * over a cache with what puts the rows into that. Where no kernel takes the larger op the graph stays as it is.
 */
#include "ops/cached_attention/cached_attention.h"
#include "ops/concat/concat.h"
#include "ops/linear_gelu/linear_gelu.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/rows_linear/rows_linear.h"
#include "ops/turned_attention/turned_attention.h"
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

/* swiglu of y's halves, which nobody else reads. */
static node *swiglu_of_halves(const build *b, const value *y)
{
    const int64_t last = y->shape.rank - 1, half = y->shape.dim[last] / 2;
    node *found = NULL;
    int halves = 0;
    if (value_uses(b, y) != 2 || y->shape.dim[last] % 2) return NULL;
    for (node *n = y->node->after; n; n = n->after) {
        if (n->inputs < 1 || n->in[0] != y) continue;
        if (n->op != &op_slice_def) return NULL;
        const slice_attrs *a = n->attrs;
        node *reader = value_only_reader(b, n->out[0]);
        if (!reader || reader->op != &op_swiglu_def || (found && reader != found)) return NULL;
        if (a->axis != last || a->length != half || a->start % half || reader->in[a->start != 0] != n->out[0])
            return NULL;
        found = reader;
        halves++;
    }
    return halves == 2 ? found : NULL;
}

/* What stands behind a linear layer of a few rows and goes into it: its last node, and what that adds. */
static node *end_of_rows(const build *b, value *y, rows_linear_attrs *a, value **c)
{
    node *swiglu = swiglu_of_halves(b, y), *end = swiglu ? swiglu : value_only_reader(b, y);
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

/* Heads (.., H, D) before they were turned, and by what; v itself and NULL where they were not. Queries and keys of one product
 * are turned together, then cut. */
static value *before_rope(build *b, value *v, value **position, value **angles)
{
    const value *heads = unshaped(v);
    const node *cut = heads->node, *rope = cut;
    bool is_cut = cut->op == &op_slice_def && ATTRS_OF(slice_attrs, cut)->axis == 1;
    int64_t rank = v->shape.rank;
    if (is_cut) rope = unshaped(cut->in[0])->node;
    *position = *angles = NULL;
    if (rope->op != &op_rope_def || rope->in[0]->shape.rank != 3 || heads->shape.rank != 3) return v;
    if (heads->shape.dim[1] != v->shape.dim[rank - 2] || heads->shape.dim[2] != v->shape.dim[rank - 1]) return v;
    if (is_cut && !shape_equal(rope->out[0]->shape, cut->in[0]->shape)) return v;
    const rope_attrs *how = rope->attrs;
    if (how->interleaved || how->inverse) return v;
    *position = rope->in[1], *angles = rope->in[2];
    const slice_attrs *part = is_cut ? cut->attrs : NULL;
    value *x = part ? ingot_slice(b, rope->in[0], 1, part->start, part->length) : rope->in[0];
    return ingot_reshape(b, x, v->shape);
}

/* The update of a pool by rows that go to it, of which attention alone sees the result. */
static node *pool_update(const build *b, const value *pool)
{
    node *update = pool->node;
    if (update->op != &op_state_update_def || value_uses(b, pool) > 1) return NULL;
    const node *scatter = update->in[1]->node;
    bool fits = scatter->op == &op_scatter_rows_def && scatter->in[0] == update->in[0] &&
                value_uses(b, update->in[1]) == 1 && scatter->in[1]->shape.rank == 1;
    return fits ? update : NULL;
}

static void replace_update(build *b, node *update, value *after)
{
    value *made = ingot_state_update(b, update->in[0], after);
    if (!made) return;
    value_replace(b, update->out[0], made);
    node_remove(b, update);
}

/* attention_rows(rope(q), pools with rope(k) and v in them) */
static void match_cached_attention(build *b, const kernel_choice *choice, node *attend)
{
    node *keys = pool_update(b, attend->in[ROWS_K_POOL]), *values = pool_update(b, attend->in[ROWS_V_POOL]);
    if (!keys || !values) return;
    const node *k = keys->in[1]->node, *v = values->in[1]->node; /* scatter_rows */
    value *position = attend->in[ROWS_POSITION], *turned_by, *angles;
    if (k->in[1] != v->in[1] || k->in[2]->shape.dim[0] != attend->in[ROWS_Q]->shape.dim[0]) return;
    write_before(b, attend);
    value *at[2], *q = before_rope(b, attend->in[ROWS_Q], &at[0], &angles);
    value *key = before_rope(b, k->in[2], &at[1], &turned_by);
    bool turns = angles && angles == turned_by && at[0] == position && at[1] == position;
    value *in[CACHED_INPUTS] = {[CACHED_Q] = turns ? q : attend->in[ROWS_Q],
                                [CACHED_K] = turns ? key : k->in[2],
                                [CACHED_V] = v->in[2],
                                [CACHED_K_POOL] = keys->in[0],
                                [CACHED_V_POOL] = values->in[0],
                                [CACHED_SLOT] = k->in[1],
                                [CACHED_BLOCK_TABLE] = attend->in[ROWS_BLOCK_TABLE],
                                [CACHED_SEQUENCE] = attend->in[ROWS_SEQUENCE],
                                [CACHED_POSITION] = position,
                                [CACHED_ANGLES] = turns ? angles : NULL};
    node *made = node_new(b, &op_cached_attention_def, in, (int)COUNT(in), attend->attrs);
    if (made && choice->kernel(choice->device, made)) {
        replace_update(b, keys, made->out[CACHED_K_AFTER]);
        replace_update(b, values, made->out[CACHED_V_AFTER]);
        value_replace(b, attend->out[0], made->out[CACHED_O]);
    } else if (made) {
        node_remove(b, made);
    }
    done(b);
}

/* scatter_add of rows that were 16 bits wide before: widened while they are added. */
static void match_scattered_cast(build *b, const kernel_choice *choice, node *scatter)
{
    const node *cast = unshaped(scatter->in[2])->node;
    if (cast->op != &op_cast_def || cast->out[0]->dtype != INGOT_F32 || !dtype_is_narrow(cast->in[0]->dtype)) return;
    write_before(b, scatter);
    value *rows = ingot_reshape(b, cast->in[0], scatter->in[2]->shape), *y = NULL;
    if (rows) y = ingot_scatter_add(b, scatter->in[0], scatter->in[1], rows);
    done(b);
    if (!y) return;
    y->node->recomputed = scatter->recomputed;
    if (choice->kernel(choice->device, y->node))
        value_replace(b, scatter->out[0], y);
    else
        node_remove(b, y->node);
}

/* attention(rope(q), rope(k), v) */
static void match_turned_attention(build *b, const kernel_choice *choice, node *attend)
{
    value *q = attend->in[0], *k = attend->in[1], *position[2], *angles[2];
    if (attend->inputs > 3 && attend->in[3]) return;
    write_before(b, attend);
    value *in[TURNED_INPUTS] = {before_rope(b, q, &position[0], &angles[0]),
                                before_rope(b, k, &position[1], &angles[1]), attend->in[2], position[0], angles[0]};
    bool turns = angles[0] && angles[0] == angles[1] && position[0] == position[1];
    node *made = turns ? node_new(b, &op_turned_attention_def, in, TURNED_INPUTS, attend->attrs) : NULL;
    done(b);
    if (!made) return;
    made->recomputed = attend->recomputed;
    if (attend->out[ATTENTION_LSE]) node_output(b, made, TURNED_LSE);
    if (value_uses(b, q) > 1) node_output(b, made, TURNED_Q_AFTER);
    if (value_uses(b, k) > 1) node_output(b, made, TURNED_K_AFTER);
    if (!choice->kernel(choice->device, made)) {
        node_remove(b, made);
        return;
    }
    value *was[] = {attend->out[ATTENTION_O], attend->out[ATTENTION_LSE], q, k};
    for (int i = 0; i < (int)COUNT(was); i++)
        if (made->out[i]) value_replace(b, was[i], made->out[i]);
}

/* Who alone reads a value, whatever its dims are then written as. */
static node *reader_of(const build *b, const value *v)
{
    node *n = value_only_reader(b, v);
    while (n && n->op == &op_reshape_def) n = value_only_reader(b, n->out[0]);
    return n;
}

static bool turns_back(const node *n)
{
    if (!n || n->op != &op_rope_def || n->in[0]->shape.rank != 3) return false;
    const rope_attrs *how = n->attrs;
    return how->inverse && !how->interleaved;
}

/* A concatenation of columns, heads behind heads, that only another one reads becomes part of that. */
static void join_columns(build *b, const node *inner)
{
    node *outer = reader_of(b, inner->out[0]);
    if (!outer || outer->op != &op_concat_def || ATTRS_OF(concat_attrs, outer)->axis != 1) return;
    int64_t rows = outer->out[0]->shape.dim[0];
    int count = 0;
    if (outer->out[0]->shape.rank != 2 || inner->out[0]->shape.dim[0] != rows ||
        outer->inputs + inner->inputs > OP_MAX_INPUTS)
        return;
    value *parts[OP_MAX_INPUTS];
    write_before(b, outer);
    for (int i = 0; i < outer->inputs; i++) {
        if (unshaped(outer->in[i]) != inner->out[0]) {
            parts[count++] = outer->in[i];
            continue;
        }
        for (int k = 0; k < inner->inputs; k++)
            parts[count++] = ingot_reshape(b, inner->in[k], INGOT_SHAPE(rows, shape_count(inner->in[k]->shape) / rows));
    }
    value *y = ingot_concat(b, parts, count, 1);
    done(b);
    if (y) value_replace(b, outer->out[0], y);
}

/* dq and dk of an attention, each turned back or, heads behind heads, both together. */
static void match_turned_attention_grad(build *b, const kernel_choice *choice, node *grad)
{
    value *dq = grad->out[ATTENTION_GRAD_DQ], *dk = grad->out[ATTENTION_GRAD_DK];
    node *one = reader_of(b, dq), *other = reader_of(b, dk), *both = one == other ? one : NULL;
    if (grad->inputs > TURNED_GRAD_POSITION && grad->in[TURNED_GRAD_POSITION]) return;
    if (both && (both->op != &op_concat_def || both->inputs != 2 || unshaped(both->in[0]) != dq ||
                 ATTRS_OF(concat_attrs, both)->axis != 1))
        return;
    if (both) one = other = reader_of(b, both->out[0]);
    if (!turns_back(one) || !turns_back(other) || one->in[1] != other->in[1] || one->in[2] != other->in[2]) return;
    const shape *heads = &(both ? both->in[0] : one->in[0])->shape;
    if (heads->rank != 3 || heads->dim[1] != dq->shape.dim[2] || heads->dim[2] != dq->shape.dim[3]) return;
    value *in[TURNED_GRAD_INPUTS] = {[TURNED_GRAD_POSITION] = one->in[1], [TURNED_GRAD_ANGLES] = one->in[2]};
    memcpy(in, grad->in, TURNED_GRAD_POSITION * sizeof *in);
    write_before(b, grad);
    node *made = node_new(b, &op_turned_attention_grad_def, in, TURNED_GRAD_INPUTS, grad->attrs);
    if (made && choice->kernel(choice->device, made)) {
        value_replace(b, dq, made->out[ATTENTION_GRAD_DQ]);
        value_replace(b, dk, made->out[ATTENTION_GRAD_DK]);
        value_replace(b, grad->out[ATTENTION_GRAD_DV], made->out[ATTENTION_GRAD_DV]);
        value_replace(b, one->out[0], one->in[0]);
        if (!both) value_replace(b, other->out[0], other->in[0]);
        made->recomputed = grad->recomputed;
        node_remove(b, one);
        if (!both) node_remove(b, other);
        done(b);
        if (both) join_columns(b, both);
        return;
    }
    if (made) node_remove(b, made);
    done(b);
}

status pass_match(build *b, const kernel_choice *choice)
{
    for (node *n = b->first; n && !b->status; n = n->after) {
        if (n->op == &op_linear_def) match_rows_linear(b, choice, n);
        if (n->op == &op_add_def) match_linear_add(b, choice, n);
        if (n->op == &op_gelu_def) match_linear_gelu(b, choice, n);
        if (n->op == &op_scatter_add_def) match_scattered_cast(b, choice, n);
        if (n->op == &op_gelu_grad_def) match_linear_gelu_grad(b, choice, n);
        if (n->op == &op_attention_def) match_turned_attention(b, choice, n);
        if (n->op == &op_attention_grad_def) match_turned_attention_grad(b, choice, n);
        if (n->op == &op_attention_rows_def) match_cached_attention(b, choice, n);
    }
    drop_dead_nodes(b);
    return ingot_build_status(b);
}
