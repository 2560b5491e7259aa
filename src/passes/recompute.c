/* Activation checkpointing (Chen et al. 2016): what was made inside a segment and is read by the backward pass is made
 * again there, from the segment's inputs, instead of being kept. Random ops carry their stream, so a copy draws the same.
 */
#include "ops/table.h"
#include "passes/passes.h"

typedef struct copier {
    build *b;
    int segment;
    value **copy; /* by value id: the recomputed twin */
    int values;
    node *before; /* copies go here */
} copier;

static value *recomputed(copier *c, value *v);

static bool inside(const copier *c, const value *v)
{
    return v->node->segment == c->segment && !v->node->backward && !(v->node->op->traits & (OP_SOURCE | OP_EFFECT));
}

static value *copy_node(copier *c, value *v)
{
    node *n = v->node;
    value **in = ARENA_ARRAY(c->b->arena, value *, MAX(n->inputs, 1));
    if (!in) return build_fail(c->b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
    for (int i = 0; i < n->inputs; i++) in[i] = n->in[i] ? recomputed(c, n->in[i]) : NULL;
    c->b->cursor = c->before;
    c->b->scope = n->scope;
    c->b->in_backward = true;
    node *twin = node_new(c->b, n->op, in, n->inputs, n->attrs);
    c->b->in_backward = false;
    c->b->scope = "";
    c->b->cursor = NULL;
    if (!twin) return NULL;
    twin->recomputed = true;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i]) c->copy[n->out[i]->id] = node_output(c->b, twin, i);
    return c->copy[v->id];
}

static value *recomputed(copier *c, value *v)
{
    if (v->id >= c->values || !inside(c, v)) return v;
    return c->copy[v->id] ? c->copy[v->id] : copy_node(c, v);
}

static status recompute_segment(copier *c)
{
    memset(c->copy, 0, sizeof *c->copy * (size_t)c->values);
    c->before = NULL;
    for (node *n = c->b->first; n; n = n->after) {
        if (!n->backward || n->recomputed) continue;
        for (int i = 0; i < n->inputs; i++) {
            if (!n->in[i] || n->in[i]->id >= c->values || !inside(c, n->in[i])) continue;
            c->before = n;
            n->in[i] = recomputed(c, n->in[i]);
            if (!n->in[i]) return ingot_build_status(c->b);
        }
    }
    return INGOT_OK;
}

status pass_recompute(build *b)
{
    copier c = {.b = b, .values = b->values};
    c.copy = malloc(sizeof *c.copy * ((size_t)b->values + 1));
    if (!c.copy) return fail_memory(b->ctx, "recomputation", (uint64_t)b->values * sizeof *c.copy);
    status s = INGOT_OK;
    for (c.segment = b->segments; c.segment >= 1 && !s; c.segment--) s = recompute_segment(&c);
    free(c.copy);
    return s;
}
