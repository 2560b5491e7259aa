/* Graphs as text, a line a node, and as Graphviz. */
#include "graph/graph.h"
#include "graph/kernel.h"

static void print_value(const value *v, text *out)
{
    char dims[128];
    if (v->name)
        text_printf(out, "%s", v->name);
    else
        text_printf(out, "%%%d", v->id);
    text_printf(out, ": %s%s", ingot_dtype_name(v->dtype), shape_print(dims, v->shape));
}

static void print_attr(const node *n, const attr_field *field, text *out)
{
    const void *at = (const char *)n->attrs + field->offset;
    char dims[128];
    switch (field->kind) {
    case ATTR_I64: text_printf(out, ", %s=%lld", field->name, (long long)*(const int64_t *)at); break;
    case ATTR_F64: text_printf(out, ", %s=%g", field->name, *(const double *)at); break;
    case ATTR_SHAPE: text_printf(out, ", %s=%s", field->name, shape_print(dims, *(const shape *)at)); break;
    case ATTR_TEXT:
        if (*(const char *const *)at) text_printf(out, ", %s=%s", field->name, *(const char *const *)at);
        break;
    case ATTR_OTHER: break;
    }
}

void node_print(const node *n, text *out)
{
    bool first = true;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) {
        if (!n->out[i]) continue;
        if (!first) text_puts(out, ", ");
        print_value(n->out[i], out);
        first = false;
    }
    text_printf(out, " = %s(", n->op->name);
    for (int i = 0; i < n->inputs; i++) {
        const value *v = n->in[i];
        if (i) text_puts(out, ", ");
        if (!v)
            text_puts(out, "-");
        else if (v->name)
            text_puts(out, v->name);
        else
            text_printf(out, "%%%d", v->id);
    }
    for (size_t i = 0; i < n->op->attr_count; i++) print_attr(n, &n->op->attrs[i], out);
    if (n->op->print) n->op->print(n, out);
    text_puts(out, ")");
    if (n->kernel) text_printf(out, "  <%s>", n->kernel->name);
    if (n->scope && *n->scope) text_printf(out, "  # %s", n->scope);
}

void graph_print(const build *b, text *out)
{
    text_printf(out, "graph %s\n", b->name);
    for (const node *n = b->first; n; n = n->after) {
        text_puts(out, "  ");
        node_print(n, out);
        text_puts(out, "\n");
    }
    for (int64_t i = 0; i < b->outputs.count; i++)
        text_printf(out, "  output %s = %%%d\n", b->outputs.at[i].name, b->outputs.at[i].value->id);
}

static const char *dot_colour(const node *n)
{
    if (n->op->traits & OP_STATE) return "#cfe2ff";
    if (n->op->traits & OP_SOURCE) return "#d1e7dd";
    if (n->op->traits & OP_EFFECT) return "#f8d7da";
    if (n->op->traits & OP_VIEW) return "#f8f9fa";
    return n->backward ? "#fff3cd" : "#ffffff";
}

void graph_print_dot(const build *b, text *out)
{
    text_printf(out, "digraph \"%s\" {\n  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\"];\n",
                b->name);
    for (const node *n = b->first; n; n = n->after) {
        const value *v = n->out[0];
        char dims[128] = "";
        if (v) shape_print(dims, v->shape);
        text_printf(out, "  n%d [label=\"%s\\n%s\", fillcolor=\"%s\"];\n", n->id, v && v->name ? v->name : n->op->name,
                    dims, dot_colour(n));
        for (int i = 0; i < n->inputs; i++)
            if (n->in[i]) text_printf(out, "  n%d -> n%d;\n", n->in[i]->node->id, n->id);
    }
    for (int64_t i = 0; i < b->outputs.count; i++)
        text_printf(out, "  o%lld [label=\"%s\", shape=ellipse];\n  n%d -> o%lld;\n", (long long)i,
                    b->outputs.at[i].name, b->outputs.at[i].value->node->id, (long long)i);
    text_puts(out, "}\n");
}
