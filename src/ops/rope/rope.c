/* Rotary positions (Su et al. 2021): pairs of a head's elements turn by an angle that grows with the position. The angles
 * are a table that depends on nothing a run changes, so it is made once.
 */
#include "ops/rope/rope.h"

#include <math.h>
#include <stdio.h>

static status infer(build *b, const node *n, inferred *out)
{
    (void)out;
    shape x = n->in[0]->shape, positions = n->in[1]->shape, table = n->in[2]->shape;
    char one[128], other[128];
    if (x.rank < 2 || table.rank != 2 || table.dim[1] % 2 || table.dim[1] > x.dim[x.rank - 1])
        return infer_fail(b, n, "x %s (..., heads, D) does not take a table %s (positions, even R up to D)",
                          shape_print(one, x), shape_print(other, table));
    if (n->in[1]->dtype != INGOT_I32 ||
        shape_count(positions) * x.dim[x.rank - 2] * x.dim[x.rank - 1] != shape_count(x))
        return infer_fail(b, n, "positions are %s%s; x %s takes an int32 for each row of heads",
                          ingot_dtype_name(n->in[1]->dtype), shape_print(one, positions), shape_print(other, x));
    return INGOT_OK;
}

/* Halves of the pairs: x (N, H, R) -> (N, H, R/2) twice. */
static void halves(build *b, value *x, bool interleaved, value *half[2])
{
    shape s = x->shape;
    int64_t pairs = s.dim[2] / 2;
    if (!interleaved) {
        half[0] = ingot_slice(b, x, 2, 0, pairs);
        half[1] = ingot_slice(b, x, 2, pairs, pairs);
        return;
    }
    value *two = ingot_reshape(b, x, INGOT_SHAPE(s.dim[0], s.dim[1], pairs, 2));
    for (int i = 0; i < 2; i++)
        half[i] = ingot_reshape(b, ingot_slice(b, two, 3, i, 1), INGOT_SHAPE(s.dim[0], s.dim[1], pairs));
}

static value *join(build *b, value *const half[2], bool interleaved)
{
    if (!half[0] || !half[1]) return NULL;
    if (!interleaved) return ingot_concat(b, half, 2, 2);
    shape s = half[0]->shape;
    value *column[2];
    for (int i = 0; i < 2; i++) column[i] = ingot_reshape(b, half[i], INGOT_SHAPE(s.dim[0], s.dim[1], s.dim[2], 1));
    return ingot_reshape(b, ingot_concat(b, column, 2, 3), INGOT_SHAPE(s.dim[0], s.dim[1], 2 * s.dim[2]));
}

static void lower(build *b, const node *n, value **out)
{
    const rope_attrs *a = n->attrs;
    shape xs = n->in[0]->shape;
    int64_t rows = shape_count(n->in[1]->shape), heads = xs.dim[xs.rank - 2], dim = xs.dim[xs.rank - 1];
    int64_t turned = n->in[2]->shape.dim[1], pairs = turned / 2;
    value *x = ingot_reshape(b, n->in[0], INGOT_SHAPE(rows, heads, dim));
    value *table = ingot_cast(b, ingot_gather(b, n->in[2], ingot_reshape(b, n->in[1], INGOT_SHAPE(rows))), x->dtype);
    table = ingot_reshape(b, table, INGOT_SHAPE(rows, 1, turned));
    value *c = ingot_slice(b, table, 2, 0, pairs), *s = ingot_slice(b, table, 2, pairs, pairs);
    value *half[2], *turn[2];
    halves(b, ingot_slice(b, x, 2, 0, turned), a->interleaved, half);
    const char *formulas[2] = {a->inverse ? "a * c + b * d" : "a * c - b * d",
                               a->inverse ? "b * c - a * d" : "b * c + a * d"};
    for (int i = 0; i < 2; i++) turn[i] = ingot_pointwise(b, formulas[i], (value *const[]){half[0], half[1], c, s}, 4);
    value *y = join(b, turn, a->interleaved);
    if (turned < dim) y = ingot_concat(b, (value *const[]){y, ingot_slice(b, x, 2, turned, dim - turned)}, 2, 2);
    out[0] = ingot_reshape(b, y, xs);
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    const rope_attrs *a = n->attrs;
    rope_attrs back = {a->interleaved, !a->inverse};
    if (need[0]) din[0] = APPLY(b, &op_rope_def, &back, dout[0], n->in[1], n->in[2]);
}

static op_cost cost(const node *n)
{
    double elements = (double)shape_count(n->in[0]->shape);
    return (op_cost){.flops = 3 * elements,
                     .bytes = 2.0 * (double)value_bytes(n->in[0]) +
                              (double)shape_count(n->in[1]->shape) * (double)n->in[2]->shape.dim[1] * 4};
}

#define A(interleaved, inverse)                                                                                        \
    &(const rope_attrs)                                                                                                \
    {                                                                                                                  \
        interleaved, inverse                                                                                           \
    }
const op_def op_rope_def = {
    .name = "rope",
    .doc =
        "Pairs of x's elements turned by the angles of their row's position: x (..., H, D), positions int32 (...), "
        "table "
        "(P, R) of R/2 cosines and R/2 sines a position, R <= D; elements from R on stay. Pair i is (i, i + R/2), or "
        "(2i, 2i + 1) when interleaved: y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin; inverse: by minus the angle. A "
        "position outside the table gives zeros. Su et al. 2021.",
    .inputs = {{"x", FLOAT}, {"positions", INTEGER}, {"table", FLOAT, .not_differentiable = true, .wide = true}},
    .outputs = {{"y", .like = INPUT(0), .may_reuse = INPUT(0)}},
    ATTRS(rope_attrs, ATTR(rope_attrs, interleaved, ATTR_I64, .minimum = 0, .maximum = 1),
          ATTR(rope_attrs, inverse, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_WIDE,
    .infer = infer,
    .lower = lower,
    .grad = grad,
    .cost = cost,
    BENCH({.in = {S(4, 1024, 12, 64), S(4, 1024), S(1024, 64)}, .attrs = A(0, 0), .below = {[1] = 1024}}),
    SAMPLES({.in = {S(2, 3, 5, 8), S(2, 3), S(7, 8)}, .attrs = A(0, 0), .below = {[1] = 7}},
            {.in = {S(2, 3, 5, 8), S(2, 3), S(7, 8)}, .attrs = A(1, 0), .below = {[1] = 7}},
            {.in = {S(1, 1, 2), S(1), S(1, 2)}, .attrs = A(0, 0), .below = {[1] = 1}},
            {.in = {S(33, 3, 64), S(33), S(31, 64)}, .attrs = A(0, 1), .below = {[1] = 40}},
            {.in = {S(5, 2, 62), S(5), S(31, 32)}, .attrs = A(0, 0), .below = {[1] = 31}},
            {.in = {S(5, 2, 62), S(5), S(31, 30)}, .attrs = A(1, 1), .below = {[1] = 31}},
            {.in = {S(129, 1, 32), S(129), S(512, 32)}, .attrs = A(0, 0), .values = VALUES_WIDE, .below = {[1] = 512}}),
};

ingot_value *ingot_rope(ingot_build *b, ingot_value *x, ingot_value *positions, ingot_value *table, int interleaved)
{
    return APPLY(b, &op_rope_def, &((rope_attrs){!!interleaved, 0}), x, positions, table);
}

/* theta^(-2i / dim) for i in [0, dim/2), bent for long contexts where `scaling` says so. */
static value *frequencies(build *b, int64_t dim, double theta, const ingot_rope_scaling *scaling)
{
    value *i = ingot_iota(b, INGOT_F32, INGOT_SHAPE(dim / 2), 0);
    value *f = ingot_exp(b, ingot_mul_scalar(b, i, -2 * log(theta) / (double)dim));
    if (!scaling || scaling->factor == 1) return f;
    double wave = 2 * 3.14159265358979323846, low = scaling->low_freq_factor, high = scaling->high_freq_factor;
    /* t: 0 for waves longer than the old context / low, 1 for those shorter than it / high, a ramp between. */
    value *t = ingot_mul_scalar(b, f, (double)scaling->original_positions / wave);
    t = ingot_mul_scalar(b, ingot_add_scalar(b, t, -low), 1 / (high - low));
    char formula[128];
    snprintf(formula, sizeof formula, "a * (%.17g + min(max(b, 0), 1) * %.17g)", 1 / scaling->factor,
             1 - 1 / scaling->factor);
    return ingot_pointwise(b, formula, (value *const[]){f, t}, 2);
}

ingot_value *ingot_rope_table(ingot_build *b, int64_t positions, int64_t dim, double theta,
                              const ingot_rope_scaling *scaling)
{
    if (positions < 1 || dim < 2 || dim % 2 || !(theta > 0))
        return build_fail(b, INGOT_ERROR_ARGUMENT,
                          "[rope_table] positions %lld must be at least 1, dim %lld even, theta %g positive",
                          (long long)positions, (long long)dim, theta);
    if (scaling && !(scaling->factor >= 1 && scaling->low_freq_factor > 0 &&
                     scaling->high_freq_factor > scaling->low_freq_factor && scaling->original_positions > 0))
        return build_fail(b, INGOT_ERROR_ARGUMENT,
                          "[rope_table] scaling takes a factor >= 1 and 0 < low_freq_factor < high_freq_factor");
    value *p = ingot_iota(b, INGOT_F32, INGOT_SHAPE(positions, 1), 0);
    value *angle = ingot_mul(b, p, frequencies(b, dim, theta, scaling)); /* (P, dim/2) */
    return ingot_concat(b, (value *const[]){ingot_cos(b, angle), ingot_sin(b, angle)}, 2, 1);
}
