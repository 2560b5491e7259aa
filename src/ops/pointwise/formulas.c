/* Every formula of formulas.def as an op of its own: it shows by name in dumps, and lowers to `pointwise`. */
#include "ops/pointwise/pointwise.h"

static dtype result_dtype(const node *n)
{
    for (int i = 0; i < n->inputs; i++)
        if (dtype_is_float(n->in[i]->dtype)) return n->in[i]->dtype;
    return n->in[0]->dtype;
}

status formula_infer(build *b, const node *n, inferred *out)
{
    shape s;
    TRY(pw_broadcast(b, n, &s));
    out[0] = (inferred){.dtype = result_dtype(n), .shape = s};
    return INGOT_OK;
}

void formula_lower(build *b, const node *n, value **out)
{
    pw_program p;
    int where;
    if (!pw_parse(n->op->formula, n->inputs, &p, &where)) {
        build_fail(b, INGOT_ERROR_INTERNAL, "[%s] formula \"%s\" is wrong at %d", n->op->name, n->op->formula, where);
        return;
    }
    p.dtype = n->out[0]->dtype;
    out[0] = pw_apply(b, &p, n->in);
}

static op_cost formula_cost(const node *n)
{
    pw_program p;
    int where;
    op_cost c = {.bytes = (double)value_bytes(n->out[0])};
    for (int i = 0; i < n->inputs; i++) c.bytes += (double)value_bytes(n->in[i]);
    if (pw_parse(n->op->formula, n->inputs, &p, &where)) c.flops = p.count * (double)shape_count(n->out[0]->shape);
    return c;
}

#define INPUTS_1                                                                                                       \
    {                                                                                                                  \
        {                                                                                                              \
            "a", ANY                                                                                                   \
        }                                                                                                              \
    }
#define INPUTS_2                                                                                                       \
    {                                                                                                                  \
        {"a", ANY},                                                                                                    \
        {                                                                                                              \
            "b", ANY                                                                                                   \
        }                                                                                                              \
    }
#define INPUTS_3                                                                                                       \
    {                                                                                                                  \
        {"a", ANY}, {"b", ANY},                                                                                        \
        {                                                                                                              \
            "c", ANY, .not_differentiable = true                                                                       \
        }                                                                                                              \
    }
#define SAMPLES_OF(values_)                                                                                            \
    SAMPLES({.in = {S(2, 3, 5), S(2, 3, 5), S(2, 3, 5)}, .values = values_},                                           \
            {.in = {S(31, 33), S(33), S(31, 1)}, .values = values_}, {.in = {S(1), S(1), S(1)}, .values = values_},    \
            {.in = {S(32), S(3, 1), S(1)}, .values = values_}, {.in = {S(4099), S(4099), S(4099)}, .values = values_}, \
            {.in = {S(31, 33), S(31, 33), S(31, 33)}, .values = FAR_##values_, .no_gradient = true},                   \
            {.in = {S(257), S(257), S(257)}, .values = LARGE_##values_, .no_gradient = true})
/* What a formula also takes when its samples are of these values: magnitudes from 1e-8 to 1e4, and more than exp takes. */
#define FAR_VALUES_NORMAL      VALUES_WIDE
#define LARGE_VALUES_NORMAL    VALUES_LARGE
#define FAR_VALUES_POSITIVE    VALUES_ALL_EQUAL
#define LARGE_VALUES_POSITIVE  VALUES_LARGE_OFFSET
#define FAR_VALUES_ALL_EQUAL   VALUES_WIDE
#define LARGE_VALUES_ALL_EQUAL VALUES_MASKED

#define BENCH_SHAPE S(2048, 3072) /* a GPT-2 feed-forward of 2048 tokens */
#define FORMULA(name_, arity, formula_, values_, doc_)                                                                 \
    const op_def op_##name_##_def = {                                                                                  \
        .name = #name_,                                                                                                \
        .doc = doc_,                                                                                                   \
        .formula = formula_,                                                                                           \
        .inputs = INPUTS_##arity,                                                                                      \
        .outputs = {{"y", .may_reuse = INPUT(0)}},                                                                     \
        .infer = formula_infer,                                                                                        \
        .lower = formula_lower,                                                                                        \
        .cost = formula_cost,                                                                                          \
        BENCH({.in = {BENCH_SHAPE, BENCH_SHAPE, BENCH_SHAPE}, .values = values_}),                                     \
        SAMPLES_OF(values_),                                                                                           \
    };
#include "ops/pointwise/formulas.def"
#undef FORMULA

#define BUILDER_1(name)                                                                                                \
    ingot_value *ingot_##name(ingot_build *b, ingot_value *x)                                                          \
    {                                                                                                                  \
        return APPLY(b, &op_##name##_def, NULL, x);                                                                    \
    }
#define BUILDER_2(name)                                                                                                \
    ingot_value *ingot_##name(ingot_build *b, ingot_value *x, ingot_value *y)                                          \
    {                                                                                                                  \
        return APPLY(b, &op_##name##_def, NULL, x, y);                                                                 \
    }
#define BUILDER_3(name)                                                                                                \
    ingot_value *ingot_##name(ingot_build *b, ingot_value *condition, ingot_value *x, ingot_value *y)                  \
    {                                                                                                                  \
        return APPLY(b, &op_##name##_def, NULL, x, y, condition);                                                      \
    }
#define FORMULA(name, arity, formula_, values_, doc_) BUILDER_##arity(name)
#include "ops/pointwise/formulas.def"
#undef FORMULA

ingot_value *ingot_add_scalar(ingot_build *b, ingot_value *x, double k)
{
    return x ? ingot_add(b, x, ingot_constant(b, k, x->dtype, INGOT_SCALAR)) : NULL;
}

ingot_value *ingot_mul_scalar(ingot_build *b, ingot_value *x, double k)
{
    return x ? ingot_mul(b, x, ingot_constant(b, k, x->dtype, INGOT_SCALAR)) : NULL;
}

/* cast: the one pointwise op whose result has a dtype of its own. */
typedef struct cast_attrs {
    int64_t dtype;
} cast_attrs;

static status cast_infer(build *b, const node *n, inferred *out)
{
    (void)b;
    out[0] = (inferred){.dtype = (dtype)ATTRS_OF(cast_attrs, n)->dtype, .shape = n->in[0]->shape};
    return INGOT_OK;
}

static void cast_lower(build *b, const node *n, value **out)
{
    pw_program p = {.inputs = 1, .outputs = 1, .dtype = n->out[0]->dtype, .result = {0}};
    out[0] = pw_apply(b, &p, n->in);
}

static void cast_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = ingot_cast(b, dout[0], n->in[0]->dtype);
}

const op_def op_cast_def = {
    .name = "cast",
    .doc = "y = x in another dtype, rounded to nearest even; floats to integers truncate.",
    .inputs = {{"x", ANY}},
    .outputs = {{"y"}},
    ATTRS(cast_attrs, ATTR(cast_attrs, dtype, ATTR_I64)),
    .infer = cast_infer,
    .lower = cast_lower,
    .grad = cast_grad,
    SAMPLES({.in = {S(2, 3, 5)}, .attrs = &(const cast_attrs){INGOT_F32}},
            {.in = {S(31, 33)}, .attrs = &(const cast_attrs){INGOT_BF16}, .values = VALUES_WIDE, .no_gradient = true},
            {.in = {S(257)}, .attrs = &(const cast_attrs){INGOT_BF16}, .values = VALUES_MASKED, .no_gradient = true},
            {.in = {S(4099)}, .attrs = &(const cast_attrs){INGOT_I32}, .values = VALUES_LARGE, .no_gradient = true}),
};

ingot_value *ingot_cast(ingot_build *b, ingot_value *x, ingot_dtype to)
{
    if (!x || x->dtype == to) return x;
    return APPLY(b, &op_cast_def, &((cast_attrs){to}), x);
}
