/* Inputs, uniforms and states: named values that somebody else fills. And the update of a state, the one effect. */
#include "ops/source/source.h"

static status source_infer(build *b, const node *n, inferred *out)
{
    (void)b;
    const source_attrs *attrs = n->attrs;
    out[0] = (inferred){.dtype = (dtype)attrs->dtype, .shape = attrs->shape};
    return INGOT_OK;
}

#define SOURCE_ATTRS                                                                                                   \
    ATTRS(source_attrs, ATTR(source_attrs, name, ATTR_TEXT), ATTR(source_attrs, group, ATTR_TEXT),                     \
          ATTR(source_attrs, dtype, ATTR_I64), ATTR(source_attrs, shape, ATTR_SHAPE))

const op_def op_input_def = {
    .name = "input",
    .doc = "A value that the host writes before a run.",
    .outputs = {{"x"}},
    SOURCE_ATTRS,
    .traits = OP_SOURCE | OP_PRIMITIVE | OP_NOT_DIFFERENTIABLE,
    .infer = source_infer,
};

const op_def op_uniform_def = {
    .name = "uniform",
    .doc = "A scalar that is passed by value to each run.",
    .outputs = {{"x"}},
    SOURCE_ATTRS,
    .traits = OP_SOURCE | OP_PRIMITIVE | OP_NOT_DIFFERENTIABLE,
    .infer = source_infer,
};

const op_def op_state_def = {
    .name = "state",
    .doc = "A named value that outlives runs.",
    .outputs = {{"x"}},
    SOURCE_ATTRS,
    .traits = OP_SOURCE | OP_PRIMITIVE | OP_NOT_DIFFERENTIABLE | OP_STATE,
    .infer = source_infer,
};

static status update_infer(build *b, const node *n, inferred *out)
{
    (void)out;
    const value *state = n->in[0], *v = n->in[1];
    char one[128], other[128];
    if (!value_is_state(state)) return infer_fail(b, n, "the value to update is no state");
    if (state->dtype != v->dtype || !shape_equal(state->shape, v->shape))
        return infer_fail(b, n, "state %s is %s%s, the new value is %s%s", state->name, ingot_dtype_name(state->dtype),
                          shape_print(one, state->shape), ingot_dtype_name(v->dtype), shape_print(other, v->shape));
    return INGOT_OK;
}

const op_def op_state_update_def = {
    .name = "state_update",
    .doc = "From here on the state holds v; at most once per state and program, after every read of the old value.",
    .inputs = {{"state", ANY}, {"v", ANY}},
    .outputs = {{"new", .like = INPUT(0), .must_alias = INPUT(0)}},
    .traits = OP_PRIMITIVE | OP_NOT_DIFFERENTIABLE | OP_EFFECT | OP_UPDATE,
    .infer = update_infer,
};

static value *source(build *b, const op_def *op, const char *name, dtype type, shape s, const char *group)
{
    if (b->status) return NULL;
    const char *kept = arena_strdup(b->arena, name), *kept_group = group ? arena_strdup(b->arena, group) : "";
    if (!kept || !kept_group) return build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
    for (int64_t i = 0; i < s.rank; i++)
        if (s.dim[i] < 1 || s.rank > INGOT_MAX_RANK)
            return build_fail(b, INGOT_ERROR_SHAPE, "[%s] %s: every dim must be at least 1, dim %d is %lld", op->name,
                              name, (int)i, (long long)s.dim[i]);
    node *cursor = b->cursor;
    value *v = op_apply(b, op, NULL, 0, &((source_attrs){kept, kept_group, type, s}));
    b->cursor = cursor;
    if (v) v->name = kept;
    return v;
}

static value *add_port(build *b, void *ports, value *v)
{
    ARRAY(port) *list = ports;
    if (v && !ARRAY_PUSH(list, (port){v->name, v}))
        return build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
    return v;
}

static value *named_port(const port *ports, int64_t count, const char *name)
{
    for (int64_t i = 0; i < count; i++)
        if (!strcmp(ports[i].name, name)) return ports[i].value;
    return NULL;
}

ingot_value *ingot_input(ingot_build *b, const char *name, ingot_dtype dtype, ingot_shape shape)
{
    if (named_port(b->inputs.at, b->inputs.count, name))
        return build_fail(b, INGOT_ERROR_ARGUMENT, "[input] there are two inputs named %s", name);
    return add_port(b, &b->inputs, source(b, &op_input_def, name, dtype, shape, NULL));
}

ingot_value *ingot_uniform(ingot_build *b, const char *name, ingot_dtype dtype)
{
    return add_port(b, &b->uniforms, source(b, &op_uniform_def, name, dtype, INGOT_SCALAR, NULL));
}

ingot_value *ingot_state_in(ingot_build *b, const char *name, ingot_dtype dtype, ingot_shape shape, const char *group)
{
    const char *scoped = b->status ? NULL : build_scoped(b, name);
    if (!scoped) return NULL;
    value *known = named_port(b->states.at, b->states.count, scoped);
    if (!known) return add_port(b, &b->states, source(b, &op_state_def, scoped, dtype, shape, group));
    char one[128], other[128];
    if (known->dtype != dtype || !shape_equal(known->shape, shape))
        return build_fail(b, INGOT_ERROR_SHAPE, "[state] %s is both %s%s and %s%s", scoped,
                          ingot_dtype_name(known->dtype), shape_print(one, known->shape), ingot_dtype_name(dtype),
                          shape_print(other, shape));
    return known;
}

ingot_value *ingot_state(ingot_build *b, const char *name, ingot_dtype dtype, ingot_shape shape)
{
    return ingot_state_in(b, name, dtype, shape, NULL);
}

ingot_value *ingot_state_update(ingot_build *b, ingot_value *state, ingot_value *v)
{
    return APPLY(b, &op_state_update_def, NULL, state, v);
}
