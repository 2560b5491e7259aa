/* What a device has no kernel for becomes smaller ops, until only ops with kernels are left. Of 16-bit floats it may have a
 * kernel in float32: then that runs, between casts.
 */
#include "ops/pointwise/pointwise.h"
#include "passes/passes.h"

static bool must_lower(const node *n, const kernel_choice *choice)
{
    if (!n->op->lower) return false;
    return choice->lowers_all || !choice->kernel(choice->device, n);
}

static bool is_narrow(const value *v)
{
    return v && dtype_is_narrow(v->dtype);
}

/* Pointwise programs compute in float32 anyway and hold the casts; sources, views and updates do no work. */
static bool can_widen(const node *n)
{
    bool any = false;
    if (n->op == &op_pointwise_def || n->op == &op_copy_def || n->op->formula || n->op == &op_cast_def) return false;
    if (n->op->traits & (OP_SOURCE | OP_VIEW | OP_UPDATE)) return false;
    for (int i = 0; i < n->inputs; i++) any |= is_narrow(n->in[i]);
    return any;
}

static node *make_wide(build *b, const node *n)
{
    value **in = ARENA_ARRAY(b->arena, value *, MAX(n->inputs, 1));
    if (!in) return build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
    for (int i = 0; i < n->inputs; i++) in[i] = is_narrow(n->in[i]) ? ingot_cast(b, n->in[i], INGOT_F32) : n->in[i];
    node *made = node_new(b, n->op, in, n->inputs, n->attrs);
    for (int i = 0; made && i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i]) node_output(b, made, i);
    return made;
}

static void remove_range(build *b, node *first, const node *end)
{
    for (node *m = first, *after; m && m != end; m = after) {
        after = m->after;
        node_remove(b, m);
    }
}

/* The float32 twin of `n` takes its place, where there is a better kernel for it or the op asks for it; n stays in the list
 * for the caller to remove. */
static bool widen_node(build *b, node *n, const kernel_choice *choice)
{
    if (choice->lowers_all || !can_widen(n)) return false;
    const kernel_def *narrow = choice->kernel(choice->device, n);
    if (narrow && narrow->level > LEVEL_NAIVE) return false;
    if (!narrow && (n->op->traits & OP_NARROW)) return false;
    node *before = n->before;
    const char *scope = b->scope;
    b->cursor = n, b->scope = n->scope, b->in_backward = n->backward, b->segment = n->segment;
    node *made = make_wide(b, n);
    const kernel_def *wide = made ? choice->kernel(choice->device, made) : NULL;
    bool better =
        made && (narrow ? wide && wide->level > narrow->level : wide || !n->op->lower || (n->op->traits & OP_WIDE));
    for (int i = 0; better && i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i]) value_replace(b, n->out[i], ingot_cast(b, made->out[i], n->out[i]->dtype));
    b->cursor = NULL, b->scope = scope, b->in_backward = false, b->segment = 0;
    node *first = before ? before->after : b->first;
    for (node *m = first; better && m != n; m = m->after) m->recomputed |= n->recomputed;
    if (made && !better) remove_range(b, first, n);
    return better;
}

static status lower_node(build *b, node *n)
{
    value *out[NODE_MAX_OUTPUTS] = {NULL};
    node *before = n->before;
    const char *scope = b->scope;
    b->cursor = n;
    b->scope = n->scope;
    b->in_backward = n->backward;
    b->segment = n->segment;
    n->op->lower(b, n, out);
    b->cursor = NULL;
    b->scope = scope;
    b->in_backward = false;
    b->segment = 0;
    TRY(ingot_build_status(b));
    for (node *m = before ? before->after : b->first; m != n; m = m->after) m->recomputed |= n->recomputed;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) {
        if (!n->out[i]) continue;
        if (!out[i] || !shape_equal(out[i]->shape, n->out[i]->shape) || out[i]->dtype != n->out[i]->dtype) {
            char one[128], other[128];
            return ingot_fail(b->ctx, INGOT_ERROR_INTERNAL, "[%s] lower gives output %d as %s%s, infer said %s%s",
                              n->op->name, i, out[i] ? ingot_dtype_name(out[i]->dtype) : "nothing ",
                              out[i] ? shape_print(one, out[i]->shape) : "", ingot_dtype_name(n->out[i]->dtype),
                              shape_print(other, n->out[i]->shape));
        }
        value_replace(b, n->out[i], out[i]);
    }
    return INGOT_OK;
}

status pass_lower(build *b, const kernel_choice *choice)
{
    for (node *n = b->first, *next; n; n = next) {
        next = n->after;
        node *before = n->before;
        if (!widen_node(b, n, choice)) {
            TRY(ingot_build_status(b));
            if (!must_lower(n, choice)) continue;
            TRY(lower_node(b, n));
        }
        node_remove(b, n);
        next = before ? before->after : b->first; /* what came in may itself have to be lowered */
    }
    return INGOT_OK;
}

status pass_promote(build *b)
{
    for (node *n = b->first; n; n = n->after)
        for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
            if (n->out[i] && dtype_is_float(n->out[i]->dtype)) n->out[i]->dtype = INGOT_F64;
    return INGOT_OK;
}

status pass_choose(build *b, const kernel_choice *choice)
{
    for (node *n = b->first; n; n = n->after) {
        if (n->op->traits & (OP_SOURCE | OP_VIEW | OP_UPDATE)) continue;
        n->kernel = choice->kernel(choice->device, n);
        if (n->kernel) continue;
        text line = {0};
        node_print(n, &line);
        status s = ingot_fail(b->ctx, INGOT_ERROR_UNSUPPORTED, "device %s has no kernel for %s", choice->device_name,
                              line.at ? line.at : n->op->name);
        text_free(&line);
        return s;
    }
    return INGOT_OK;
}
