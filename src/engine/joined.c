/* Joined states: neighbours of a group, in the order of their memory, as one state. What a graph writes as a concatenation of
 * them is read where it lies; parts of one value that are each to become a neighbour become all of them at once. So a joined
 * product (passes/join.c) costs no copy: not of weights, and not of their gradients.
 */
#include "engine/program.h"
#include "ops/concat/concat.h"
#include "ops/source/source.h"
#include "ops/table.h"
#include "ops/view/view.h"
#include "passes/passes.h"

enum { MOST_JOINED = 16 };

static const store_state *state_of(const ingot_store *s, const value *v)
{
    return value_is_state(v) ? store_find(s, v->name) : NULL;
}

static bool follows(const void *store, const value *one, const value *next)
{
    const ingot_store *s = store;
    const store_state *a = state_of(s, one), *b = state_of(s, next);
    if (!a || !b || !*a->group || strcmp(a->group, b->group) || a->shape.rank != b->shape.rank) return false;
    for (int64_t i = 1; i < a->shape.rank; i++)
        if (a->shape.dim[i] != b->shape.dim[i]) return false;
    return b->offset == a->offset + shape_count(a->shape) * ingot_dtype_bytes(a->storage);
}

status join_products(ingot_store *s, build *b)
{
    return s->device->joins ? pass_join(b, &(neighbours){follows, s}) : INGOT_OK;
}

/* The neighbours as one value, at the front of the graph. */
static value *joined(ingot_program *p, value *const *at, int count)
{
    build *b = p->graph;
    store_state *state;
    if (store_join(p->store, state_of(p->store, at[0]), state_of(p->store, at[count - 1]), &state))
        return build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for a state");
    const char *scope = b->scope;
    b->scope = "";
    b->cursor = b->first;
    value *v = ingot_state_in(b, state->name, state->dtype, state->shape, state->group);
    b->cursor = NULL;
    b->scope = scope;
    return v;
}

/* concat(a, b, c) of neighbours -> the three as one. */
static status read_as_one(ingot_program *p, node *concat)
{
    if (ATTRS_OF(concat_attrs, concat)->axis != 0 || concat->inputs > MOST_JOINED) return INGOT_OK;
    for (int i = 0; i < concat->inputs; i++) {
        if (!value_is_state(concat->in[i]) || value_is_updated(p->graph, concat->in[i])) return INGOT_OK;
        if (i && !follows(p->store, concat->in[i - 1], concat->in[i])) return INGOT_OK;
    }
    value *all = joined(p, concat->in, concat->inputs);
    if (!all) return ingot_build_status(p->graph);
    value_replace(p->graph, concat->out[0], all);
    node_remove(p->graph, concat);
    return INGOT_OK;
}

/* The slice that a state becomes, or has added to it; *adds says which. */
static const node *part_of(const node *update, bool *adds)
{
    const value *v = update->in[1];
    *adds = v->node->op == &op_add_def && v->node->in[0] == update->in[0];
    if (*adds) v = v->node->in[1];
    const node *slice = v->node;
    return slice->op == &op_slice_def && ATTRS_OF(slice_attrs, slice)->axis == 0 ? slice : NULL;
}

/* The update of the part of `whole` that begins at `start`, of the neighbour after `before` if there is one. */
static node *find_part(const ingot_program *p, const value *whole, int64_t start, const value *before, bool adds)
{
    for (node *n = p->graph->first; n; n = n->after) {
        bool other;
        if (!(n->op->traits & OP_UPDATE)) continue;
        const node *slice = part_of(n, &other);
        if (!slice || slice->in[0] != whole || other != adds || ATTRS_OF(slice_attrs, slice)->start != start) continue;
        if (value_uses(p->graph, n->in[0]) != 1 + adds) continue; /* somebody else reads the state */
        if (!before || follows(p->store, before, n->in[0])) return n;
    }
    return NULL;
}

/* update(a, slice(d, ..)), update(b, slice(d, ..)) of neighbours -> update(both, d). */
static status update_as_one(ingot_program *p, node *first, node **next)
{
    build *b = p->graph;
    node *at[MOST_JOINED];
    value *states[MOST_JOINED], *d;
    bool adds;
    int count = 0;
    const node *slice = part_of(first, &adds);
    if (!slice) return INGOT_OK;
    d = slice->in[0];
    for (int64_t start = 0; start < d->shape.dim[0]; count++) {
        node *n = count < MOST_JOINED ? find_part(p, d, start, count ? states[count - 1] : NULL, adds) : NULL;
        if (!n) return INGOT_OK;
        at[count] = n;
        states[count] = n->in[0];
        start += n->in[0]->shape.dim[0];
    }
    if (count < 2) return INGOT_OK;
    value *all = joined(p, states, count);
    b->cursor = at[count - 1];
    value *v = all && adds ? ingot_add(b, all, d) : d;
    ingot_state_update(b, all, v);
    b->cursor = NULL;
    for (int i = 0; i < count && !b->status; i++) {
        if (*next == at[i]) *next = (*next)->after;
        node_remove(b, at[i]);
    }
    return ingot_build_status(b);
}

status join_states(ingot_program *p)
{
    if (!p->device->joins) return INGOT_OK;
    TRY(join_products(p->store, p->graph));
    for (node *n = p->graph->first, *next; n; n = next) {
        next = n->after;
        if (n->op == &op_concat_def) TRY(read_as_one(p, n));
    }
    for (node *n = p->graph->first, *next; n; n = next) {
        next = n->after;
        if (n->op->traits & OP_UPDATE) TRY(update_as_one(p, n, &next));
    }
    return INGOT_OK;
}
