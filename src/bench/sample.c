/* Samples as graphs. */
#include "bench/sample.h"
#include "ops/table.h"

#include <stdio.h>

static void declare_inputs(build *b, const op_def *op, const op_sample *sample, dtype type, value **in, int inputs)
{
    for (int i = 0; i < inputs; i++) {
        const op_input *input = &op->inputs[MIN(i, op_input_count(op) - 1)];
        if (sample->in[i].rank < 0) continue;
        char name[64];
        snprintf(name, sizeof name, "%s %d", input->name, i);
        dtype of = input->takes == INTEGER ? INGOT_I32 : input->wide && dtype_is_narrow(type) ? INGOT_F32 : type;
        in[i] = ingot_input(b, arena_strdup(b->arena, name), of, sample->in[i]);
    }
}

static bool fits(const value *result, const value *input)
{
    return result && input && result->dtype == input->dtype && shape_equal(result->shape, input->shape);
}

static void declare_outputs(build *b, const op_sample *sample, node *n)
{
    const op_def *op = n->op;
    int outputs = sample->outputs ? sample->outputs : op_output_count(op);
    bool any = false;
    for (int i = 0; i < outputs; i++) any |= !op->outputs[i].optional;
    for (int i = 0; i < outputs; i++)
        if (!any || !op->outputs[i].optional) ingot_output(b, op->outputs[i].name, node_output(b, n, i));
}

build *sample_graph(context *ctx, const op_def *op, const op_sample *sample, dtype type, int64_t calls)
{
    build *b = ingot_build_new(ctx, op->name);
    int inputs = sample->inputs ? sample->inputs : op_input_count(op);
    value *in[OP_MAX_INPUTS] = {NULL};
    if (!b) return NULL;
    while (inputs > 0 && sample->in[inputs - 1].rank < 0) inputs--;
    declare_inputs(b, op, sample, type, in, inputs);
    node *n = node_new(b, op, in, inputs, sample->attrs);
    for (int64_t i = 1; i < calls && n; i++) {
        value *result = node_output(b, n, 0);
        if (!fits(result, in[0])) {
            build_fail(b, INGOT_ERROR_SHAPE,
                       "[%s] its first result has not the shape and dtype of its first input: no chain", op->name);
            break;
        }
        in[0] = result;
        n = node_new(b, op, in, inputs, sample->attrs);
    }
    if (n) declare_outputs(b, sample, n);
    return b;
}
