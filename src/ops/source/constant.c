/* Constants and counters: values that the device makes for itself. */
#include "ops/source/source.h"

static status constant_infer(build *b, const node *n, inferred *out)
{
    (void)b;
    const constant_attrs *attrs = n->attrs;
    out[0] = (inferred){.dtype = (dtype)attrs->dtype, .shape = attrs->shape};
    return INGOT_OK;
}

const op_def op_constant_def = {
    .name = "constant",
    .doc = "Every element is `value`.",
    .outputs = {{"y"}},
    ATTRS(constant_attrs, ATTR(constant_attrs, value, ATTR_F64), ATTR(constant_attrs, dtype, ATTR_I64),
          ATTR(constant_attrs, shape, ATTR_SHAPE)),
    .traits = OP_PRIMITIVE | OP_NOT_DIFFERENTIABLE,
    .infer = constant_infer,
    SAMPLES({.attrs = &(const constant_attrs){-2.5, INGOT_F32, S(3, 5)}},
            {.attrs = &(const constant_attrs){7, INGOT_I32, S(4099)}}),
};

ingot_value *ingot_constant(ingot_build *b, double v, ingot_dtype dtype, ingot_shape shape)
{
    return op_apply(b, &op_constant_def, NULL, 0, &((constant_attrs){v, dtype, shape}));
}

static status iota_infer(build *b, const node *n, inferred *out)
{
    const iota_attrs *attrs = n->attrs;
    if (attrs->axis < 0 || attrs->axis >= attrs->shape.rank) return infer_fail(b, n, "axis is out of range");
    out[0] = (inferred){.dtype = (dtype)attrs->dtype, .shape = attrs->shape};
    return INGOT_OK;
}

const op_def op_iota_def = {
    .name = "iota",
    .doc = "0, 1, 2, ... along an axis.",
    .outputs = {{"y"}},
    ATTRS(iota_attrs, ATTR(iota_attrs, axis, ATTR_I64), ATTR(iota_attrs, dtype, ATTR_I64),
          ATTR(iota_attrs, shape, ATTR_SHAPE)),
    .traits = OP_PRIMITIVE | OP_NOT_DIFFERENTIABLE,
    .infer = iota_infer,
    SAMPLES({.attrs = &(const iota_attrs){1, INGOT_F32, S(2, 3, 5)}},
            {.attrs = &(const iota_attrs){0, INGOT_I32, S(33)}}),
};

ingot_value *ingot_iota(ingot_build *b, ingot_dtype dtype, ingot_shape shape, int axis)
{
    return op_apply(b, &op_iota_def, NULL, 0, &((iota_attrs){axis_of(axis, shape.rank), dtype, shape}));
}
