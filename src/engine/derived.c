/* Derived states: a float32 state that a program only reads in 16 bits is read from its 16-bit copy, which is made once for
 * all programs and again when the state has changed. So masters are cast once a change, not in every program that multiplies
 * with them.
 */
#include "engine/program.h"
#include "ops/source/source.h"
#include "ops/table.h"

#include <stdio.h>

/* Streams of Philox from here on round groups; a model's own begin at 0. */
enum { ROUNDING_STREAM = 0x40000000 };

static value *rounded(build *b, ingot_store *s, const store_group *master, value *from, dtype to)
{
    if (!master->rng) return ingot_cast(b, from, to);
    int64_t stream = ROUNDING_STREAM;
    while (s->groups.at[stream - ROUNDING_STREAM] != master) stream++;
    return ingot_stochastic_round(b, from, ingot_state(b, master->rng, INGOT_I32, INGOT_SHAPE(4)), to, stream);
}

/* The program that casts a whole group. */
static status compile_make(ingot_store *s, store_group *g)
{
    if (g->make) return INGOT_OK;
    build *b = ingot_build_new(s->device->ctx, "derive");
    if (!b) return fail_memory(s->device->ctx, "a graph", 0);
    value *from = ingot_state_group(b, s, g->master->name), *to = ingot_state_group(b, s, g->name);
    ingot_state_update(b, to, rounded(b, s, g->master, from, g->dtype));
    return ingot_compile(b, s->device, &(ingot_compile_options){.store = s}, &g->make);
}

static status derive(ingot_program *p, node *cast)
{
    build *b = p->graph;
    const store_state *of = store_find(p->store, cast->in[0]->name);
    store_state *copy;
    TRY(store_derive(p->store, of, cast->out[0]->dtype, &copy));
    TRY(compile_make(p->store, store_find_group(p->store, copy->group)));
    const char *scope = b->scope;
    b->scope = "";
    value *v = ingot_state_in(b, copy->name, copy->dtype, copy->shape, copy->group);
    b->scope = scope;
    if (!v) return ingot_build_status(b);
    if (v->node->before != NULL) { /* sources stand where they are made: this one is read from the beginning on */
        node *n = v->node;
        node_remove(b, n);
        n->before = NULL;
        n->after = b->first;
        b->first->before = n;
        b->first = n;
    }
    value_replace(b, cast->out[0], v);
    return INGOT_OK;
}

/* Whether what is cast to `to` in this program is read from a copy. */
static bool is_derivable(const ingot_program *p, const value *v, dtype to)
{
    const source_attrs *from = value_is_state(v) ? v->node->attrs : NULL;
    return from && v->dtype == INGOT_F32 && dtype_is_narrow(to) && from->group && *from->group &&
           !value_is_updated(p->graph, v);
}

/* The copy of a state, where this program reads it already; NULL: it does not, or the copy is rounded by chance. */
static value *copy_in_use(const ingot_program *p, const value *master, dtype to)
{
    const store_group *g = store_group_of(p->store, store_find(p->store, master->name));
    size_t length = strlen(master->name);
    for (int64_t i = 0; i < p->graph->states.count && !g->rng; i++) {
        value *v = p->graph->states.at[i].value;
        if (!strncmp(v->name, master->name, length) && v->name[length] == '@' &&
            !strcmp(v->name + length + 1, ingot_dtype_name(to)))
            return v;
    }
    return NULL;
}

/* Rows of a master that are cast are rows of its copy: an embedding whose table is the head's too. */
static status gather_from_copy(ingot_program *p, node *cast)
{
    build *b = p->graph;
    const node *rows = cast->in[0]->node;
    dtype to = cast->out[0]->dtype;
    if (rows->op != &op_gather_def || value_uses(b, cast->in[0]) != 1 || !is_derivable(p, rows->in[0], to))
        return INGOT_OK;
    value *copy = copy_in_use(p, rows->in[0], to);
    if (!copy) return INGOT_OK;
    const char *scope = b->scope;
    b->cursor = cast, b->scope = cast->scope, b->in_backward = cast->backward, b->segment = cast->segment;
    value *y = ingot_gather(b, copy, rows->in[1]);
    b->cursor = NULL, b->scope = scope, b->in_backward = false, b->segment = 0;
    if (!y) return ingot_build_status(b);
    value_replace(b, cast->out[0], y);
    return INGOT_OK;
}

status derive_states(ingot_program *p)
{
    if (p->device->def->promotes_to_f64) return INGOT_OK;
    for (node *n = p->graph->first; n; n = n->after)
        if (n->op == &op_cast_def && is_derivable(p, n->in[0], n->out[0]->dtype)) TRY(derive(p, n));
    for (node *n = p->graph->first; n; n = n->after)
        if (n->op == &op_cast_def) TRY(gather_from_copy(p, n));
    return INGOT_OK;
}

static bool is_known(store_group *const *at, int64_t count, const store_group *g)
{
    for (int64_t i = 0; i < count; i++)
        if (at[i] == g) return true;
    return false;
}

status derive_note_groups(ingot_program *p)
{
    build *b = p->graph;
    for (int64_t i = 0; i < b->states.count; i++) {
        const value *v = b->states.at[i].value;
        const store_state *state = store_find(p->store, v->name);
        store_group *g = state ? store_group_of(p->store, state) : NULL;
        if (!g) continue;
        bool updated = value_is_updated(b, v), reads = g->master && !updated;
        if (updated && !is_known(p->updates.at, p->updates.count, g) && !ARRAY_PUSH(&p->updates, g))
            return fail_memory(p->device->ctx, "a program", sizeof g);
        if (reads && !is_known(p->derived.at, p->derived.count, g) && !ARRAY_PUSH(&p->derived, g))
            return fail_memory(p->device->ctx, "a program", sizeof g);
    }
    return INGOT_OK;
}

status derive_before_run(ingot_program *p)
{
    for (int64_t i = 0; i < p->derived.count; i++) {
        store_group *g = p->derived.at[i];
        if (g->made_from != g->master->version) TRY(ingot_run(g->make, NULL));
    }
    return INGOT_OK;
}

void derive_after_run(ingot_program *p)
{
    for (int64_t i = 0; i < p->updates.count; i++) p->updates.at[i]->version++;
    for (int64_t i = 0; i < p->updates.count; i++) {
        store_group *g = p->updates.at[i];
        if (g->master) g->made_from = g->master->version;
    }
}
