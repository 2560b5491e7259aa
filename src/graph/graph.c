/* The builder: nodes, values, names, the first error. */
#include "graph/graph.h"
#include "graph/op.h"

#include <stdio.h>

ingot_build *ingot_build_new(ingot_context *ctx, const char *name)
{
    build *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->ctx = ctx;
    b->arena = arena_new();
    b->scope = "";
    b->name = b->arena ? arena_strdup(b->arena, name) : NULL;
    if (b->name) return b;
    ingot_build_free(b);
    return NULL;
}

void ingot_build_free(ingot_build *b)
{
    if (!b) return;
    ARRAY_FREE(&b->inputs);
    ARRAY_FREE(&b->uniforms);
    ARRAY_FREE(&b->outputs);
    ARRAY_FREE(&b->states);
    ARRAY_FREE(&b->scopes);
    arena_free(b->arena);
    free(b);
}

ingot_status ingot_build_status(const ingot_build *b)
{
    if (b->status && b->message) return ingot_fail(b->ctx, b->status, "%s", b->message);
    if (!b->status && arena_failed(b->arena)) return fail_memory(b->ctx, "a graph", 0);
    return b->status;
}

ingot_context *ingot_build_context(const ingot_build *b)
{
    return b->ctx;
}

ingot_shape ingot_shape_get(const ingot_value *v)
{
    return v ? v->shape : (shape){0};
}

ingot_dtype ingot_dtype_get(const ingot_value *v)
{
    return v ? v->dtype : INGOT_F32;
}

void *build_fail(build *b, status code, const char *format, ...)
{
    if (b->status) return NULL;
    b->status = code;
    va_list arguments;
    va_start(arguments, format);
    char message[1024];
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    b->message = *b->scope ? arena_printf(b->arena, "%s (in %s, graph %s)", message, b->scope, b->name)
                           : arena_printf(b->arena, "%s (graph %s)", message, b->name);
    return NULL;
}

status infer_fail(build *b, const node *n, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char message[512];
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    build_fail(b, INGOT_ERROR_SHAPE, "[%s] %s", n->op->name, message);
    return INGOT_ERROR_SHAPE;
}

static void list_insert(build *b, node *n)
{
    n->after = b->cursor;
    n->before = b->cursor ? b->cursor->before : b->last;
    *(n->before ? &n->before->after : &b->first) = n;
    *(n->after ? &n->after->before : &b->last) = n;
}

void node_remove(build *b, node *n)
{
    *(n->before ? &n->before->after : &b->first) = n->after;
    *(n->after ? &n->after->before : &b->last) = n->before;
    if (b->cursor == n) b->cursor = n->after;
    n->before = n->after = NULL;
}

void node_move_to_front(build *b, node *source)
{
    if (b->first == source) return;
    node_remove(b, source);
    source->before = NULL;
    source->after = b->first;
    b->first->before = source;
    b->first = source;
}

static bool input_fits(const op_input *input, const value *v)
{
    if (input->takes == FLOAT) return dtype_is_float(v->dtype);
    if (input->takes == INTEGER) return dtype_is_integer(v->dtype);
    return true;
}

static bool check_inputs(build *b, const node *n)
{
    const op_def *op = n->op;
    int declared = op_input_count(op);
    bool variadic = declared && op->inputs[declared - 1].variadic;
    if (n->inputs < declared && !op->inputs[n->inputs].optional) {
        infer_fail(b, n, "takes %d inputs, got %d", declared, n->inputs);
        return false;
    }
    if (n->inputs > declared && !variadic) {
        infer_fail(b, n, "takes %d inputs, got %d", declared, n->inputs);
        return false;
    }
    for (int i = 0; i < n->inputs; i++) {
        const op_input *input = &op->inputs[MIN(i, declared - 1)];
        if (!n->in[i]) {
            if (input->optional) continue;
            infer_fail(b, n, "input %s is missing", input->name);
            return false;
        }
        if (input_fits(input, n->in[i])) continue;
        infer_fail(b, n, "input %s is %s; it takes %s", input->name, ingot_dtype_name(n->in[i]->dtype),
                   input->takes == FLOAT ? "a float dtype" : "an integer dtype");
        return false;
    }
    return true;
}

static bool check_attrs(build *b, const node *n)
{
    for (size_t i = 0; i < n->op->attr_count; i++) {
        const attr_field *field = &n->op->attrs[i];
        if (!(field->minimum < field->maximum) || (field->kind != ATTR_I64 && field->kind != ATTR_F64)) continue;
        const void *at = (const char *)n->attrs + field->offset;
        double v = field->kind == ATTR_I64 ? (double)*(const int64_t *)at : *(const double *)at;
        if (v >= field->minimum && v <= field->maximum) continue;
        infer_fail(b, n, "%s is %g; it must be from %g to %g", field->name, v, field->minimum, field->maximum);
        return false;
    }
    return true;
}

static bool infer(build *b, const node *n, inferred *out)
{
    for (int i = 0; i < op_output_count(n->op); i++) {
        int like = n->op->outputs[i].like;
        if (!like || !n->in[like - 1]) continue;
        out[i] = (inferred){.dtype = n->in[like - 1]->dtype, .shape = n->in[like - 1]->shape};
    }
    return !n->op->infer || !n->op->infer(b, n, out);
}

static value *value_new(build *b, node *n, int output, const inferred *like)
{
    value *v = ARENA_NEW(b->arena, value);
    if (!v) return build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
    *v = (value){.id = b->values++, .dtype = like->dtype, .shape = like->shape, .node = n, .output = output};
    v->storage = v;
    v->layout = layout_contiguous(v->shape);
    n->out[output] = v;
    return v;
}

node *node_new(build *b, const op_def *op, value *const *in, int inputs, const void *attrs)
{
    if (b->status) return NULL;
    node *n = ARENA_NEW(b->arena, node);
    value **copy = ARENA_ARRAY(b->arena, value *, MAX(inputs, 1));
    void *attrs_copy = arena_alloc(b->arena, MAX(op->attrs_bytes, (size_t)1));
    if (!n || !copy || !attrs_copy) return build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
    if (inputs) memcpy(copy, in, sizeof *in * (size_t)inputs);
    if (attrs) memcpy(attrs_copy, attrs, op->attrs_bytes);
    *n = (node){.id = b->nodes++,
                .op = op,
                .attrs = attrs_copy,
                .in = copy,
                .inputs = inputs,
                .scope = b->scope,
                .backward = b->in_backward,
                .segment = b->segment};
    inferred out[NODE_MAX_OUTPUTS] = {0};
    if (!check_inputs(b, n) || !check_attrs(b, n) || !infer(b, n, out)) return NULL;
    for (int i = 0; i < op_output_count(op); i++)
        if (!op->outputs[i].optional && !value_new(b, n, i, &out[i])) return NULL;
    list_insert(b, n);
    return n;
}

value *node_output(build *b, node *n, int output)
{
    if (!n || b->status) return NULL;
    if (n->out[output]) return n->out[output];
    inferred out[NODE_MAX_OUTPUTS] = {0};
    return infer(b, n, out) ? value_new(b, n, output, &out[output]) : NULL;
}

value *op_apply(build *b, const op_def *op, value *const *in, int inputs, const void *attrs)
{
    node *n = node_new(b, op, in, inputs, attrs);
    return n ? n->out[0] : NULL;
}

void value_replace(build *b, value *old, value *v)
{
    for (node *n = b->first; n; n = n->after)
        for (int i = 0; i < n->inputs; i++)
            if (n->in[i] == old) n->in[i] = v;
    for (int64_t i = 0; i < b->outputs.count; i++)
        if (b->outputs.at[i].value == old) b->outputs.at[i].value = v;
}

int value_uses(const build *b, const value *v)
{
    int uses = 0;
    for (const node *n = b->first; n; n = n->after)
        for (int i = 0; i < n->inputs; i++) uses += n->in[i] == v;
    for (int64_t i = 0; i < b->outputs.count; i++) uses += b->outputs.at[i].value == v;
    return uses;
}

node *value_only_reader(const build *b, const value *v)
{
    if (value_uses(b, v) != 1) return NULL;
    for (node *n = v->node->after; n; n = n->after)
        for (int i = 0; i < n->inputs; i++)
            if (n->in[i] == v) return n;
    return NULL; /* an output of the graph */
}

bool value_is_state(const value *v)
{
    return v->node->op->traits & OP_STATE;
}

bool value_is_updated(const build *b, const value *state)
{
    for (const node *n = b->first; n; n = n->after)
        if ((n->op->traits & OP_UPDATE) && n->in[0] == state) return true;
    return false;
}

const char *build_scoped(build *b, const char *name)
{
    const char *scoped = *b->scope ? arena_printf(b->arena, "%s.%s", b->scope, name) : arena_strdup(b->arena, name);
    return scoped ? scoped : build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
}

void ingot_scope_begin(ingot_build *b, const char *format, ...)
{
    char name[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    const char *scope = build_scoped(b, name);
    if (!scope) return;
    if (!ARRAY_PUSH(&b->scopes, b->scope)) build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
    b->scope = scope;
}

void ingot_scope_end(ingot_build *b)
{
    if (b->scopes.count) b->scope = b->scopes.at[--b->scopes.count];
}

void ingot_output(ingot_build *b, const char *name, ingot_value *v)
{
    if (!v || b->status) return;
    port p = {.name = arena_strdup(b->arena, name), .value = v};
    if (!p.name || !ARRAY_PUSH(&b->outputs, p)) build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
}

void ingot_recompute_begin(ingot_build *b)
{
    if (b->segment) build_fail(b, INGOT_ERROR_ARGUMENT, "ingot_recompute_begin inside another one");
    b->segment = ++b->segments;
}

void ingot_recompute_end(ingot_build *b)
{
    b->segment = 0;
}

int op_input_count(const op_def *op)
{
    int count = 0;
    while (count < OP_MAX_INPUTS && op->inputs[count].name) count++;
    return count;
}

int op_output_count(const op_def *op)
{
    int count = 0;
    while (count < NODE_MAX_OUTPUTS && op->outputs[count].name) count++;
    return count;
}

bool op_attrs_equal(const op_def *op, const void *a, const void *b)
{
    for (size_t i = 0; i < op->attr_count; i++) {
        const attr_field *field = &op->attrs[i];
        const char *x = (const char *)a + field->offset, *y = (const char *)b + field->offset;
        size_t end = i + 1 < op->attr_count ? op->attrs[i + 1].offset : op->attrs_bytes;
        if (field->kind == ATTR_TEXT) {
            if (strcmp(*(const char *const *)x, *(const char *const *)y)) return false;
        } else if (field->kind == ATTR_SHAPE) {
            if (!shape_equal(*(const shape *)x, *(const shape *)y)) return false;
        } else if (memcmp(x, y, field->kind == ATTR_OTHER ? end - field->offset : 8)) {
            return false;
        }
    }
    return true;
}

op_cost node_cost(const node *n)
{
    if (n->op->cost) return n->op->cost(n);
    op_cost cost = {0};
    if (n->op->traits & (OP_SOURCE | OP_VIEW)) return cost;
    for (int i = 0; i < n->inputs; i++)
        if (n->in[i]) cost.bytes += (double)value_bytes(n->in[i]);
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i]) cost.bytes += (double)value_bytes(n->out[i]);
    return cost;
}
