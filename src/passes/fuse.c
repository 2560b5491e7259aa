/* Chains of pointwise nodes become one: what only one other pointwise node reads is computed inside it and never written.
 * One instruction over a whole value and broadcast ones (a product and its bias) is computed again by each pointwise node
 * that reads it, if nothing else does: it costs them nothing and saves a pass. Scalar constants become part of the program.
 * Small ones beside each other that read the same become one of several outputs.
 */
#include "ops/pointwise/pointwise.h"
#include "ops/source/source.h"
#include "passes/passes.h"

/* Joins `inner`, which makes input `slot` of `outer`, into a new program; false when it would not fit. in[] gets the
 * inputs of the result. */
typedef struct join {
    pw_program program;
    value *in[PW_MAX_INPUTS];
} join;

static int join_input(join *j, value *v)
{
    for (int i = 0; i < j->program.inputs; i++)
        if (j->in[i] == v) return i;
    if (j->program.inputs == PW_MAX_INPUTS) return -1;
    j->in[j->program.inputs] = v;
    return j->program.inputs++;
}

static bool append(join *j, const pw_program *p, const uint8_t *input_slots, uint8_t *moved)
{
    for (int i = 0; i < p->inputs; i++) moved[i] = input_slots[i];
    for (int i = 0; i < p->count; i++) {
        pw_instr in = p->code[i];
        int slot = in.code == PW_CONST ? pw_emit_const(&j->program, in.value)
                                       : pw_emit(&j->program, in.code, moved[in.a], moved[in.b], moved[in.c]);
        if (slot < 0) return false;
        moved[p->inputs + i] = (uint8_t)slot;
    }
    return true;
}

static bool constant_scalar(const value *v, double *out)
{
    if (v->node->op != &op_constant_def) return false;
    *out = ((const constant_attrs *)v->node->attrs)->value;
    return true;
}

static bool computes_in_f32(dtype d)
{
    return d == INGOT_F32 || dtype_is_narrow(d);
}

/* What of `inner` allows `outer` to compute it, whoever else reads it. */
static bool fits_inside(const node *outer, const value *v)
{
    const node *inner = v->node;
    if (inner->op != &op_pointwise_def || ((const pw_program *)inner->attrs)->outputs != 1) return false;
    if (inner->recomputed != outer->recomputed || !shape_equal(v->shape, outer->out[0]->shape)) return false;
    /* Programs compute in float32 whatever they store: what is never stored is not rounded. */
    if (v->dtype != outer->out[0]->dtype && !(computes_in_f32(v->dtype) && computes_in_f32(outer->out[0]->dtype)))
        return false;
    if (dtype_is_narrow(v->dtype) && ((const pw_program *)inner->attrs)->count == 0 && inner->in[0]->dtype == INGOT_F32)
        return false;                       /* a cast that rounds is meant to */
    for (int i = 0; i < inner->inputs; i++) /* integers keep a pass of their own: they need not be exact as float32 */
        if (!dtype_is_float(inner->in[i]->dtype)) return false;
    return true;
}

static int times_read(const node *n, const value *v)
{
    int uses = 0;
    for (int i = 0; i < n->inputs; i++) uses += n->in[i] == v;
    return uses;
}

/* One instruction, one input as large as the result: to read that is no more than to read the result. */
static bool is_light(const value *v)
{
    const pw_program *p = v->node->attrs;
    int64_t whole = 0;
    for (int i = 0; i < v->node->inputs; i++) whole += shape_count(v->node->in[i]->shape) == shape_count(v->shape);
    return p->count == 1 && whole == 1 && (p->code[0].code == PW_ADD || p->code[0].code == PW_MUL);
}

/* All that read it are pointwise nodes with room for it. */
static bool fits_everywhere(const build *b, const value *v)
{
    int left = value_uses(b, v);
    for (const node *n = v->node->after; n && left; n = n->after) {
        int uses = times_read(n, v);
        if (!uses) continue;
        if (n->op != &op_pointwise_def || !fits_inside(n, v)) return false;
        if (n->inputs - 1 + v->node->inputs > PW_MAX_INPUTS || ((const pw_program *)n->attrs)->count + 1 > PW_MAX_CODE)
            return false;
        left -= uses;
    }
    return left == 0;
}

/* So few elements that computing them again costs nothing beside a launch, whoever else reads them. */
static bool is_small(const value *v)
{
    return shape_count(v->shape) <= 64 && ((const pw_program *)v->node->attrs)->count <= 16;
}

static bool can_fuse(const build *b, const node *outer, const value *v)
{
    if (!fits_inside(outer, v)) return false;
    return value_uses(b, v) == times_read(outer, v) || is_small(v) || (is_light(v) && fits_everywhere(b, v));
}

/* A value that is read by `outer` only is joined; a constant is written into the program. */
static bool try_join(const build *b, const node *outer, int slot, join *j)
{
    const value *v = outer->in[slot];
    const pw_program *p = outer->attrs, *q = NULL;
    double k = 0;
    bool constant = constant_scalar(v, &k);
    if (!constant && !can_fuse(b, outer, v)) return false;
    if (!constant) q = v->node->attrs;
    memset(j, 0, sizeof *j);
    for (int i = 0; i < outer->inputs; i++)
        if (outer->in[i] != v && join_input(j, outer->in[i]) < 0) return false;
    for (int i = 0; q && i < v->node->inputs; i++)
        if (join_input(j, v->node->in[i]) < 0) return false;
    if (j->program.inputs == 0) return false; /* all constant: simplify's matter */
    uint8_t slots[PW_MAX_INPUTS], inner_slots[PW_MAX_INPUTS], moved[PW_MAX_INPUTS + PW_MAX_CODE];
    int result;
    if (q) {
        for (int i = 0; i < v->node->inputs; i++) inner_slots[i] = (uint8_t)join_input(j, v->node->in[i]);
        if (!append(j, q, inner_slots, moved)) return false;
        result = moved[q->result[0]];
    } else {
        result = pw_emit_const(&j->program, k);
    }
    if (result < 0) return false;
    for (int i = 0; i < outer->inputs; i++)
        slots[i] = outer->in[i] == v ? (uint8_t)result : (uint8_t)join_input(j, outer->in[i]);
    if (!append(j, p, slots, moved)) return false;
    j->program.outputs = p->outputs;
    j->program.dtype = p->dtype;
    for (int i = 0; i < p->outputs; i++) j->program.result[i] = moved[p->result[i]];
    pw_drop_dead(&j->program);
    return true;
}

static node *replace_joined(build *b, node *outer, const join *j)
{
    shape joint = j->in[0]->shape;
    for (int i = 1; i < j->program.inputs; i++)
        if (!shape_broadcast(joint, j->in[i]->shape, &joint)) return NULL;
    if (!shape_equal(joint, outer->out[0]->shape)) return NULL; /* a constant alone held the shape */
    b->cursor = outer;
    b->scope = outer->scope;
    b->in_backward = outer->backward;
    node *n = pw_node(b, &j->program, j->in);
    b->cursor = NULL;
    b->scope = "";
    b->in_backward = false;
    if (!n) return NULL;
    n->recomputed = outer->recomputed;
    for (int i = 0; i < j->program.outputs; i++)
        if (outer->out[i]) value_replace(b, outer->out[i], n->out[i]);
    node_remove(b, outer);
    return n;
}

static bool reads_all_of(const node *n, const node *other)
{
    for (int i = 0; i < other->inputs; i++)
        if (!times_read(n, other->in[i])) return false;
    return true;
}

/* Few elements, all outputs read, and no integers, which need not be exact as float32. */
static bool is_scalar_work(const node *n)
{
    const pw_program *p = n->attrs;
    if (n->op != &op_pointwise_def || !n->out[0] || shape_count(n->out[0]->shape) > 64) return false;
    for (int i = 1; i < p->outputs; i++)
        if (!n->out[i]) return false;
    for (int i = 0; i < n->inputs; i++)
        if (!dtype_is_float(n->in[i]->dtype)) return false;
    return true;
}

/* One of them reads all that the other does. */
static bool fit_beside(const node *n, const node *other)
{
    if (!is_scalar_work(n) || !is_scalar_work(other)) return false;
    const pw_program *p = n->attrs, *q = other->attrs;
    return p->outputs + q->outputs <= PW_MAX_OUTPUTS && p->dtype == q->dtype &&
           shape_equal(n->out[0]->shape, other->out[0]->shape) && n->recomputed == other->recomputed &&
           n->backward == other->backward && n->segment == other->segment &&
           (reads_all_of(n, other) || reads_all_of(other, n));
}

static bool stands_behind(const node *n, const node *first)
{
    while (n && n != first) n = n->before;
    return n != NULL;
}

/* Whether all that `other` reads is there before n: what reads n stands behind it, and so is not among it. */
static bool can_move_to(const node *other, const node *n)
{
    for (int i = 0; i < other->inputs; i++)
        if (stands_behind(other->in[i]->node, n)) return false;
    return true;
}

static bool join_beside(const node *n, const node *other, join *j)
{
    const node *both[] = {n, other};
    memset(j, 0, sizeof *j);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < both[i]->inputs; k++)
            if (join_input(j, both[i]->in[k]) < 0) return false;
    j->program.dtype = ((const pw_program *)n->attrs)->dtype;
    for (int i = 0; i < 2; i++) {
        const pw_program *p = both[i]->attrs;
        uint8_t slots[PW_MAX_INPUTS], moved[PW_MAX_INPUTS + PW_MAX_CODE];
        for (int k = 0; k < both[i]->inputs; k++) slots[k] = (uint8_t)join_input(j, both[i]->in[k]);
        if (!append(j, p, slots, moved)) return false;
        for (int k = 0; k < p->outputs; k++) j->program.result[j->program.outputs++] = moved[p->result[k]];
    }
    return true;
}

/* Small ones that read the same are one launch: scalars of a step. */
static node *fuse_beside(build *b, node *n)
{
    for (node *other = n->after; other; other = other->after) {
        join j;
        if (!fit_beside(n, other) || !can_move_to(other, n) || !join_beside(n, other, &j)) continue;
        int first = ((const pw_program *)n->attrs)->outputs;
        b->cursor = n, b->scope = n->scope, b->in_backward = n->backward, b->segment = n->segment;
        node *made = pw_node(b, &j.program, j.in);
        b->cursor = NULL, b->scope = "", b->in_backward = false, b->segment = 0;
        if (!made) return n;
        made->recomputed = n->recomputed;
        for (int i = 0; i < j.program.outputs; i++)
            value_replace(b, i < first ? n->out[i] : other->out[i - first], made->out[i]);
        node_remove(b, other);
        node_remove(b, n);
        n = other = made;
    }
    return n;
}

status pass_fuse(build *b)
{
    for (node *n = b->first; n; n = n->after) {
        for (int i = 0; n->op == &op_pointwise_def && i < n->inputs; i++) {
            join j;
            if (!try_join(b, n, i, &j)) continue;
            node *made = replace_joined(b, n, &j);
            if (!made) continue;
            n = made;
            i = -1;
        }
    }
    drop_dead_nodes(b);
    for (node *n = b->first; n && !b->status; n = n->after)
        if (n->op == &op_pointwise_def) n = fuse_beside(b, n);
    drop_dead_nodes(b);
    return ingot_build_status(b);
}
