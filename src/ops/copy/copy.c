/* A copy in contiguous order: what the compiler inserts where a kernel refuses strides or a view must be made real. */
#include "ops/table.h"

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    (void)b, (void)n;
    if (need[0]) din[0] = dout[0];
}

const op_def op_copy_def = {
    .name = "copy",
    .doc = "y = x, contiguous and in memory of its own.",
    .inputs = {{"x", ANY}},
    .outputs = {{"y", .like = INPUT(0)}},
    .traits = OP_PRIMITIVE,
    .grad = grad,
    SAMPLES({.in = {S(2, 3, 5)}}, {.in = {S(4099)}}, {.in = {S(31, 2, 33)}, .values = VALUES_WIDE},
            {.in = {S(33, 5)}, .values = VALUES_MASKED, .no_gradient = true}),
};
