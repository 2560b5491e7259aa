/* A sum becomes part of the op that makes one of its addends, where that op can add the other one while it writes: what comes
 * past a norm, along the residual stream, into the norm's gradient. So do the sums of its rows.
 */
#include "ops/layer_norm/layer_norm.h"
#include "ops/pointwise/pointwise.h"
#include "ops/rms_norm/rms_norm.h"
#include "passes/passes.h"

/* The optional input that is added to an output. */
static const struct {
    const op_def *op;
    int output, addend;
} adding[] = {
    {&op_rms_norm_grad_def, RMS_NORM_GRAD_DX, 4},
    {&op_layer_norm_grad_def, LAYER_NORM_GRAD_DX, 4},
};

static int adding_of(const value *v)
{
    for (int i = 0; i < (int)COUNT(adding); i++)
        if (v->node->op == adding[i].op && v->output == adding[i].output) return i;
    return -1;
}

static bool stands_before(const node *first, const node *n)
{
    while (n && n != first) n = n->before;
    return n != NULL;
}

/* n with `addend` as its input `at`, before n; NULL where the kernel that n has does not take it. */
static node *with_addend(build *b, const kernel_choice *choice, node *n, int at, value *addend)
{
    value *in[OP_MAX_INPUTS] = {NULL};
    for (int i = 0; i < n->inputs; i++) in[i] = n->in[i];
    const kernel_def *kernel = choice->kernel(choice->device, n);
    if (!kernel) return NULL;
    b->cursor = n, b->scope = n->scope, b->in_backward = n->backward, b->segment = n->segment;
    in[at] = ingot_reshape(b, addend, n->out[0]->shape);
    node *made = in[at] ? node_new(b, n->op, in, at + 1, n->attrs) : NULL;
    b->cursor = NULL, b->scope = "", b->in_backward = false, b->segment = 0;
    for (int i = 0; made && i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i]) node_output(b, made, i);
    if (!made || choice->kernel(choice->device, made) == kernel) return made;
    node_remove(b, made);
    return NULL;
}

/* sum = v + other: `other` goes into what made v. */
static bool absorb(build *b, const kernel_choice *choice, node *sum, value *v, value *other)
{
    value *made_as = v;
    while (made_as->node->op == &op_reshape_def && value_uses(b, made_as) == 1) made_as = made_as->node->in[0];
    node *n = made_as->node;
    int which = adding_of(made_as);
    if (which < 0 || value_uses(b, made_as) != 1 || n->recomputed != sum->recomputed) return false;
    int at = adding[which].addend;
    if ((n->inputs > at && n->in[at]) || made_as->dtype != other->dtype || !stands_before(other->node, n)) return false;
    node *made = with_addend(b, choice, n, at, other);
    if (!made) return false;
    made->recomputed = n->recomputed;
    b->cursor = sum, b->scope = sum->scope, b->in_backward = sum->backward, b->segment = sum->segment;
    value *y = ingot_reshape(b, made->out[adding[which].output], sum->out[0]->shape);
    b->cursor = NULL, b->scope = "", b->in_backward = false, b->segment = 0;
    if (!y) return false;
    value_replace(b, sum->out[0], y);
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i] && n->out[i] != made_as) value_replace(b, n->out[i], made->out[i]);
    return true;
}

static bool is_sum(const node *n)
{
    if (n->inputs != 2 || n->in[0] == n->in[1] || n->in[0]->dtype != n->out[0]->dtype) return false;
    if (n->in[1]->dtype != n->out[0]->dtype || !shape_equal(n->in[0]->shape, n->in[1]->shape)) return false;
    const pw_program *p = n->attrs;
    return n->op == &op_add_def || (n->op == &op_pointwise_def && p->outputs == 1 && p->count == 1 &&
                                    p->code[0].code == PW_ADD && p->code[0].a != p->code[0].b);
}

/* The gradient of a bias in front of a norm: the rows of dx are summed while they are made. */
static void sum_while_made(build *b, const kernel_choice *choice, node *n)
{
    node *sum = sum_of_rows(n->out[LAYER_NORM_GRAD_DX]);
    const kernel_def *kernel = sum ? choice->kernel(choice->device, n) : NULL;
    if (!kernel || sum->in[0]->shape.dim[1] != n->in[2]->shape.dim[0]) return;
    value *sums = node_output(b, n, LAYER_NORM_GRAD_SUMS);
    if (sums && sums->dtype == sum->out[0]->dtype && choice->kernel(choice->device, n) == kernel)
        value_replace(b, sum->out[0], sums);
    else
        n->out[LAYER_NORM_GRAD_SUMS] = NULL;
}

status pass_absorb(build *b, const kernel_choice *choice)
{
    for (node *n = b->first; n && !b->status; n = n->after)
        if (is_sum(n) && !absorb(b, choice, n, n->in[1], n->in[0])) absorb(b, choice, n, n->in[0], n->in[1]);
    for (node *n = b->first; n && !b->status; n = n->after)
        if (n->op == &op_layer_norm_grad_def && !n->out[LAYER_NORM_GRAD_SUMS]) sum_while_made(b, choice, n);
    drop_dead_nodes(b);
    return ingot_build_status(b);
}
