/* Graphs as pictures, for Graphviz: a box a node, layers as frames.
 *
 * Weights and other states are written into the boxes that read them, and views of all of a value are left out, so that
 * what is drawn is what is computed. Or launches alone: a box is a step with its kernel, and nothing else is drawn.
 */
#include "graph/graph.h"
#include "graph/kernel.h"

static bool is_read_state(const node *n)
{
    return (n->op->traits & OP_STATE) && !(n->op->traits & OP_UPDATE);
}

static bool is_whole_view(const node *n)
{
    if (!(n->op->traits & OP_VIEW) || !n->out[0] || n->kernel) return false;
    return n->inputs > 0 && n->in[0] && shape_count(n->in[0]->shape) == shape_count(n->out[0]->shape);
}

static bool is_folded(const node *n, bool launches)
{
    return launches ? !n->kernel : is_read_state(n) || is_whole_view(n);
}

/* What an edge begins at: the node behind the views and, of launches, behind all that is not launched. */
static const node *origin(const value *v, bool launches)
{
    while (is_whole_view(v->node) || (launches && !v->node->kernel && v->node->inputs > 0)) {
        const node *n = v->node;
        v = n->in[(n->op->traits & OP_UPDATE) && n->inputs > 1 ? 1 : 0];
    }
    return v->node;
}

static const char *colour(const node *n)
{
    if (n->op->traits & OP_UPDATE) return "#f8d7da";
    if (n->op->traits & OP_SOURCE) return "#d1e7dd";
    if (n->op->traits & OP_VIEW) return "#f8f9fa";
    return n->backward ? "#fff3cd" : "#ffffff";
}

/* A name inside a scope without the scope: "q_proj.weight". */
static const char *name_within(const char *name, const char *scope)
{
    size_t length = scope ? strlen(scope) : 0;
    return length && !strncmp(name, scope, length) && name[length] == '.' ? name + length + 1 : name;
}

/* Inside a quoted string. */
static void put_escaped(text *out, const char *plain)
{
    for (; *plain; plain++) {
        if (*plain == '"' || *plain == '\\') text_puts(out, "\\");
        text_add(out, plain, 1);
    }
}

static void put_label(const node *n, bool launches, text *out)
{
    char dims[128];
    const value *v = n->out[0];
    put_escaped(out, launches ? n->kernel->name : v && v->name ? v->name : n->op->name);
    if (v) text_printf(out, " %s", shape_print(dims, v->shape));
    for (int i = 0; i < n->inputs; i++) {
        const node *from = n->in[i] ? origin(n->in[i], launches) : NULL;
        if (!from || !is_read_state(from) || !from->out[0]->name) continue;
        text_puts(out, "\\n");
        put_escaped(out, name_within(from->out[0]->name, n->scope));
        text_printf(out, " %s", shape_print(dims, n->in[i]->shape));
    }
    if (n->kernel && !launches) text_printf(out, "\\n<%s>", n->kernel->name);
}

/* How long the first frame's name is: "layers.0" is one. */
static size_t frame_length(const char *part)
{
    size_t length = strcspn(part, ".");
    if (part[length] && part[length + 1] >= '0' && part[length + 1] <= '9')
        length += 1 + strcspn(part + length + 1, ".");
    return length;
}

/* Opens the frames of "model.layers.0"; Graphviz takes a frame that is opened again for the same. Returns how many. */
static int open_frames(const char *scope, text *out)
{
    int frames = 0;
    const char *part = scope;
    while (part && *part) {
        size_t length = frame_length(part);
        text_puts(out, "subgraph \"cluster_");
        text_add(out, scope, (size_t)(part - scope) + length);
        text_puts(out, "\" { label=\"");
        text_add(out, part, length);
        text_puts(out, "\"; ");
        part += length + (part[length] == '.');
        frames++;
    }
    return frames;
}

static void put_node(const node *n, bool launches, text *out)
{
    text_puts(out, "  ");
    int frames = n->backward || (n->op->traits & OP_SOURCE) ? 0 : open_frames(n->scope, out);
    text_printf(out, "n%d [label=\"", n->id);
    put_label(n, launches, out);
    text_printf(out, "\", fillcolor=\"%s\"]", colour(n));
    while (frames--) text_puts(out, " }");
    text_puts(out, "\n");
}

void graph_print_dot(const build *b, bool launches, text *out)
{
    text_puts(out, "digraph \"");
    put_escaped(out, b->name);
    text_puts(out,
              "\" {\n  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11, height=0.3];\n"
              "  edge [arrowsize=0.6];\n"
              "  graph [fontname=\"Helvetica\", fontsize=11, style=\"rounded\", color=\"#adb5bd\", "
              "nodesep=0.2, ranksep=0.3];\n");
    for (const node *n = b->first; n; n = n->after)
        if (!is_folded(n, launches)) put_node(n, launches, out);
    for (const node *n = b->first; n; n = n->after) {
        for (int i = 0; !is_folded(n, launches) && i < n->inputs; i++) {
            const node *from = n->in[i] ? origin(n->in[i], launches) : NULL;
            if (from && !is_folded(from, launches) && !is_read_state(from))
                text_printf(out, "  n%d -> n%d;\n", from->id, n->id);
        }
    }
    for (int64_t i = 0; i < b->outputs.count; i++) {
        const node *from = origin(b->outputs.at[i].value, launches);
        text_printf(out, "  o%lld [label=\"", (long long)i);
        put_escaped(out, b->outputs.at[i].name);
        text_puts(out, "\", shape=ellipse];\n");
        if (!is_folded(from, launches)) text_printf(out, "  n%d -> o%lld;\n", from->id, (long long)i);
    }
    text_puts(out, "}\n");
}
