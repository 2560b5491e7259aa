/* Smaller graphs with the same results: dead nodes go, equal nodes become one, transposes go into products, a product
 * that is added to a state accumulates into it.
 */
#include "ops/matmul/matmul.h"
#include "ops/pointwise/pointwise.h"
#include "ops/reduce/reduce.h"
#include "ops/table.h"
#include "passes/passes.h"

int drop_dead_nodes(build *b)
{
    bool *live = calloc((size_t)b->values + 1, sizeof *live);
    int dropped = 0;
    if (!live) return 0;
    for (int64_t i = 0; i < b->outputs.count; i++) live[b->outputs.at[i].value->id] = true;
    for (node *n = b->last, *before; n; n = before) {
        before = n->before;
        bool keep = n->op->traits & (OP_EFFECT | OP_SOURCE);
        for (int i = 0; i < NODE_MAX_OUTPUTS; i++) keep |= n->out[i] && live[n->out[i]->id];
        if (!keep) {
            node_remove(b, n);
            dropped++;
            continue;
        }
        for (int i = 0; i < n->inputs; i++)
            if (n->in[i]) live[n->in[i]->id] = true;
        for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
            if (n->out[i] && !live[n->out[i]->id] && n->op->outputs[i].optional) n->out[i] = NULL;
    }
    free(live);
    return dropped;
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h ^= x + 0x9E3779B97F4A7C15ull + (h << 6) + (h >> 2);
    return h;
}

static uint64_t node_hash(const node *n)
{
    uint64_t h = mix((uintptr_t)n->op, (uint64_t)n->inputs);
    for (int i = 0; i < n->inputs; i++) h = mix(h, n->in[i] ? (uint64_t)n->in[i]->id + 1 : 0);
    return h;
}

static bool nodes_equal(const node *a, const node *b)
{
    if (a->op != b->op || a->inputs != b->inputs || a->recomputed != b->recomputed) return false;
    for (int i = 0; i < a->inputs; i++)
        if (a->in[i] != b->in[i]) return false;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (b->out[i] && a->out[i] && a->out[i]->dtype != b->out[i]->dtype) return false;
    return op_attrs_equal(a->op, a->attrs, b->attrs);
}

static void merge_into(build *b, node *kept, const node *n)
{
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) {
        if (!n->out[i]) continue;
        value *v = kept->out[i] ? kept->out[i] : node_output(b, kept, i);
        if (v) value_replace(b, n->out[i], v);
    }
}

static status merge_equal_nodes(build *b)
{
    size_t size = 64;
    while (size < (size_t)b->nodes * 2) size *= 2;
    node **table = calloc(size, sizeof *table);
    if (!table) return fail_memory(b->ctx, "simplifying a graph", size * sizeof *table);
    for (node *n = b->first, *next; n; n = next) {
        next = n->after;
        if (n->op->traits & (OP_SOURCE | OP_EFFECT)) continue;
        size_t at = node_hash(n) & (size - 1);
        while (table[at] && !nodes_equal(table[at], n)) at = (at + 1) & (size - 1);
        if (!table[at]) {
            table[at] = n;
            continue;
        }
        merge_into(b, table[at], n);
        node_remove(b, n);
    }
    free(table);
    return INGOT_OK;
}

/* matmul(permute(x, last two swapped), y) reads x transposed. */
static void fold_transpose(node *n, int input)
{
    const node *p = n->in[input]->node;
    if (p->op != &op_permute_def) return;
    const shape *order = p->attrs;
    int64_t rank = order->rank;
    for (int64_t i = 0; i < rank - 2; i++)
        if (order->dim[i] != i) return;
    if (rank < 2 || order->dim[rank - 1] != rank - 2) return;
    matmul_attrs *t = n->attrs;
    if (input == 0)
        t->trans_a ^= 1;
    else
        t->trans_b ^= 1;
    n->in[input] = p->in[0];
}

/* A plain a + b of equal shapes, as op or as program. */
static bool is_sum(const node *n)
{
    if (n->inputs != 2 || !shape_equal(n->in[0]->shape, n->in[1]->shape)) return false;
    if (n->op == &op_add_def) return true;
    const pw_program *p = n->attrs;
    return n->op == &op_pointwise_def && p->count == 1 && p->code[0].code == PW_ADD && p->dtype == n->in[0]->dtype;
}

static bool is_zeros(const value *v)
{
    return v->node->op == &op_constant_def && *(const double *)v->node->attrs == 0;
}

/* Where a chain of products and scattered rows begins, each added to the one before, which nothing else reads. */
static value *first_addend(const build *b, value *v)
{
    for (;;) {
        const node *n = v->node;
        value *before = n->op == &op_matmul_def && n->inputs > 2 ? n->in[2] : NULL;
        if (n->op == &op_scatter_add_def) before = n->in[0];
        if (!before || is_zeros(before) || value_uses(b, before) != 1) return v;
        v = before;
    }
}

/* The same node, with `addend` to begin from. */
static value *begin_from(build *b, const node *n, value *addend)
{
    if (n->op == &op_matmul_def && n->inputs == 2) {
        const matmul_attrs *t = n->attrs;
        if (t->wide) return matmul_wide(b, n->in[0], n->in[1], addend, t->trans_a, t->trans_b);
        return ingot_matmul_with(b, n->in[0], n->in[1], addend, (int)t->trans_a, (int)t->trans_b);
    }
    if (n->op == &op_scatter_add_def && is_zeros(n->in[0])) return ingot_scatter_add(b, addend, n->in[1], n->in[2]);
    return NULL;
}

/* state + matmul(a, b), the product used nowhere else -> matmul(a, b, state): written in place later. The same for
 * scatter_add over zeros, and for sums that begin with either. */
static void accumulate(build *b, node *n)
{
    for (int i = 0; i < 2; i++) {
        value *addend = n->in[1 - i];
        if (!value_is_state(addend) || value_uses(b, n->in[i]) != 1) continue;
        value *first = first_addend(b, n->in[i]);
        node_move_to_front(b, addend->node);
        b->cursor = first->node;
        value *made = begin_from(b, first->node, addend);
        b->cursor = NULL;
        if (!made) continue;
        made->node->scope = first->node->scope;
        made->node->backward = first->node->backward;
        value_replace(b, first, made);
        value_replace(b, n->out[0], n->in[i]);
        return;
    }
}

/* scatter_add over zeros, added to something that dies here: scattered onto it (tied embeddings). */
static void scatter_onto(build *b, node *n)
{
    for (int i = 0; i < 2; i++) {
        node *scatter = n->in[i]->node;
        value *base = n->in[1 - i];
        if (scatter->op != &op_scatter_add_def || value_uses(b, n->in[i]) != 1 || value_uses(b, base) != 1) continue;
        if (!is_zeros(scatter->in[0])) continue;
        b->cursor = n;
        value *made = ingot_scatter_add(b, base, scatter->in[1], scatter->in[2]);
        b->cursor = NULL;
        if (!made) return;
        made->node->scope = scatter->scope;
        made->node->backward = scatter->backward;
        value_replace(b, n->out[0], made);
        return;
    }
}

static bool is_cast_to_f32(const node *n)
{
    if (n->op == &op_cast_def) return n->out[0]->dtype == INGOT_F32;
    const pw_program *p = n->attrs;
    return n->op == &op_pointwise_def && p->count == 0 && p->outputs == 1 && p->dtype == INGOT_F32;
}

/* A product or sum that would be rounded to 16 bits only to be read as float32 stays float32: gradients of weights. */
static void keep_wide(build *b, node *cast)
{
    value *v = cast->in[0], *from = v, *made = NULL;
    while (from->node->op == &op_reshape_def && value_uses(b, from) == 1) from = from->node->in[0];
    const node *n = from->node;
    if (!dtype_is_narrow(v->dtype) || value_uses(b, from) != 1) return;
    b->cursor = cast;
    if (n->op == &op_cast_def && cast->op == &op_cast_def && n->in[0]->dtype == INGOT_F32) /* not those of widening */
        value_replace(b, cast->out[0], ingot_reshape(b, n->in[0], v->shape));
    if (n->op == &op_matmul_def && n->inputs == 2) {
        const matmul_attrs *t = n->attrs;
        made = matmul_wide(b, n->in[0], n->in[1], NULL, t->trans_a, t->trans_b);
    } else if (n->op == &op_reduce_def && ATTRS_OF(reduce_attrs, n)->kind == REDUCE_SUM) {
        const reduce_attrs *a = n->attrs;
        made = sum_wide(b, n->in[0], (int)a->axis, (int)a->keep);
    }
    if (made) {
        made->node->scope = n->scope;
        made->node->backward = n->backward;
        made->node->recomputed = n->recomputed;
        value_replace(b, cast->out[0], ingot_reshape(b, made, v->shape));
    }
    b->cursor = NULL;
}

status pass_simplify(build *b)
{
    drop_dead_nodes(b);
    TRY(merge_equal_nodes(b));
    for (node *n = b->first; n; n = n->after) {
        if (n->op == &op_matmul_def) {
            fold_transpose(n, 0);
            fold_transpose(n, 1);
        }
    }
    for (node *n = b->first; n; n = n->after)
        if (is_cast_to_f32(n)) keep_wide(b, n);
    drop_dead_nodes(b);
    for (node *n = b->first, *next; n; n = next) {
        next = n->after;
        if (!is_sum(n) || merge_concats(b, n)) continue;
        scatter_onto(b, n);
        if (value_uses(b, n->out[0])) accumulate(b, n);
    }
    drop_dead_nodes(b);
    return ingot_build_status(b);
}
