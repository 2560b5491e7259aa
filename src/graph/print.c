/* Graphs as text, a line a node. */
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

/* Nothing to print, or a source's or view's attribute that repeats what stands before the equals sign. */
static bool is_said(const node *n, const attr_field *field, const void *at)
{
    const value *v = n->out[0];
    const char *words = field->kind == ATTR_TEXT ? *(const char *const *)at : NULL;
    if (field->kind == ATTR_OTHER || (field->kind == ATTR_TEXT && !words)) return true;
    if ((n->inputs && !(n->op->traits & OP_VIEW)) || !v) return false;
    switch (field->kind) {
    case ATTR_I64: return !strcmp(field->name, "dtype");
    case ATTR_SHAPE: return shape_equal(*(const shape *)at, v->shape);
    case ATTR_TEXT: return !*words || (v->name && !strcmp(words, v->name));
    default: return false;
    }
}

static void print_attr(const node *n, const attr_field *field, text *out)
{
    const void *at = (const char *)n->attrs + field->offset;
    char dims[128];
    if (is_said(n, field, at)) return;
    if (out->length && out->at[out->length - 1] != '(') text_puts(out, ", ");
    switch (field->kind) {
    case ATTR_I64: text_printf(out, "%s=%lld", field->name, (long long)*(const int64_t *)at); break;
    case ATTR_F64: text_printf(out, "%s=%g", field->name, *(const double *)at); break;
    case ATTR_SHAPE: text_printf(out, "%s=%s", field->name, shape_print(dims, *(const shape *)at)); break;
    case ATTR_TEXT: text_printf(out, "%s=%s", field->name, *(const char *const *)at); break;
    case ATTR_OTHER: break;
    }
}

void node_print_attrs(const node *n, text *out)
{
    for (size_t i = 0; i < n->op->attr_count; i++) print_attr(n, &n->op->attrs[i], out);
    if (n->op->print) n->op->print(n, out);
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
    node_print_attrs(n, out);
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
