/* Products of one input with weights that lie side by side are one product with all of them, cut into slices: queries, keys and
 * values; gate and up. Run before differentiation the way back is one product each for the input and the weights as well.
 *
 *     linear(x, wq), linear(x, wk), linear(x, wv)  ->  y = linear(x, concat(wq, wk, wv)); slices of y
 *
 * The concatenation moves nothing: whoever compiles the graph reads such states as one (engine/joined.c).
 */
#include "ops/linear/linear.h"
#include "ops/rope/rope.h"
#include "ops/view/view.h"
#include "passes/passes.h"

enum { MOST_MEMBERS = OP_MAX_INPUTS };

typedef struct members {
    node *at[MOST_MEMBERS];
    int count;
} members;

/* The state that a weight is, or is a cast of. */
static value *state_of(value *w)
{
    if (w && w->node->op == &op_cast_def) w = w->node->in[0];
    return w && value_is_state(w) ? w : NULL;
}

static value *bias_of(const node *n)
{
    return n->inputs > 2 ? n->in[2] : NULL;
}

/* A product with a matrix by outputs that is a state, and a bias that is one or none. */
static bool can_join(const build *b, const node *n)
{
    if (n->op != &op_linear_def || ATTRS_OF(linear_attrs, n)->in_out || n->backward) return false;
    const value *w = state_of(n->in[1]), *bias = bias_of(n);
    return w && !value_is_updated(b, w) && (!bias || (value_is_state(bias) && !value_is_updated(b, bias)));
}

/* Whether m's weights lie right behind those of the last member. */
static bool belongs(const build *b, const neighbours *lie, const node *last, const node *m)
{
    if (m->in[0] != last->in[0] || m->segment != last->segment || m->recomputed != last->recomputed) return false;
    if (!can_join(b, m) || m->in[1]->dtype != last->in[1]->dtype || !bias_of(m) != !bias_of(last)) return false;
    return lie->follows(lie->store, state_of(last->in[1]), state_of(m->in[1])) &&
           (!bias_of(m) || lie->follows(lie->store, bias_of(last), bias_of(m)));
}

static members find_members(const build *b, const neighbours *lie, node *first)
{
    members found = {{first}, 1};
    for (node *m = first->after; m && found.count < MOST_MEMBERS; m = m->after)
        if (belongs(b, lie, found.at[found.count - 1], m)) found.at[found.count++] = m;
    return found;
}

static value *all_weights(build *b, const members *found)
{
    value *parts[MOST_MEMBERS];
    for (int i = 0; i < found->count; i++) parts[i] = state_of(found->at[i]->in[1]);
    value *all = ingot_concat(b, parts, found->count, 0);
    return all ? ingot_cast(b, all, found->at[0]->in[1]->dtype) : NULL;
}

static value *all_biases(build *b, const members *found)
{
    value *parts[MOST_MEMBERS];
    for (int i = 0; i < found->count; i++) parts[i] = bias_of(found->at[i]);
    return parts[0] ? ingot_concat(b, parts, found->count, 0) : NULL;
}

static void join(build *b, const members *found)
{
    node *first = found->at[0];
    int64_t start = 0;
    for (int i = 0; i < found->count; i++) {
        node_move_to_front(b, state_of(found->at[i]->in[1])->node);
        if (bias_of(found->at[i])) node_move_to_front(b, bias_of(found->at[i])->node);
    }
    b->cursor = first, b->scope = first->scope, b->segment = first->segment;
    value *y = ingot_linear(b, first->in[0], all_weights(b, found), all_biases(b, found));
    for (int i = 0; y && i < found->count; i++) {
        value *old = found->at[i]->out[0];
        int64_t length = old->shape.dim[old->shape.rank - 1];
        value *part = ingot_slice(b, y, -1, start, length);
        if (part) value_replace(b, old, part);
        start += length;
    }
    b->cursor = NULL, b->scope = "", b->segment = 0;
    for (int i = 0; !b->status && i < found->count; i++) node_remove(b, found->at[i]);
}

/* x of a rotation as heads of a slice (.., width) of y. */
typedef struct turned_slice {
    const node *slice;
    int64_t start, length; /* along the last axis of y */
} turned_slice;

static bool find_slice(const node *rope, turned_slice *out)
{
    const value *x = rope->in[0];
    while (x->node->op == &op_reshape_def) x = x->node->in[0];
    out->slice = x->node;
    if (x->node->op != &op_slice_def || x->shape.rank != 2) return false;
    const slice_attrs *a = x->node->attrs;
    out->start = a->start, out->length = a->length;
    return a->axis == 1;
}

static bool turn_alike(const node *a, const node *b)
{
    const shape *x = &a->in[0]->shape, *y = &b->in[0]->shape;
    return a->in[1] == b->in[1] && a->in[2] == b->in[2] && op_attrs_equal(a->op, a->attrs, b->attrs) && x->rank == 3 &&
           y->rank == 3 && x->dim[0] == y->dim[0] && x->dim[2] == y->dim[2] && a->segment == b->segment &&
           a->backward == b->backward && a->recomputed == b->recomputed;
}

/* Heads of one product that turn by the same angles turn together: queries and keys. */
static void join_ropes(build *b, node *one)
{
    turned_slice first, second;
    if (!find_slice(one, &first)) return;
    for (node *other = one->after; other; other = other->after) {
        if (other->op != &op_rope_def || !turn_alike(one, other) || !find_slice(other, &second)) continue;
        if (second.slice->in[0] != first.slice->in[0] || second.start != first.start + first.length) continue;
        const shape *x = &one->in[0]->shape;
        int64_t heads = x->dim[1], more = other->in[0]->shape.dim[1];
        b->cursor = one, b->scope = one->scope, b->segment = one->segment;
        value *both = ingot_slice(b, first.slice->in[0], 1, first.start, first.length + second.length);
        both = ingot_reshape(b, both, INGOT_SHAPE(x->dim[0], heads + more, x->dim[2]));
        value *y = both ? APPLY(b, &op_rope_def, one->attrs, both, one->in[1], one->in[2]) : NULL;
        value *a = ingot_slice(b, y, 1, 0, heads), *c = ingot_slice(b, y, 1, heads, more);
        b->cursor = NULL, b->scope = "", b->segment = 0;
        if (!a || !c) return;
        value_replace(b, one->out[0], a);
        value_replace(b, other->out[0], c);
        node_remove(b, one);
        node_remove(b, other);
        return;
    }
}

status pass_join(build *b, const neighbours *lie)
{
    const char *scope = b->scope;
    int segment = b->segment;
    for (node *n = b->first, *next; n && !b->status; n = next) {
        next = n->after;
        if (!can_join(b, n)) continue;
        members found = find_members(b, lie, n);
        if (found.count == 1) continue;
        for (int i = 1; i < found.count; i++)
            if (found.at[i] == next) next = next->after;
        join(b, &found);
    }
    for (node *n = b->first, *next; n && !b->status; n = next) {
        next = n->after;
        if (n->op != &op_rope_def || n->backward) continue;
        while (next && next->op == &op_rope_def) next = next->after; /* one that may be joined as well */
        join_ropes(b, n);
    }
    b->scope = scope, b->segment = segment;
    return ingot_build_status(b);
}
