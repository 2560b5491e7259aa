/* From a graph with kernels and layouts to steps with memory: who lies where, and how long.
 *
 * Every storage root gets a buffer. Activations live from the step that makes them to the last step that reads them or a
 * view of them; an output is written over an input that dies in its step where the op allows it. Inputs, outputs, uniforms
 * and derived values lie in a block of the program's own; states in the store.
 */
#include "engine/program.h"

#define ALIGN         64
#define PLENTY        ((int64_t)512 << 20)
#define RESTING_STEPS 8 /* steps after its last one in which a buffer is not used again, where steps run side by side */
#define GUARD         64 /* bytes of NaN behind every buffer when memory is poisoned */

static int64_t aligned(int64_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static value *root_of(value *v)
{
    while (v->storage != v) v = v->storage;
    return v;
}

static bool is_port(const ingot_program *p, const value *v)
{
    for (int64_t i = 0; i < p->graph->outputs.count; i++)
        if (p->graph->outputs.at[i].value == v) return true;
    return false;
}

static buffer_kind kind_of(const ingot_program *p, const value *v)
{
    if (value_is_state(v)) return BUFFER_STATE;
    if ((v->node->op->traits & OP_SOURCE) || v->node->hoisted || is_port(p, v)) return BUFFER_OWN;
    return BUFFER_ARENA;
}

static status add_buffer(ingot_program *p, const value *v, int64_t bytes, int64_t step)
{
    buffer b = {
        .kind = v ? kind_of(p, v) : BUFFER_ARENA, .bytes = MAX(bytes, 1), .first = step, .last = step, .value = v};
    if (b.kind == BUFFER_STATE) {
        const ingot_store *s = p->store;
        b.state = store_find(s, v->name);
    }
    if (!ARRAY_PUSH(&p->buffers, b)) return fail_memory(p->device->ctx, "a memory plan", sizeof b);
    if (v) p->buffer_of[v->id] = (int)p->buffers.count - 1;
    return INGOT_OK;
}

static buffer *buffer_at(ingot_program *p, value *v)
{
    int at = p->buffer_of[root_of(v)->id];
    return at < 0 ? NULL : &p->buffers.at[at];
}

/* Whether input j dies in this step and is nobody else's memory, so that `out` may be written over it. */
static bool dies_here(ingot_program *p, const node *n, int j, const value *out, int64_t step, const int64_t *last_read)
{
    value *in = n->in[j];
    if (!in || in->dtype != out->dtype || shape_count(in->shape) != shape_count(out->shape)) return false;
    value *root = root_of(in);
    const buffer *b = buffer_at(p, in);
    if (!b || b->kind != BUFFER_ARENA || last_read[root->id] != step || in->layout.offset ||
        !layout_is_contiguous(in->shape, &in->layout) || value_bytes(root) != value_bytes(out))
        return false;
    if ((n->op->traits & OP_POINTWISE) && !shape_equal(in->shape, out->shape)) return false;
    for (int k = 0; k < n->inputs; k++) {
        bool same = n->in[k] == in && (k == j || n->op->traits & OP_POINTWISE);
        if (n->in[k] && !same && root_of(n->in[k]) == root) return false;
    }
    for (int o = 0; o < NODE_MAX_OUTPUTS; o++)
        if (n->out[o] && n->out[o] != out && n->out[o]->storage == root) return false;
    return true;
}

static bool reuse_input(ingot_program *p, const node *n, value *out, int64_t step, const int64_t *last_read)
{
    if (kind_of(p, out) != BUFFER_ARENA || p->device->poison || p->spread) return false;
    int may = n->op->outputs[out->output].may_reuse;
    for (int j = 0; j < n->inputs; j++) {
        if (may != INPUT(j) && !(n->op->traits & OP_POINTWISE)) continue;
        if (!dies_here(p, n, j, out, step, last_read)) continue;
        out->storage = root_of(n->in[j]);
        return true;
    }
    return false;
}

/* By value id of a storage root: the last step that reads it, found before any output is written over an input. */
static int64_t *find_last_reads(const ingot_program *p)
{
    int64_t *last = calloc((size_t)p->graph->values + 1, sizeof *last);
    int64_t step = 0;
    for (const node *n = p->graph->first; last && n; n = n->after) {
        if (!n->kernel || n->hoisted) continue;
        for (int i = 0; i < n->inputs; i++)
            if (n->in[i]) last[root_of(n->in[i])->id] = step;
        step++;
    }
    return last;
}

static status place_outputs(ingot_program *p, node *n, int64_t step, int64_t *last_read)
{
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) {
        value *v = n->out[i];
        if (!v) continue;
        if (v->storage == v && n->kernel && !n->hoisted && reuse_input(p, n, v, step, last_read)) {
            value *root = root_of(v); /* it now lives as long as what was written over it */
            last_read[root->id] = MAX(last_read[root->id], last_read[v->id]);
        }
        if (n->op->traits & (OP_VIEW | OP_UPDATE)) continue;
        value *root = root_of(v); /* of a part of a concatenation: memory for all of it, from the first part on */
        if (p->buffer_of[root->id] < 0) TRY(add_buffer(p, root, value_bytes(root), step));
    }
    return INGOT_OK;
}

static status place_values(ingot_program *p)
{
    build *b = p->graph;
    int64_t *last_read = find_last_reads(p), step = 0;
    p->buffer_of = malloc(sizeof *p->buffer_of * ((size_t)b->values + 1));
    status s = last_read && p->buffer_of ? INGOT_OK : fail_memory(p->device->ctx, "a memory plan", (uint64_t)b->values);
    for (int i = 0; !s && i <= b->values; i++) p->buffer_of[i] = -1;
    for (node *n = b->first; n && !s; n = n->after) {
        s = place_outputs(p, n, step, last_read);
        if (!n->kernel || n->hoisted) continue;
        for (int i = 0; i < n->inputs && !s; i++) {
            buffer *in = n->in[i] ? buffer_at(p, n->in[i]) : NULL;
            if (in) in->last = MAX(in->last, step);
        }
        for (int i = 0; i < NODE_MAX_OUTPUTS && !s; i++) {
            buffer *out = n->out[i] ? buffer_at(p, n->out[i]) : NULL;
            if (out) out->last = MAX(out->last, step);
        }
        step++;
    }
    free(last_read);
    return s;
}

static status place_scratch(ingot_program *p, int64_t steps)
{
    p->scratch_of = malloc(sizeof *p->scratch_of * (size_t)MAX(steps, 1));
    if (!p->scratch_of) return fail_memory(p->device->ctx, "a memory plan", (uint64_t)steps);
    int64_t main = 0, prepare = p->main.count;
    for (const node *n = p->graph->first; n; n = n->after) {
        if (!n->kernel) continue;
        int64_t at = n->hoisted ? prepare++ : main++;
        int64_t bytes = n->kernel->scratch ? n->kernel->scratch(n, p->device->caps) : 0;
        p->scratch_of[at] = bytes > 0 ? (int)p->buffers.count : -1;
        if (bytes > 0) TRY(add_buffer(p, NULL, bytes, n->hoisted ? 0 : at));
    }
    return INGOT_OK;
}

static status plan_arena(ingot_program *p)
{
    int64_t count = p->buffers.count, used = 0;
    plan_interval *in = malloc(sizeof *in * (size_t)MAX(count, 1));
    if (!in) return fail_memory(p->device->ctx, "a memory plan", (uint64_t)count * sizeof *in);
    for (int64_t i = 0; i < count; i++) {
        const buffer *b = &p->buffers.at[i];
        if (b->kind != BUFFER_ARENA) continue;
        bool apart = p->device->poison || (p->spread && !b->value);
        in[used++] = apart ? (plan_interval){b->bytes + GUARD, 0, p->main.count, 0}
                           : (plan_interval){b->bytes, b->first, p->spread ? b->last + RESTING_STEPS : b->last, 0};
    }
    bool done = plan_offsets(in, used, ALIGN, &p->arena_bytes);
    p->lower_bound_bytes = plan_lower_bound(in, used, ALIGN);
    for (int64_t i = 0, j = 0; i < count; i++)
        if (p->buffers.at[i].kind == BUFFER_ARENA) p->buffers.at[i].offset = in[j++].offset;
    free(in);
    return done ? INGOT_OK : fail_memory(p->device->ctx, "a memory plan", (uint64_t)count);
}

/* What the buffer of a root holds: an input, an output, or neither. */
static bool holds(const port *ports, int64_t count, const value *root)
{
    for (int64_t i = 0; root && i < count; i++)
        if (root_of(ports[i].value) == root) return true;
    return false;
}

/* Inputs first, then outputs, then the rest: what travels together lies together (staging.c). */
static void place_own(ingot_program *p)
{
    enum { INPUTS, RESULTS, REST };
    for (int turn = INPUTS; turn <= REST; turn++) {
        int64_t first = p->own_bytes;
        for (int64_t i = 0; i < p->buffers.count; i++) {
            buffer *b = &p->buffers.at[i];
            if (b->kind != BUFFER_OWN) continue;
            bool in = holds(p->graph->inputs.at, p->graph->inputs.count, b->value);
            bool out = !in && holds(p->graph->outputs.at, p->graph->outputs.count, b->value);
            if (turn != (in ? INPUTS : out ? RESULTS : REST)) continue;
            b->offset = p->own_bytes;
            p->own_bytes += aligned(b->bytes) + (p->device->poison ? GUARD : 0);
        }
        stage *s = turn == INPUTS ? &p->inputs : &p->results;
        if (turn != REST) *s = (stage){.offset = first, .bytes = p->own_bytes - first};
    }
}

static tensor tensor_of(ingot_program *p, value *v)
{
    const buffer *b = buffer_at(p, v);
    tensor t = {.dtype = v->dtype, .shape = v->shape};
    memcpy(t.stride, v->layout.stride, sizeof t.stride);
    t.byte_offset = b->offset + v->layout.offset * ingot_dtype_bytes(v->dtype);
    if (b->kind == BUFFER_STATE) t.byte_offset += b->state->offset;
    return t;
}

/* Whether a run changes no byte of the state: members of a group are also read and written joined, and as the whole group. */
static bool rests(const ingot_program *p, const store_state *state)
{
    const store_group *g = store_group_of(p->store, state);
    for (int64_t i = 0; i < p->updates.count; i++)
        if (p->updates.at[i] == g) return false;
    for (int64_t i = 0; !g && i < p->graph->states.count; i++) {
        const value *v = p->graph->states.at[i].value;
        if (!strcmp(v->name, state->name) && value_is_updated(p->graph, v)) return false;
    }
    return true;
}

/* Whether input i is a state, or a whole group, that n itself gives its new value in place: those before n leave it alone. */
static bool rests_until(const ingot_program *p, const node *n, int i, const store_state *state)
{
    const store_group *g = store_group_of(p->store, state);
    if (!value_is_state(n->in[i])) return false;
    for (int64_t k = 0; g && k < p->graph->states.count; k++) {
        const value *v = p->graph->states.at[k].value;
        if (v == n->in[i] || !value_is_updated(p->graph, v)) continue;
        if (store_group_of(p->store, store_find(p->store, v->name)) == g) return false;
    }
    for (int o = 0; o < NODE_MAX_OUTPUTS; o++)
        if (n->out[o] && n->out[o]->storage == n->in[i]) return true;
    return false;
}

static status fill_step(ingot_program *p, node *n, step *s)
{
    *s = (step){.node = n, .kernel = n->kernel, .inputs = n->inputs};
    s->in = ARENA_ARRAY(p->graph->arena, tensor, MAX(n->inputs, 1));
    if (!s->in) return fail_memory(p->device->ctx, "a program", sizeof(tensor));
    for (int i = 0; i < n->inputs; i++) {
        if (!n->in[i]) continue;
        s->in[i] = tensor_of(p, n->in[i]);
        const buffer *from = buffer_at(p, n->in[i]);
        bool state = i < 32 && !n->hoisted && from->kind == BUFFER_STATE;
        if (state && (rests(p, from->state) || rests_until(p, n, i, from->state))) s->resting |= 1u << i;
    }
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i]) s->out[i] = tensor_of(p, n->out[i]);
    return INGOT_OK;
}

static status fill_steps(ingot_program *p)
{
    int64_t main = 0, prepare = 0;
    for (node *n = p->graph->first; n; n = n->after) {
        if (!n->kernel) continue;
        step *s = n->hoisted ? &p->prepare.steps[prepare++] : &p->main.steps[main++];
        TRY(fill_step(p, n, s));
        int scratch = p->scratch_of[n->hoisted ? p->main.count + prepare - 1 : main - 1];
        if (scratch < 0) continue;
        s->scratch_bytes = p->buffers.at[scratch].bytes;
        s->scratch_offset = p->buffers.at[scratch].offset;
    }
    return INGOT_OK;
}

/* Whether memory may rest before it is used again: where steps run side by side, reuse would make them wait for each other,
 * and a small program does not need it. */
static bool memory_is_plenty(const ingot_program *p)
{
    int64_t bytes = 0;
    if (!p->device->def->side_by_side) return false;
    for (const node *n = p->graph->first; n; n = n->after) {
        if (!n->kernel) continue;
        for (int i = 0; i < NODE_MAX_OUTPUTS; i++) bytes += n->out[i] ? value_bytes(n->out[i]) : 0;
        if (n->kernel->scratch) bytes += n->kernel->scratch(n, p->device->caps);
    }
    return bytes <= PLENTY;
}

status program_assign(ingot_program *p)
{
    p->spread = memory_is_plenty(p);
    for (const node *n = p->graph->first; n; n = n->after) {
        if (!n->kernel) continue;
        p->main.count += !n->hoisted;
        p->prepare.count += n->hoisted;
    }
    int64_t steps = p->main.count + p->prepare.count;
    p->main.steps = ARENA_ARRAY(p->graph->arena, step, steps + 1);
    if (!p->main.steps) return fail_memory(p->device->ctx, "a program", (uint64_t)steps * sizeof(step));
    p->prepare.steps = p->main.steps + p->main.count;
    p->main.name = p->prepare.name = p->graph->name;
    TRY(place_values(p));
    TRY(place_scratch(p, steps));
    TRY(plan_arena(p));
    place_own(p);
    return fill_steps(p);
}
