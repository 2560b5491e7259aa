/* Where values lie: views share the storage of what they look at, and a copy is made where a kernel wants other strides or
 * where a value must be real (outputs of the program).
 */
#include "ops/table.h"
#include "passes/passes.h"

static value *copy_before(build *b, node *n, value *v, const kernel_choice *choice)
{
    b->cursor = n;
    b->scope = n->scope ? n->scope : "";
    value *c = APPLY(b, &op_copy_def, NULL, v);
    b->cursor = NULL;
    b->scope = "";
    if (!c) return NULL;
    c->node->backward = n->backward;
    c->node->hoisted = n->hoisted;
    c->node->kernel = choice->kernel(choice->device, c->node);
    if (!c->node->kernel) return build_fail(b, INGOT_ERROR_UNSUPPORTED, "device %s cannot copy", choice->device_name);
    return c;
}

static status place_view(build *b, node *n, const kernel_choice *choice)
{
    value *in = n->in[0], *out = n->out[0];
    if (!n->op->view(n, &in->layout, &out->layout)) {
        in = copy_before(b, n, in, choice);
        if (!in) return ingot_build_status(b);
        n->in[0] = in;
        if (!n->op->view(n, &in->layout, &out->layout))
            return ingot_fail(b->ctx, INGOT_ERROR_INTERNAL, "[%s] has no view of contiguous memory", n->op->name);
    }
    out->storage = in->storage;
    return INGOT_OK;
}

static bool lies_as_wanted(const value *v, storage_wanted wanted)
{
    if (wanted == STORAGE_STRIDED) return true;
    if (wanted == STORAGE_LAST_CONTIGUOUS) return layout_last_contiguous(v->shape, &v->layout);
    /* A slice may begin anywhere; kernels move 16 bytes at a time. */
    bool begins_evenly = v->layout.offset * ingot_dtype_bytes(v->dtype) % 16 == 0 || shape_count(v->shape) == 1;
    return layout_is_contiguous(v->shape, &v->layout) && begins_evenly;
}

static status place_inputs(build *b, node *n, const kernel_choice *choice)
{
    for (int i = 0; i < n->inputs; i++) {
        storage_wanted wanted = n->kernel->wants[MIN(i, OP_MAX_INPUTS - 1)];
        if (!n->in[i] || lies_as_wanted(n->in[i], wanted)) continue;
        value *from = n->in[i], *c = copy_before(b, n, from, choice);
        if (!c) return ingot_build_status(b);
        for (node *m = n; m; m = m->after) /* later kernels that want the same find the copy */
            for (int j = 0; m->kernel && j < m->inputs; j++)
                if (m->in[j] == from && !lies_as_wanted(from, m->kernel->wants[MIN(j, OP_MAX_INPUTS - 1)]))
                    m->in[j] = c;
    }
    return INGOT_OK;
}

static status make_outputs_real(build *b, const kernel_choice *choice)
{
    for (int64_t i = 0; i < b->outputs.count; i++) {
        value *v = b->outputs.at[i].value;
        bool shared = false;
        for (int64_t j = 0; j < i; j++) shared |= b->outputs.at[j].value == v;
        if (v->storage == v && v->node->kernel && !shared && !v->node->hoisted) continue;
        value *c = APPLY(b, &op_copy_def, NULL, v);
        if (!c) return ingot_build_status(b);
        c->node->kernel = choice->kernel(choice->device, c->node);
        if (!c->node->kernel)
            return ingot_fail(b->ctx, INGOT_ERROR_UNSUPPORTED, "device %s cannot copy", choice->device_name);
        b->outputs.at[i].value = c;
    }
    return INGOT_OK;
}

status pass_layout(build *b, const kernel_choice *choice)
{
    TRY(make_outputs_real(b, choice));
    for (node *n = b->first; n; n = n->after) {
        if (n->op->traits & OP_VIEW)
            TRY(place_view(b, n, choice));
        else if (n->kernel)
            TRY(place_inputs(b, n, choice));
    }
    return INGOT_OK;
}
