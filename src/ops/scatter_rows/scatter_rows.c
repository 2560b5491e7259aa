/* Rows of a table overwritten by id: how new keys and values get into the pages of a cache. */
#include "ops/table.h"

static status infer(build *b, const node *n, inferred *out)
{
    (void)out;
    shape base = n->in[0]->shape, ids = n->in[1]->shape, rows = n->in[2]->shape;
    char one[128], other[128], third[128];
    bool fits = base.rank >= 1 && rows.rank == ids.rank + base.rank - 1;
    for (int64_t i = 0; fits && i < ids.rank; i++) fits = rows.dim[i] == ids.dim[i];
    for (int64_t i = 1; fits && i < base.rank; i++) fits = rows.dim[ids.rank + i - 1] == base.dim[i];
    if (!fits)
        return infer_fail(b, n, "rows %s do not fit base %s at ids %s", shape_print(one, rows),
                          shape_print(other, base), shape_print(third, ids));
    if (n->in[0]->dtype != n->in[2]->dtype)
        return infer_fail(b, n, "base is %s, rows are %s; cast one", ingot_dtype_name(n->in[0]->dtype),
                          ingot_dtype_name(n->in[2]->dtype));
    return INGOT_OK;
}

/* In place, as it runs over a state: the rows read and written. */
static op_cost cost(const node *n)
{
    return (op_cost){.bytes = (double)(2 * value_bytes(n->in[2]) + value_bytes(n->in[1]))};
}

const op_def op_scatter_rows_def = {
    .name = "scatter_rows",
    .doc =
        "y = base with row ids[i] replaced by rows[i]: base (V, ...), ids (...), rows ids' shape + (...). Of equal ids "
        "the last one stays; ids outside [0, V) are dropped. Not differentiable.",
    .inputs = {{"base", ANY}, {"ids", INTEGER}, {"rows", ANY}},
    .outputs = {{"y", .like = INPUT(0), .may_reuse = INPUT(0)}},
    .traits = OP_PRIMITIVE | OP_NOT_DIFFERENTIABLE,
    .infer = infer,
    .cost = cost,
    SAMPLES({.in = {S(7, 5), S(2, 3), S(2, 3, 5)}, .below = {[1] = 7}},
            {.in = {S(64, 2, 3), S(31), S(31, 2, 3)}, .below = {[1] = 80}},
            {.in = {S(4099, 3), S(33), S(33, 3)}, .below = {[1] = 4099}, .values = VALUES_WIDE},
            {.in = {S(90, 2, 32), S(70), S(70, 2, 32)}, .below = {[1] = 100}},
            {.in = {S(3000, 3), S(4200), S(4200, 3)}, .below = {[1] = 3100}},
            {.in = {S(1, 1), S(1), S(1, 1)}, .below = {[1] = 1}}),
};

ingot_value *ingot_scatter_rows(ingot_build *b, ingot_value *base, ingot_value *ids, ingot_value *rows)
{
    return APPLY(b, &op_scatter_rows_def, NULL, base, ids, rows);
}
