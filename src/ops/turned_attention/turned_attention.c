/* Attention by queries and keys as they are before their rotary positions, and its gradient by them: what a layer does between
 * its two products when it trains. Made by the match pass where a device has a kernel for all of it, else never seen.
 */
#include "ops/turned_attention/turned_attention.h"
#include "ops/rope/rope.h"

static status check(build *b, const node *n, int first, int position)
{
    shape q = n->in[first]->shape, k = n->in[first + 1]->shape, v = n->in[first + 2]->shape;
    const value *at = n->in[position], *angles = n->in[position + 1];
    char one[128], other[128], third[128];
    bool fits = q.rank == 4 && k.rank == 4 && shape_equal(k, v) && q.dim[0] == k.dim[0] && q.dim[1] == k.dim[1] &&
                q.dim[3] == k.dim[3] && q.dim[2] % k.dim[2] == 0;
    if (!fits)
        return infer_fail(
            b, n, "q %s, k %s, v %s do not fit: they must be (B, T, H, D), (B, T, K, D) twice, H a multiple of K",
            shape_print(one, q), shape_print(other, k), shape_print(third, v));
    if (at->dtype != INGOT_I32 || shape_count(at->shape) != q.dim[0] * q.dim[1])
        return infer_fail(b, n, "positions are %s%s; q %s takes an int32 for each token", ingot_dtype_name(at->dtype),
                          shape_print(one, at->shape), shape_print(other, q));
    if (angles->shape.rank != 2 || angles->shape.dim[1] != q.dim[3] || q.dim[3] % 2)
        return infer_fail(b, n, "angles %s must be (positions, D) of q %s, D even", shape_print(one, angles->shape),
                          shape_print(other, q));
    return INGOT_OK;
}

static status infer(build *b, const node *n, inferred *out)
{
    TRY(check(b, n, TURNED_Q, TURNED_POSITION));
    shape q = n->in[TURNED_Q]->shape;
    out[TURNED_LSE] = (inferred){.dtype = dtype_statistic(n->in[TURNED_Q]->dtype),
                                 .shape = INGOT_SHAPE(q.dim[0], q.dim[2], q.dim[1])};
    return INGOT_OK;
}

static value *turn(build *b, value *x, value *position, value *angles, int inverse)
{
    return APPLY(b, &op_rope_def, &((rope_attrs){0, inverse}), x, position, angles);
}

static void lower(build *b, const node *n, value **out)
{
    value *position = n->in[TURNED_POSITION], *angles = n->in[TURNED_ANGLES];
    value *q = turn(b, n->in[TURNED_Q], position, angles, 0), *k = turn(b, n->in[TURNED_K], position, angles, 0);
    node *made = node_new(b, &op_attention_def, (value *const[]){q, k, n->in[TURNED_V]}, 3, n->attrs);
    if (!made) return;
    out[TURNED_O] = made->out[ATTENTION_O];
    if (n->out[TURNED_LSE]) out[TURNED_LSE] = node_output(b, made, ATTENTION_LSE);
    if (n->out[TURNED_Q_AFTER]) out[TURNED_Q_AFTER] = q;
    if (n->out[TURNED_K_AFTER]) out[TURNED_K_AFTER] = k;
}

static op_cost cost(const node *n)
{
    shape q = n->in[TURNED_Q]->shape;
    double T = (double)q.dim[1], keys = ATTRS_OF(attention_attrs, n)->causal ? (T + 1) / 2 : T;
    return (op_cost){.flops = (4 * keys + 3) * (double)shape_count(q),
                     .bytes = 2.0 * (double)(value_bytes(n->in[TURNED_Q]) + value_bytes(n->in[TURNED_K]))};
}

#define A(scale, causal)                                                                                               \
    &(const attention_attrs)                                                                                           \
    {                                                                                                                  \
        scale, causal                                                                                                  \
    }
/* B rows of T tokens, H and K heads of D; angles of P positions. */
#define SHAPES(B, T, H, K, D, P)                                                                                       \
    {                                                                                                                  \
        S(B, T, H, D), S(B, T, K, D), S(B, T, K, D), S(B, T), S(P, D)                                                  \
    }
#define GRAD_SHAPES(B, T, H, K, D, P)                                                                                  \
    {                                                                                                                  \
        S(B, T, H, D), S(B, T, H, D), S(B, T, K, D), S(B, T, K, D), S(B, T, H, D), S(B, H, T), S(B, T), S(P, D)        \
    }
#define SAMPLE(shapes, position, positions, ...)                                                                       \
    {                                                                                                                  \
        .in = shapes, .attrs = A(__VA_ARGS__), .below = {[position] = positions}, .no_gradient = true                  \
    }
const op_def op_turned_attention_def = {
    .name = "turned_attention",
    .doc = "attention of q (B, T, H, D) and k (B, T, K, D), both turned by rope with positions int32 (B, T) and angles "
           "(P, "
           "D), and v (B, T, K, D); q_after and k_after are what they were turned to. Not differentiable.",
    .inputs = {{"q", FLOAT},
               {"k", FLOAT},
               {"v", FLOAT},
               {"position", INTEGER},
               {"angles", FLOAT, .not_differentiable = true, .wide = true}},
    .outputs = {{"o", .like = INPUT(TURNED_Q)},
                {"lse", .optional = true},
                {"q_after", .like = INPUT(TURNED_Q), .optional = true},
                {"k_after", .like = INPUT(TURNED_K), .optional = true}},
    ATTRS(attention_attrs, ATTR(attention_attrs, scale, ATTR_F64),
          ATTR(attention_attrs, causal, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_WIDE | OP_INTERNAL | OP_NOT_DIFFERENTIABLE,
    .infer = infer,
    .lower = lower,
    .cost = cost,
    BENCH({.in = SHAPES(8, 128, 4, 2, 32, 128), .attrs = A(0.125, 1), .below = {[TURNED_POSITION] = 128}}),
    SAMPLES(SAMPLE(SHAPES(2, 3, 4, 2, 6, 5), TURNED_POSITION, 6, 0.5, 1),
            SAMPLE(SHAPES(2, 128, 4, 2, 32, 128), TURNED_POSITION, 128, 0.2, 1),
            SAMPLE(SHAPES(1, 77, 3, 1, 16, 70), TURNED_POSITION, 77, 0.3, 0),
            SAMPLE(SHAPES(3, 33, 2, 2, 32, 40), TURNED_POSITION, 40, 0.2, 1),
            {.in = SHAPES(1, 65, 2, 1, 32, 65),
             .attrs = A(0.2, 1),
             .below = {[TURNED_POSITION] = 65},
             .values_of = {VALUES_TINY},
             .no_gradient = true}),
};

/* turned_attention_grad */

static status grad_infer(build *b, const node *n, inferred *out)
{
    (void)out;
    char one[128], other[128];
    TRY(check(b, n, 1, TURNED_GRAD_POSITION));
    shape q = n->in[1]->shape, lse = n->in[5]->shape;
    if (!shape_equal(n->in[0]->shape, q) || !shape_equal(n->in[4]->shape, q) ||
        !shape_equal(lse, INGOT_SHAPE(q.dim[0], q.dim[2], q.dim[1])))
        return infer_fail(b, n, "do is %s, q is %s", shape_print(one, n->in[0]->shape), shape_print(other, q));
    return INGOT_OK;
}

static void grad_lower(build *b, const node *n, value **out)
{
    value *position = n->in[TURNED_GRAD_POSITION], *angles = n->in[TURNED_GRAD_ANGLES];
    const node *made = node_new(b, &op_attention_grad_def, n->in, TURNED_GRAD_POSITION, n->attrs);
    if (!made) return;
    for (int i = 0; i < 3; i++)
        out[i] = i == ATTENTION_GRAD_DV ? made->out[i] : turn(b, made->out[i], position, angles, 1);
}

static op_cost grad_cost(const node *n)
{
    shape q = n->in[1]->shape;
    double T = (double)q.dim[1], keys = ATTRS_OF(attention_attrs, n)->causal ? (T + 1) / 2 : T;
    return (op_cost){.flops = (10 * keys + 3) * (double)shape_count(q),
                     .bytes = 4.0 * (double)(value_bytes(n->in[1]) + value_bytes(n->in[2]))};
}

const op_def op_turned_attention_grad_def = {
    .name = "turned_attention_grad",
    .doc = "The gradient of turned_attention: that of attention by the turned q and k, then dq and dk turned back.",
    .inputs = {{"do", FLOAT},
               {"q", FLOAT},
               {"k", FLOAT},
               {"v", FLOAT},
               {"o", FLOAT},
               {"lse", FLOAT, .wide = true},
               {"position", INTEGER},
               {"angles", FLOAT, .wide = true}},
    .outputs = {{"dq", .like = INPUT(1)}, {"dk", .like = INPUT(2)}, {"dv", .like = INPUT(3)}},
    ATTRS(attention_attrs, ATTR(attention_attrs, scale, ATTR_F64),
          ATTR(attention_attrs, causal, ATTR_I64, .minimum = 0, .maximum = 1)),
    .traits = OP_WIDE | OP_INTERNAL | OP_NOT_DIFFERENTIABLE,
    .infer = grad_infer,
    .lower = grad_lower,
    .cost = grad_cost,
    BENCH({.in = GRAD_SHAPES(8, 128, 4, 2, 32, 128), .attrs = A(0.125, 1), .below = {[TURNED_GRAD_POSITION] = 128}}),
    SAMPLES(SAMPLE(GRAD_SHAPES(2, 3, 4, 2, 6, 5), TURNED_GRAD_POSITION, 6, 0.5, 1),
            SAMPLE(GRAD_SHAPES(2, 128, 4, 2, 32, 128), TURNED_GRAD_POSITION, 128, 0.05, 1),
            SAMPLE(GRAD_SHAPES(1, 77, 3, 1, 16, 70), TURNED_GRAD_POSITION, 77, 0.1, 0),
            SAMPLE(GRAD_SHAPES(3, 33, 2, 2, 32, 40), TURNED_GRAD_POSITION, 40, 0.1, 1),
            {.in = GRAD_SHAPES(1, 65, 2, 1, 32, 65),
             .attrs = A(0.2, 1),
             .below = {[TURNED_GRAD_POSITION] = 65},
             .values_of = {VALUES_TINY},
             .no_gradient = true}),
};
