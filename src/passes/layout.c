/* Where values lie: views share the storage of what they look at, and a copy is made where a kernel wants other strides or
 * where a value must be real (outputs of the program).
 */
#include "ops/concat/concat.h"
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

/* All rows at multiples of 16 bytes, as kernels find them in memory of their own. */
static bool begins_evenly(const value *v, const layout *l)
{
    int64_t size = ingot_dtype_bytes(v->dtype);
    bool even = l->offset * size % 16 == 0;
    for (int64_t i = 0; i + 1 < v->shape.rank; i++) even &= v->shape.dim[i] == 1 || l->stride[i] * size % 16 == 0;
    return even;
}

static bool lies_as_wanted(const value *v, storage_wanted wanted)
{
    if (wanted == STORAGE_STRIDED) return true;
    if (wanted == STORAGE_LAST_CONTIGUOUS) return layout_last_contiguous(v->shape, &v->layout);
    if (wanted == STORAGE_WIDE_ROWS)
        return layout_last_contiguous(v->shape, &v->layout) && begins_evenly(v, &v->layout);
    /* A slice may begin anywhere; kernels move 16 bytes at a time. */
    bool evenly = v->layout.offset * ingot_dtype_bytes(v->dtype) % 16 == 0 || shape_count(v->shape) == 1;
    return layout_is_contiguous(v->shape, &v->layout) && evenly;
}

/* Made where it is to be joined to others. */
static bool lies_in_place(const node *n, int input)
{
    return n->op == &op_concat_def && n->in[input]->storage == n->out[0];
}

static status place_inputs(build *b, node *n, const kernel_choice *choice)
{
    for (int i = 0; i < n->inputs; i++) {
        storage_wanted wanted = n->kernel->wants[MIN(i, OP_MAX_INPUTS - 1)];
        if (!n->in[i] || lies_as_wanted(n->in[i], wanted) || lies_in_place(n, i)) continue;
        value *from = n->in[i], *c = copy_before(b, n, from, choice);
        if (!c) return ingot_build_status(b);
        for (node *m = n; m; m = m->after) /* later kernels that want the same find the copy */
            for (int j = 0; m->kernel && j < m->inputs; j++)
                if (m->in[j] == from && !lies_as_wanted(from, m->kernel->wants[MIN(j, OP_MAX_INPUTS - 1)]))
                    m->in[j] = c;
    }
    return INGOT_OK;
}

/* The layout that `v` must have for its reshape to have `wanted`. */
static bool layout_before(const value *v, const node *reshape, const layout *wanted, layout *out)
{
    value from = {.shape = reshape->out[0]->shape}, to = {.shape = v->shape};
    value *in[] = {&from};
    const node back = {.op = reshape->op, .attrs = (void *)&v->shape, .in = in, .inputs = 1, .out = {&to}};
    return reshape->op->view(&back, wanted, out);
}

/* Where input `i` of a concatenation begins, and how it lies there. */
static layout part_of(const node *concat, int i)
{
    int64_t axis = ATTRS_OF(concat_attrs, concat)->axis;
    layout l = layout_contiguous(concat->out[0]->shape);
    for (int k = 0; k < i; k++) l.offset += concat->in[k]->shape.dim[axis] * l.stride[axis];
    return l;
}

/* What only a concatenation reads is made in its place there. */
static void make_in_place(const build *b, value *v)
{
    const node *reshapes[INGOT_MAX_RANK], *concat = value_only_reader(b, v);
    const value *last = v;
    int count = 0;
    for (; concat && concat->op == &op_reshape_def; concat = value_only_reader(b, last)) {
        if (count == (int)COUNT(reshapes)) return;
        reshapes[count++] = concat;
        last = concat->out[0];
    }
    if (!concat || concat->op != &op_concat_def || concat->hoisted || !concat->kernel) return;
    if (concat->out[0]->storage != concat->out[0]) return; /* a state: others may read the old one until then */
    int at = 0;
    while (concat->in[at] != last) at++;
    layout l = part_of(concat, at), after;
    while (count--) {
        after = l;
        if (!layout_before(count ? reshapes[count - 1]->out[0] : v, reshapes[count], &after, &l)) return;
    }
    if (!layout_last_contiguous(v->shape, &l) || !begins_evenly(v, &l)) return;
    v->layout = l;
    v->storage = concat->out[0];
}

static void place_outputs(const build *b, const node *n)
{
    if (!(n->kernel->traits & KERNEL_STRIDED_OUTPUT) || n->hoisted) return;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i] && n->out[i]->storage == n->out[i]) make_in_place(b, n->out[i]);
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
        if (n->op->traits & OP_VIEW) TRY(place_view(b, n, choice));
        if (n->op->traits & OP_VIEW || !n->kernel) continue;
        TRY(place_inputs(b, n, choice));
        place_outputs(b, n);
    }
    return INGOT_OK;
}
