/* Reverse-mode differentiation over the graph (Linnainmaa 1970): nodes are visited last to first, each turns the
 * gradients of its outputs into gradients of its inputs. An op without a grad of its own is differentiated through its
 * lower: a copy in smaller ops that simplify merges with what the forward pass keeps anyway.
 */
#include "ops/table.h"
#include "passes/passes.h"

typedef struct tape {
    build *b;
    value **adjoint; /* by value id: gradient of the loss, or NULL */
    bool *depends;   /* by value id: on one of wrt, differentiably */
    int capacity;
} tape;

static bool tape_grow(tape *t)
{
    if (t->b->values <= t->capacity) return true;
    int grown = t->b->values * 2 + 64;
    value **adjoint = realloc(t->adjoint, sizeof *adjoint * (size_t)grown);
    if (adjoint) t->adjoint = adjoint;
    bool *depends = realloc(t->depends, sizeof *depends * (size_t)grown);
    if (depends) t->depends = depends;
    if (!adjoint || !depends) {
        build_fail(t->b, INGOT_ERROR_MEMORY, "not enough memory for gradients");
        return false;
    }
    memset(adjoint + t->capacity, 0, sizeof *adjoint * (size_t)(grown - t->capacity));
    memset(depends + t->capacity, 0, sizeof *depends * (size_t)(grown - t->capacity));
    t->capacity = grown;
    return true;
}

static void mark_depends(tape *t, const node *n)
{
    bool any = false;
    if (n->op->traits & OP_NOT_DIFFERENTIABLE) return;
    int declared = op_input_count(n->op);
    for (int i = 0; i < n->inputs; i++) {
        const op_input *input = &n->op->inputs[MIN(i, declared - 1)];
        any |= n->in[i] && !input->not_differentiable && t->depends[n->in[i]->id];
    }
    for (int i = 0; any && i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i] && dtype_is_float(n->out[i]->dtype)) t->depends[n->out[i]->id] = true;
}

static void add_adjoint(tape *t, const value *v, value *d)
{
    if (!d || !tape_grow(t)) return;
    value **at = &t->adjoint[v->id];
    *at = *at ? ingot_add(t->b, *at, d) : d;
    tape_grow(t);
}

static void reverse_node(tape *t, node *n);

static void reverse_range(tape *t, node *last, const node *before_first)
{
    for (node *n = last; n && n != before_first && !t->b->status; n = n->before) reverse_node(t, n);
}

static void reverse_through_lower(tape *t, node *n, value *const *dout)
{
    build *b = t->b;
    value *out[NODE_MAX_OUTPUTS] = {NULL};
    node *before = b->last;
    n->op->lower(b, n, out);
    node *last = b->last;
    if (b->status || !tape_grow(t)) return;
    for (const node *m = before ? before->after : b->first; m; m = m->after) mark_depends(t, m);
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (dout[i] && out[i]) add_adjoint(t, out[i], dout[i]);
    if (last != before) reverse_range(t, last, before);
}

static void reverse_node(tape *t, node *n)
{
    value *dout[NODE_MAX_OUTPUTS] = {NULL}, *din_few[OP_MAX_INPUTS] = {NULL};
    bool need_few[OP_MAX_INPUTS] = {false}, any_out = false, any_in = false;
    build *b = t->b;
    if (n->op->traits & OP_NOT_DIFFERENTIABLE) return;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) {
        dout[i] = n->out[i] && n->out[i]->id < t->capacity ? t->adjoint[n->out[i]->id] : NULL;
        any_out |= dout[i] != NULL;
    }
    if (!any_out) return;
    value **din = n->inputs > OP_MAX_INPUTS ? ARENA_ARRAY(b->arena, value *, n->inputs) : din_few;
    bool *need = n->inputs > OP_MAX_INPUTS ? ARENA_ARRAY(b->arena, bool, n->inputs) : need_few;
    if (!din || !need) {
        build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for gradients");
        return;
    }
    for (int i = 0; i < n->inputs; i++) {
        need[i] = n->in[i] && t->depends[n->in[i]->id] && dtype_is_float(n->in[i]->dtype);
        any_in |= need[i];
    }
    if (!any_in) return;
    b->scope = n->scope;
    if (n->op->grad) {
        n->op->grad(b, n, dout, need, din);
        for (int i = 0; i < n->inputs && !b->status; i++)
            if (need[i]) add_adjoint(t, n->in[i], din[i]);
    } else if (n->op->lower) {
        reverse_through_lower(t, n, dout);
    } else {
        build_fail(b, INGOT_ERROR_UNSUPPORTED, "[%s] has no gradient and cannot be trained through", n->op->name);
    }
}

static value *zero_gradient(build *b, const value *v)
{
    log_line(b->ctx, INGOT_LOG_WARNING, "graph %s: the loss does not depend on %s; its gradient is zero", b->name,
             v->name ? v->name : "a value");
    return ingot_constant(b, 0, v->dtype, v->shape);
}

void ingot_gradients(ingot_build *b, ingot_value *loss, ingot_value *const *wrt, int count, ingot_value **out)
{
    memset(out, 0, sizeof *out * (size_t)MAX(count, 0));
    if (!loss || b->status) return;
    if (shape_count(loss->shape) != 1 || !dtype_is_float(loss->dtype)) {
        build_fail(b, INGOT_ERROR_SHAPE, "[gradients] the loss must be one float; sum it first");
        return;
    }
    tape t = {.b = b};
    const char *scope = b->scope;
    node *last = b->last;
    if (!tape_grow(&t)) goto done;
    for (int i = 0; i < count; i++)
        if (wrt[i]) t.depends[wrt[i]->id] = true;
    for (const node *n = b->first; n; n = n->after) mark_depends(&t, n);
    b->in_backward = true;
    add_adjoint(&t, loss, ingot_constant(b, 1, loss->dtype, loss->shape));
    reverse_range(&t, last, NULL);
    for (int i = 0; i < count && !b->status; i++) {
        value *d = wrt[i] && wrt[i]->id < t.capacity ? t.adjoint[wrt[i]->id] : NULL;
        out[i] = d ? d : wrt[i] ? zero_gradient(b, wrt[i]) : NULL;
    }
    b->in_backward = false;
done:
    b->scope = scope;
    free(t.adjoint);
    free(t.depends);
}
