/* What a device has no kernel for becomes smaller ops, until only ops with kernels are left. */
#include "passes/passes.h"

static bool must_lower(const node *n, const kernel_choice *choice)
{
    if (!n->op->lower) return false;
    return choice->lowers_all || !choice->kernel(choice->device, n);
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
        if (!must_lower(n, choice)) continue;
        node *before = n->before;
        TRY(lower_node(b, n));
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
