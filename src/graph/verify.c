/* The rules of a graph, checked after each pass in debug builds: a broken one names the pass, the node and the rule. */
#include "graph/graph.h"
#include "graph/op.h"

typedef struct checker {
    const build *b;
    const char *pass;
    bool *made;    /* by value id: made earlier in the list */
    bool *updated; /* by value id of a state: an update was seen */
} checker;

static status broken(const checker *c, const node *n, const char *rule)
{
    text line = {0};
    node_print(n, &line);
    status s = ingot_fail(c->b->ctx, INGOT_ERROR_INTERNAL, "after %s, graph %s: %s: %s", c->pass, c->b->name, rule,
                          line.at ? line.at : n->op->name);
    text_free(&line);
    return s;
}

static status check_node(checker *c, const node *n)
{
    for (int i = 0; i < n->inputs; i++) {
        const value *v = n->in[i];
        if (v && !c->made[v->id]) return broken(c, n, "an input is used before it is made");
    }
    if ((n->op->traits & OP_UPDATE)) {
        const value *state = n->in[0];
        if (!value_is_state(state)) return broken(c, n, "an update of something that is no state");
        if (c->updated[state->id]) return broken(c, n, "a second update of one state");
        c->updated[state->id] = true;
        if (n->in[1]->dtype != state->dtype || !shape_equal(n->in[1]->shape, state->shape))
            return broken(c, n, "an update of another shape or dtype");
    }
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) {
        const value *v = n->out[i];
        if (!v) continue;
        if (v->node != n || v->output != i) return broken(c, n, "an output that does not know its node");
        if (v->shape.rank < 0 || v->shape.rank > INGOT_MAX_RANK) return broken(c, n, "an output of impossible rank");
        c->made[v->id] = true;
    }
    return INGOT_OK;
}

status graph_verify(const build *b, const char *after_pass)
{
    checker c = {.b = b, .pass = after_pass};
    c.made = calloc((size_t)b->values + 1, 2 * sizeof *c.made);
    if (!c.made) return fail_memory(b->ctx, "verifying a graph", (uint64_t)b->values * 2);
    c.updated = c.made + b->values + 1;
    status s = INGOT_OK;
    for (const node *n = b->first; n && !s; n = n->after) s = check_node(&c, n);
    for (int64_t i = 0; i < b->outputs.count && !s; i++)
        if (!c.made[b->outputs.at[i].value->id])
            s = ingot_fail(b->ctx, INGOT_ERROR_INTERNAL, "after %s, graph %s: output %s is not made by any node",
                           after_pass, b->name, b->outputs.at[i].name);
    free(c.made);
    return s;
}
