/* New values of states: where the last read of the old value lies before the node that makes the new one, that node writes
 * straight into the state; else a copy at the end does. Readers of the new value read what was made.
 */
#include "ops/table.h"
#include "passes/passes.h"

/* Every reader of `state`, directly or through views, other than update nodes, stands before `writer` in the list, or is
 * writer itself reading elementwise where it writes. */
static bool readers_before(const build *b, const value *state, const node *writer)
{
    for (const node *n = writer; n; n = n->after) {
        for (int i = 0; i < n->inputs; i++) {
            const value *v = n->in[i];
            bool direct = v == state;
            while (v && v != state && (v->node->op->traits & OP_VIEW)) v = v->node->in[0];
            if (v != state || ((n->op->traits & OP_UPDATE) && i == 0)) continue;
            if (n->op->traits & OP_VIEW) continue; /* its readers are looked at */
            int output = -1;
            for (int o = 0; n == writer && o < NODE_MAX_OUTPUTS; o++)
                if (n->out[o] && (n->op->outputs[o].may_reuse == INPUT(i) || n->op->outputs[o].must_alias == INPUT(i)))
                    output = o;
            if (n != writer || !direct || output < 0) return false;
        }
    }
    for (int64_t i = 0; i < b->outputs.count; i++)
        if (b->outputs.at[i].value == state) return false;
    return true;
}

/* The input that output `v` may be written over must be the state itself, if the writer reads the state at all. */
static bool writes_in_place(const build *b, const value *state, const value *v)
{
    const node *writer = v->node;
    for (int i = 0; i < writer->inputs; i++) {
        if (writer->in[i] != state) continue;
        const op_output *out = &writer->op->outputs[v->output];
        if (out->may_reuse != INPUT(i) && out->must_alias != INPUT(i)) return false;
    }
    return readers_before(b, state, writer);
}

/* The new value is copied into the state after everything else; the update node moves behind its copy. */
static status copy_at_end(build *b, node *update)
{
    value *c = APPLY(b, &op_copy_def, NULL, update->in[1]);
    if (!c) return ingot_build_status(b);
    c->storage = update->in[0];
    update->in[1] = c;
    node_remove(b, update);
    update->before = b->last;
    b->last->after = update;
    b->last = update;
    return INGOT_OK;
}

static bool can_be_written(const value *v)
{
    const node *writer = v->node;
    return !(writer->op->traits & (OP_SOURCE | OP_VIEW | OP_UPDATE)) && !writer->hoisted && v->storage == v &&
           writer->op != &op_constant_def;
}

/* What the new value is written over, and nothing else reads, is made in the state as well: sums over chunks. */
static void write_chain(const build *b, value *state, const value *v)
{
    for (;;) {
        const node *writer = v->node;
        const op_output *out = &writer->op->outputs[v->output];
        int at = MAX(out->may_reuse, out->must_alias) - 1;
        value *in = at >= 0 && at < writer->inputs ? writer->in[at] : NULL;
        if (!in || in == state || in->dtype != v->dtype || !shape_equal(in->shape, v->shape)) return;
        if (value_uses(b, in) != 1 || !can_be_written(in) || !writes_in_place(b, state, in)) return;
        in->storage = state;
        v = in;
    }
}

status pass_updates(build *b)
{
    ARRAY(node *) updates = {0};
    status s = INGOT_OK;
    for (node *n = b->first; n && !s; n = n->after)
        if ((n->op->traits & OP_UPDATE) && !ARRAY_PUSH(&updates, n)) s = fail_memory(b->ctx, "state updates", 0);
    for (int64_t i = 0; i < updates.count; i++) value_replace(b, updates.at[i]->out[0], updates.at[i]->in[1]);
    /* Copies that must be come first: they read old values, which the second round then sees. */
    for (int64_t i = 0; i < updates.count && !s; i++)
        if (!can_be_written(updates.at[i]->in[1])) s = copy_at_end(b, updates.at[i]);
    for (int64_t i = 0; i < updates.count && !s; i++) {
        node *n = updates.at[i];
        if (n->in[1]->storage == n->in[0]) continue;
        if (can_be_written(n->in[1]) && writes_in_place(b, n->in[0], n->in[1]))
            n->in[1]->storage = n->in[0];
        else
            s = copy_at_end(b, n);
    }
    for (int64_t i = 0; i < updates.count && !s; i++)
        if (updates.at[i]->in[1]->storage == updates.at[i]->in[0])
            write_chain(b, updates.at[i]->in[0], updates.at[i]->in[1]);
    ARRAY_FREE(&updates);
    return s;
}
