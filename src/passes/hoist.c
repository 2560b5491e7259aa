/* What depends only on constants is computed once and kept: rotary tables, masks, ramps. */
#include "ops/table.h"
#include "passes/passes.h"

static bool depends_on_nothing(const node *n)
{
    if (n->op->traits & (OP_SOURCE | OP_EFFECT | OP_RANDOM)) return false;
    for (int i = 0; i < n->inputs; i++)
        if (n->in[i] && !n->in[i]->node->hoisted) return false;
    return true;
}

status pass_hoist(build *b)
{
    for (node *n = b->first; n; n = n->after) n->hoisted = depends_on_nothing(n);
    return INGOT_OK;
}
