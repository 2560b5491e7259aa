/* The gradient of a slice is its part among zeros. Where a value was cut into slices, their gradients are added: sums of such
 * parts that do not overlap become one concatenation.
 */
#include "ops/concat/concat.h"
#include "ops/source/source.h"
#include "passes/passes.h"

enum { MOST_PARTS = 64 };

typedef struct parts {
    value *at[MOST_PARTS]; /* NULL: zeros */
    int64_t length[MOST_PARTS];
    int count;
} parts;

static bool is_zero(const value *v)
{
    return v->node->op == &op_constant_def && ((const constant_attrs *)v->node->attrs)->value == 0;
}

static bool read_parts(const node *n, parts *out)
{
    int64_t axis = ((const concat_attrs *)n->attrs)->axis;
    out->count = 0;
    for (int i = 0; i < n->inputs; i++) {
        if (out->count == MOST_PARTS) return false;
        out->at[out->count] = is_zero(n->in[i]) ? NULL : n->in[i];
        out->length[out->count++] = n->in[i]->shape.dim[axis];
    }
    return true;
}

static bool add_part(parts *out, value *v, int64_t length)
{
    if (!v && out->count && !out->at[out->count - 1]) {
        out->length[out->count - 1] += length;
        return true;
    }
    if (out->count == MOST_PARTS) return false;
    out->at[out->count] = v;
    out->length[out->count++] = length;
    return true;
}

/* Walks both lists at once; false where two values overlap, or one meets only a piece of the other's zeros. */
static bool join_parts(parts a, parts b, parts *out)
{
    int i = 0, j = 0;
    out->count = 0;
    while (i < a.count && j < b.count) {
        if (a.at[i] && b.at[j]) return false;
        parts *full = a.at[i] ? &a : &b, *zeros = a.at[i] ? &b : &a;
        int *at = a.at[i] ? &i : &j, *other = a.at[i] ? &j : &i;
        if (!full->at[*at]) { /* zeros on both sides */
            int64_t length = MIN(a.length[i], b.length[j]);
            if (!add_part(out, NULL, length)) return false;
            a.length[i] -= length;
            b.length[j] -= length;
            i += a.length[i] == 0;
            j += b.length[j] == 0;
            continue;
        }
        if (zeros->length[*other] < full->length[*at]) return false;
        if (!add_part(out, full->at[*at], full->length[*at])) return false;
        zeros->length[*other] -= full->length[*at];
        *other += zeros->length[*other] == 0;
        ++*at;
    }
    return true;
}

static value *build_parts(build *b, const parts *p, const value *like, int64_t axis)
{
    value *in[MOST_PARTS];
    for (int i = 0; i < p->count; i++) {
        shape s = like->shape;
        s.dim[axis] = p->length[i];
        in[i] = p->at[i] ? p->at[i] : ingot_constant(b, 0, like->dtype, s);
    }
    return p->count == 1 ? in[0] : ingot_concat(b, in, p->count, (int)axis);
}

bool merge_concats(build *b, node *sum)
{
    const node *x = sum->in[0]->node, *y = sum->in[1]->node;
    parts one, other, joint;
    if (x->op != &op_concat_def || y->op != &op_concat_def) return false;
    int64_t axis = ((const concat_attrs *)x->attrs)->axis;
    if (axis != ((const concat_attrs *)y->attrs)->axis || !read_parts(x, &one) || !read_parts(y, &other)) return false;
    if (!join_parts(one, other, &joint)) return false;
    b->cursor = sum;
    b->scope = sum->scope;
    b->in_backward = sum->backward;
    value *made = build_parts(b, &joint, sum->out[0], axis);
    b->cursor = NULL;
    b->scope = "";
    b->in_backward = false;
    if (made) value_replace(b, sum->out[0], made);
    return made != NULL;
}
