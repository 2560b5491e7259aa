/* Builds a subject's graph: inputs in the layout that is tried, a loss of random weights, gradients. */
#include "check/subject.h"

#include "check/values.h"
#include "ops/source/source.h"

#include <stdio.h>

build *check_builder(check_graph *g)
{
    return g->b;
}

enum { BESIDE = 8 }; /* columns before those of LAYOUT_WIDER: 16 bytes or more, as kernels like it */

shape source_storage(shape s, check_layout layout)
{
    shape to = s;
    if (layout == LAYOUT_WIDER && s.rank > 1) to.dim[s.rank - 1] += BESIDE;
    if (layout != LAYOUT_STRIDED) return to;
    if (s.rank == 0) return INGOT_SHAPE(3);
    if (s.rank == 1) return INGOT_SHAPE(s.dim[0], 2);
    to.dim[s.rank - 2] = s.dim[s.rank - 1];
    to.dim[s.rank - 1] = s.dim[s.rank - 2] + 1;
    return to;
}

/* Where element i of a source lies in its storage. */
static int64_t place_of(shape s, check_layout layout, int64_t i)
{
    int64_t m = s.rank > 1 ? s.dim[s.rank - 2] : 1, n = s.rank > 1 ? s.dim[s.rank - 1] : 1;
    if (layout == LAYOUT_WIDER && s.rank > 1) return i / n * (n + BESIDE) + BESIDE + i % n;
    if (layout != LAYOUT_STRIDED) return i;
    if (s.rank < 2) return 2 * i + 1;
    int64_t outer = i / (m * n), row = i / n % m, column = i % n;
    return (outer * n + column) * (m + 1) + row + 1;
}

/* The inverse of place_of, as views. Strided: (.., n, m + 1) -> slice -> (.., n, m) -> transpose -> (.., m, n). */
static value *view_of(build *b, value *memory, shape s, check_layout layout)
{
    if (!memory || layout == LAYOUT_CONTIGUOUS || layout == LAYOUT_OWNED) return memory;
    if (layout == LAYOUT_WIDER) return s.rank > 1 ? ingot_slice(b, memory, -1, BESIDE, s.dim[s.rank - 1]) : memory;
    if (s.rank == 0) return ingot_reshape(b, ingot_slice(b, memory, 0, 1, 1), s);
    if (s.rank == 1) return ingot_reshape(b, ingot_slice(b, memory, 1, 1, 1), s);
    return ingot_transpose(b, ingot_slice(b, memory, -1, 1, s.dim[s.rank - 2]));
}

void source_image(const check_source *source, check_layout layout, dtype type, void *out)
{
    shape s = source->shape;
    if (source->state) layout = LAYOUT_CONTIGUOUS;
    int64_t count = shape_count(s), padded = shape_count(source_storage(s, layout));
    double outside = dtype_is_float(type) ? __builtin_nan("") : 127; /* what nobody may read */
    for (int64_t i = 0; i < padded && padded > count; i++) dtype_store(type, out, i, outside);
    for (int64_t i = 0; i < count; i++) dtype_store(type, out, place_of(s, layout, i), source->values[i]);
}

static check_source *add_source(check_graph *g, const char *name, dtype type, shape s, check_fill fill)
{
    if (g->next < g->sources->count) return &g->sources->at[g->next++];
    check_source source = {.name = arena_strdup(g->arena, name), .dtype = type, .shape = s, .fill = fill};
    source.values = ARENA_ARRAY(g->arena, double, shape_count(s) + 1);
    if (!source.name || !source.values || !ARRAY_PUSH(g->sources, source))
        return build_fail(g->b, INGOT_ERROR_MEMORY, "not enough memory for the values of a check");
    return &g->sources->at[g->next++];
}

value *check_input(check_graph *g, const char *name, dtype type, shape s, check_fill fill)
{
    build *b = g->b;
    check_source *source = b->status ? NULL : add_source(g, name, type, s, fill);
    if (!source) return NULL;
    value *v = ingot_input(b, name, type, source_storage(s, g->layout));
    v = view_of(b, v, s, g->layout);
    if (g->layout == LAYOUT_OWNED) v = APPLY(b, &op_copy_def, NULL, v);
    if (v && !ARRAY_PUSH(&g->inputs, v)) build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for a check");
    return v;
}

static void add_output(check_graph *g, void *ports, const char *name, value *v)
{
    ARRAY(port) *list = ports;
    const char *kept = arena_strdup(g->b->arena, name);
    if (v && !ARRAY_PUSH(list, (port){kept, v})) build_fail(g->b, INGOT_ERROR_MEMORY, "not enough memory for a check");
}

/* What the host reads is in memory of its own, never written over an input: there a copy goes out. */
static value *output_value(check_graph *g, value *v)
{
    return g->layout == LAYOUT_OWNED && v ? APPLY(g->b, &op_copy_def, NULL, v) : v;
}

void check_output(check_graph *g, const char *name, value *v)
{
    add_output(g, &g->outputs, name, output_value(g, v));
}

void check_side_output(check_graph *g, const char *name, value *v)
{
    add_output(g, &g->side_outputs, name, output_value(g, v));
}

static bool is_known(const check_graph *g, const value *v)
{
    for (int64_t i = 0; i < g->next; i++)
        if (!strcmp(g->sources->at[i].name, v->name)) return true;
    return false;
}

/* Inputs and states that the subject made itself are sources too: tokens and weights of a model. */
static void add_port(check_graph *g, value *v)
{
    const check_subject *s = g->subject;
    if (g->b->status || is_known(g, v)) return;
    check_fill fill = s->fill ? s->fill(s->user, v) : (check_fill){.scale = 0.3};
    check_source *source = add_source(g, v->name, v->dtype, v->shape, fill);
    if (source) source->state = value_is_state(v);
    if (source && !ARRAY_PUSH(&g->inputs, v)) build_fail(g->b, INGOT_ERROR_MEMORY, "not enough memory for a check");
}

static void add_ports(check_graph *g)
{
    for (int64_t i = 0; i < g->b->inputs.count; i++) add_port(g, g->b->inputs.at[i].value);
    for (int64_t i = 0; i < g->b->states.count; i++) add_port(g, g->b->states.at[i].value);
}

/* The sum of all float outputs, each element with a random weight that only its place knows. */
static value *weighted_loss(check_graph *g)
{
    value *loss = NULL;
    int64_t outputs = g->outputs.count;
    for (int64_t i = 0; i < outputs; i++) {
        value *v = g->outputs.at[i].value;
        if (!dtype_is_float(v->dtype)) continue;
        char name[64];
        snprintf(name, sizeof name, "weight %d", (int)i);
        value *weight = check_input(g, name, v->dtype, v->shape, (check_fill){.constant = true});
        if (g->next > 0 && g->next <= g->sources->count) g->sources->at[g->next - 1].cotangent = true;
        value *part = ingot_sum_all(g->b, ingot_mul(g->b, v, weight));
        loss = loss ? ingot_add(g->b, loss, part) : part;
    }
    return loss;
}

static void add_gradients(check_graph *g, value *loss)
{
    int count = (int)g->inputs.count;
    value **wrt = ARENA_ARRAY(g->b->arena, value *, count + 1), **d = ARENA_ARRAY(g->b->arena, value *, count + 1);
    int *of = ARENA_ARRAY(g->b->arena, int, count + 1);
    int wanted = 0;
    if (!wrt || !d || !of) return;
    for (int i = 0; i < count; i++) {
        if (!dtype_is_float(g->inputs.at[i]->dtype) || g->sources->at[i].fill.constant) continue;
        of[wanted] = i;
        wrt[wanted++] = g->inputs.at[i];
    }
    ingot_gradients(g->b, loss, wrt, wanted, d);
    for (int i = 0; i < wanted && !g->b->status; i++) {
        char name[256];
        snprintf(name, sizeof name, "gradient of %s", g->sources->at[of[i]].name);
        ingot_output(g->b, name, d[i]);
    }
}

static void fill_sources(check_graph *g, int64_t from, uint64_t seed)
{
    for (int64_t i = from; i < g->sources->count; i++) {
        check_source *s = &g->sources->at[i];
        rng r = rng_make(seed, (uint64_t)i + 1);
        values_fill(s->values, s->shape, s->dtype, &s->fill, &r);
    }
}

status subject_build(context *ctx, const check_subject *subject, check_layout layout, check_want want, uint64_t seed,
                     arena *a, check_sources *sources, build **out)
{
    *out = NULL;
    build *b = ingot_build_new(ctx, subject->name);
    if (!b) return fail_memory(ctx, "a graph", sizeof *b);
    check_graph g = {.b = b, .subject = subject, .layout = layout, .arena = a, .sources = sources};
    int64_t known = sources->count;
    subject->build(&g, subject->user);
    add_ports(&g);
    value *loss = want != WANT_OUTPUTS && !b->status ? weighted_loss(&g) : NULL;
    if (want == WANT_GRADIENTS && loss) add_gradients(&g, loss);
    if (want == WANT_LOSS) ingot_output(b, "loss", loss);
    for (int64_t i = 0; i < g.outputs.count && want != WANT_LOSS; i++)
        ingot_output(b, g.outputs.at[i].name, g.outputs.at[i].value);
    for (int64_t i = 0; i < g.side_outputs.count && want != WANT_LOSS; i++)
        ingot_output(b, g.side_outputs.at[i].name, g.side_outputs.at[i].value);
    fill_sources(&g, known, seed);
    ARRAY_FREE(&g.inputs);
    ARRAY_FREE(&g.outputs);
    ARRAY_FREE(&g.side_outputs);
    status s = ingot_build_status(b);
    if (s)
        ingot_build_free(b);
    else
        *out = b;
    return s;
}
