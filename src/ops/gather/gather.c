/* Rows of a table by id, and its transpose: rows added to a table by id. */
#include "ops/table.h"

static shape tail(shape s)
{
    shape t = {.rank = s.rank - 1};
    for (int64_t i = 1; i < s.rank; i++) t.dim[i - 1] = s.dim[i];
    return t;
}

static bool join(shape ids, shape rest, shape *out)
{
    if (ids.rank + rest.rank > INGOT_MAX_RANK) return false;
    *out = ids;
    for (int64_t i = 0; i < rest.rank; i++) out->dim[out->rank++] = rest.dim[i];
    return true;
}

static status gather_infer(build *b, const node *n, inferred *out)
{
    char one[128], other[128];
    shape s;
    if (n->in[0]->shape.rank < 1 || !join(n->in[1]->shape, tail(n->in[0]->shape), &s))
        return infer_fail(b, n, "table %s and ids %s do not fit", shape_print(one, n->in[0]->shape),
                          shape_print(other, n->in[1]->shape));
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = s};
    return INGOT_OK;
}

static void gather_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (!need[0]) return;
    value *zeros = ingot_constant(b, 0, n->in[0]->dtype, n->in[0]->shape);
    din[0] = ingot_scatter_add(b, zeros, n->in[1], dout[0]);
}

/* The rows that are asked for, not the table. */
static op_cost gather_cost(const node *n)
{
    return (op_cost){.bytes = (double)(2 * value_bytes(n->out[0]) + value_bytes(n->in[1]))};
}

const op_def op_gather_def = {
    .name = "gather",
    .doc = "y[i] = table[ids[i]]: table (V, ...), ids (...), y ids' shape + (...). An id outside [0, V) gives zeros.",
    .inputs = {{"table", ANY}, {"ids", INTEGER}},
    .outputs = {{"y"}},
    .traits = OP_PRIMITIVE,
    .infer = gather_infer,
    .grad = gather_grad,
    .cost = gather_cost,
    BENCH({.in = {S(50257, 768), S(2048)}, .below = {[1] = 50257}}),
    SAMPLES({.in = {S(7, 5), S(2, 3)}, .below = {[1] = 7}}, {.in = {S(4099, 3), S(33)}, .below = {[1] = 4099}},
            {.in = {S(31, 2, 3), S(5)}, .below = {[1] = 40}}, {.in = {S(1, 1), S(1)}, .below = {[1] = 1}},
            {.in = {S(33, 31), S(65)}, .below = {[1] = 33}, .values = VALUES_WIDE}),
};

ingot_value *ingot_gather(ingot_build *b, ingot_value *table, ingot_value *ids)
{
    return APPLY(b, &op_gather_def, NULL, table, ids);
}

static status scatter_infer(build *b, const node *n, inferred *out)
{
    (void)out;
    shape s;
    char one[128], other[128];
    if (n->in[0]->shape.rank < 1 || !join(n->in[1]->shape, tail(n->in[0]->shape), &s) ||
        !shape_equal(s, n->in[2]->shape))
        return infer_fail(b, n, "rows %s do not fit base %s", shape_print(one, n->in[2]->shape),
                          shape_print(other, n->in[0]->shape));
    return INGOT_OK;
}

static void scatter_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = dout[0];
    if (need[2]) din[2] = ingot_gather(b, dout[0], n->in[1]);
}

const op_def op_scatter_add_def = {
    .name = "scatter_add",
    .doc = "y = base with rows[i] added at row ids[i]; equal ids add up in order, ids outside [0, V) are dropped.",
    .inputs = {{"base", FLOAT, .wide = true}, {"ids", INTEGER}, {"rows", FLOAT}},
    .outputs = {{"y", .like = INPUT(0), .may_reuse = INPUT(0)}},
    .traits = OP_PRIMITIVE,
    .infer = scatter_infer,
    .grad = scatter_grad,
    BENCH({.in = {S(50257, 768), S(2048), S(2048, 768)}, .below = {[1] = 50257}}),
    SAMPLES({.in = {S(7, 5), S(2, 3), S(2, 3, 5)}, .below = {[1] = 7}},
            {.in = {S(33, 3), S(4099), S(4099, 3)}, .below = {[1] = 40}},
            {.in = {S(1, 1), S(1), S(1, 1)}, .below = {[1] = 1}},
            {.in = {S(33, 31), S(65), S(65, 31)}, .below = {[1] = 33}, .values = VALUES_WIDE},
            {.in = {S(70, 2, 136), S(259), S(259, 2, 136)}, .below = {[1] = 90}}),
};

ingot_value *ingot_scatter_add(ingot_build *b, ingot_value *base, ingot_value *ids, ingot_value *rows)
{
    return APPLY(b, &op_scatter_add_def, NULL, base, ids, rows);
}
