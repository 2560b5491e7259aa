/* Views: other looks at the same elements. None moves memory unless a kernel refuses the strides that come out. */
#include "ops/view/view.h"

/* reshape */

static status reshape_infer(build *b, const node *n, inferred *out)
{
    const shape *to = n->attrs;
    char one[128], other[128];
    if (shape_count(*to) != shape_count(n->in[0]->shape))
        return infer_fail(b, n, "%s has %lld elements, %s has %lld", shape_print(one, n->in[0]->shape),
                          (long long)shape_count(n->in[0]->shape), shape_print(other, *to),
                          (long long)shape_count(*to));
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = *to};
    return INGOT_OK;
}

static void reshape_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (need[0]) din[0] = ingot_reshape(b, dout[0], n->in[0]->shape);
}

/* Dims of 1 have no stride of their own: only the others count. Returns how many. */
static int64_t drop_ones(shape s, const layout *l, int64_t dim[INGOT_MAX_RANK], int64_t stride[INGOT_MAX_RANK])
{
    int64_t rank = 0;
    for (int64_t i = 0; i < s.rank; i++) {
        if (s.dim[i] == 1) continue;
        dim[rank] = s.dim[i];
        stride[rank++] = l->stride[i];
    }
    return rank;
}

/* Groups of dims with the same product on both sides keep a common stride only where the input's group is contiguous. */
static bool reshape_view(const node *n, const layout *in, layout *out)
{
    shape to = n->out[0]->shape;
    int64_t dim[INGOT_MAX_RANK], stride[INGOT_MAX_RANK], i = drop_ones(n->in[0]->shape, in, dim, stride), next = 1;
    *out = layout_contiguous(to);
    out->offset = in->offset;
    if (!shape_count(to)) return true;
    for (int64_t j = to.rank - 1, left = 1; j >= 0; j--) { /* left: of the input's group, not taken yet */
        if (to.dim[j] > 1 && left == 1) next = stride[--i], left = dim[i];
        for (; left % to.dim[j]; left *= dim[i]) /* the group takes in the dim before it */
            if (!i || stride[--i] != next * left) return false;
        out->stride[j] = next;
        next *= to.dim[j];
        left /= to.dim[j];
    }
    return true;
}

const op_def op_reshape_def = {
    .name = "reshape",
    .doc = "The same elements in the same order in another shape.",
    .inputs = {{"x", ANY}},
    .outputs = {{"y"}},
    ATTRS(shape, {.name = "shape", .kind = ATTR_SHAPE, .offset = 0}),
    .traits = OP_VIEW | OP_PRIMITIVE,
    .infer = reshape_infer,
    .grad = reshape_grad,
    .view = reshape_view,
    SAMPLES({.in = {S(2, 3, 5)}, .attrs = &(const shape)S(3, 10)},
            {.in = {S(4, 6)}, .attrs = &(const shape)S(2, 2, 2, 3)},
            {.in = {S(31, 33)}, .attrs = &(const shape)S(33, 31), .values = VALUES_WIDE}),
};

ingot_value *ingot_reshape(ingot_build *b, ingot_value *x, ingot_shape to)
{
    if (!x || shape_equal(x->shape, to)) return x;
    int64_t known = 1, open = -1;
    for (int64_t i = 0; i < to.rank; i++) {
        if (to.dim[i] < 0)
            open = i;
        else
            known *= to.dim[i];
    }
    if (open >= 0 && known > 0) to.dim[open] = shape_count(x->shape) / known;
    return APPLY(b, &op_reshape_def, &to, x);
}

/* permute */

static status permute_infer(build *b, const node *n, inferred *out)
{
    const shape *order = n->attrs, *from = &n->in[0]->shape;
    bool seen[INGOT_MAX_RANK] = {false};
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = {.rank = from->rank}};
    if (order->rank != from->rank)
        return infer_fail(b, n, "%d axes for a value of rank %d", (int)order->rank, (int)from->rank);
    for (int64_t i = 0; i < order->rank; i++) {
        int64_t axis = order->dim[i];
        if (axis < 0 || axis >= from->rank || seen[axis]) return infer_fail(b, n, "the axes are no permutation");
        seen[axis] = true;
        out[0].shape.dim[i] = from->dim[axis];
    }
    return INGOT_OK;
}

static void permute_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    const shape *order = n->attrs;
    shape inverse = {.rank = order->rank};
    for (int64_t i = 0; i < order->rank; i++) inverse.dim[order->dim[i]] = i;
    if (need[0]) din[0] = ingot_permute(b, dout[0], inverse);
}

static bool permute_view(const node *n, const layout *in, layout *out)
{
    const shape *order = n->attrs;
    *out = (layout){.offset = in->offset};
    for (int64_t i = 0; i < order->rank; i++) out->stride[i] = in->stride[order->dim[i]];
    return true;
}

const op_def op_permute_def = {
    .name = "permute",
    .doc = "y's axis i is x's axis order[i].",
    .inputs = {{"x", ANY}},
    .outputs = {{"y"}},
    ATTRS(shape, {.name = "order", .kind = ATTR_SHAPE, .offset = 0}),
    .traits = OP_VIEW | OP_PRIMITIVE,
    .infer = permute_infer,
    .grad = permute_grad,
    .view = permute_view,
    SAMPLES({.in = {S(2, 3, 5)}, .attrs = &(const shape)S(2, 0, 1)},
            {.in = {S(31, 33)}, .attrs = &(const shape)S(1, 0), .values = VALUES_WIDE},
            {.in = {S(3, 2, 4099)}, .attrs = &(const shape)S(2, 1, 0)}),
};

ingot_value *ingot_permute(ingot_build *b, ingot_value *x, ingot_shape order)
{
    return APPLY(b, &op_permute_def, &order, x);
}

ingot_value *ingot_transpose(ingot_build *b, ingot_value *x)
{
    if (!x) return NULL;
    int64_t rank = x->shape.rank;
    if (rank < 2) return build_fail(b, INGOT_ERROR_SHAPE, "[transpose] takes at least two dims, got %d", (int)rank);
    shape order = {.rank = rank};
    for (int64_t i = 0; i < rank; i++) order.dim[i] = i;
    order.dim[rank - 1] = rank - 2;
    order.dim[rank - 2] = rank - 1;
    return ingot_permute(b, x, order);
}

/* slice */

static status slice_infer(build *b, const node *n, inferred *out)
{
    const slice_attrs *a = n->attrs;
    shape s = n->in[0]->shape;
    char dims[128];
    if (a->axis < 0 || a->axis >= s.rank) return infer_fail(b, n, "there is no such axis in %s", shape_print(dims, s));
    if (a->start < 0 || a->length < 1 || a->start > s.dim[a->axis] - a->length)
        return infer_fail(b, n, "%lld elements from %lld on are not in axis %d of %s", (long long)a->length,
                          (long long)a->start, (int)a->axis, shape_print(dims, s));
    s.dim[a->axis] = a->length;
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = s};
    return INGOT_OK;
}

static void slice_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    const slice_attrs *a = n->attrs;
    if (!need[0]) return;
    shape before = n->in[0]->shape, after = before;
    before.dim[a->axis] = a->start;
    after.dim[a->axis] = n->in[0]->shape.dim[a->axis] - a->start - a->length;
    value *parts[3];
    int count = 0;
    if (before.dim[a->axis]) parts[count++] = ingot_constant(b, 0, dout[0]->dtype, before);
    parts[count++] = dout[0];
    if (after.dim[a->axis]) parts[count++] = ingot_constant(b, 0, dout[0]->dtype, after);
    din[0] = count == 1 ? dout[0] : ingot_concat(b, parts, count, (int)a->axis);
}

static bool slice_view(const node *n, const layout *in, layout *out)
{
    const slice_attrs *a = n->attrs;
    *out = *in;
    out->offset += a->start * in->stride[a->axis];
    return true;
}

const op_def op_slice_def = {
    .name = "slice",
    .doc = "`length` elements of one axis, from `start` on.",
    .inputs = {{"x", ANY}},
    .outputs = {{"y"}},
    ATTRS(slice_attrs, ATTR(slice_attrs, axis, ATTR_I64), ATTR(slice_attrs, start, ATTR_I64),
          ATTR(slice_attrs, length, ATTR_I64)),
    .traits = OP_VIEW | OP_PRIMITIVE,
    .infer = slice_infer,
    .grad = slice_grad,
    .view = slice_view,
    SAMPLES({.in = {S(2, 7, 5)}, .attrs = &(const slice_attrs){1, 2, 3}},
            {.in = {S(33)}, .attrs = &(const slice_attrs){0, 32, 1}, .values = VALUES_WIDE}),
};

ingot_value *ingot_slice(ingot_build *b, ingot_value *x, int axis, int64_t start, int64_t length)
{
    if (!x) return NULL;
    return APPLY(b, &op_slice_def, &((slice_attrs){axis_of(axis, x->shape.rank), start, length}), x);
}

/* expand */

static status expand_infer(build *b, const node *n, inferred *out)
{
    const shape *to = n->attrs;
    shape joint;
    char one[128], other[128];
    if (!shape_broadcast(n->in[0]->shape, *to, &joint) || !shape_equal(joint, *to))
        return infer_fail(b, n, "%s does not broadcast to %s", shape_print(one, n->in[0]->shape),
                          shape_print(other, *to));
    out[0] = (inferred){.dtype = n->in[0]->dtype, .shape = *to};
    return INGOT_OK;
}

static void expand_grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    if (!need[0]) return;
    shape from = n->in[0]->shape;
    value *d = dout[0];
    int64_t extra = d->shape.rank - from.rank;
    for (int64_t i = 0; i < d->shape.rank; i++)
        if (i < extra || (from.dim[i - extra] == 1 && n->out[0]->shape.dim[i] != 1)) d = ingot_sum(b, d, (int)i, 1);
    din[0] = ingot_reshape(b, d, from);
}

static bool expand_view(const node *n, const layout *in, layout *out)
{
    shape from = n->in[0]->shape, to = n->out[0]->shape;
    *out = (layout){.offset = in->offset};
    for (int64_t i = 1; i <= from.rank; i++)
        out->stride[to.rank - i] = from.dim[from.rank - i] == to.dim[to.rank - i] ? in->stride[from.rank - i] : 0;
    return true;
}

const op_def op_expand_def = {
    .name = "expand",
    .doc = "x repeated along its dims of size 1, and along new leading dims.",
    .inputs = {{"x", ANY}},
    .outputs = {{"y"}},
    ATTRS(shape, {.name = "shape", .kind = ATTR_SHAPE, .offset = 0}),
    .traits = OP_VIEW | OP_PRIMITIVE,
    .infer = expand_infer,
    .grad = expand_grad,
    .view = expand_view,
    SAMPLES({.in = {S(3, 1)}, .attrs = &(const shape)S(2, 3, 5)}, {.in = {S(1)}, .attrs = &(const shape)S(33)},
            {.in = {S(31, 1, 33)}, .attrs = &(const shape)S(31, 2, 33), .values = VALUES_WIDE}),
};

ingot_value *ingot_expand(ingot_build *b, ingot_value *x, ingot_shape to)
{
    if (!x || shape_equal(x->shape, to)) return x;
    return APPLY(b, &op_expand_def, &to, x);
}
