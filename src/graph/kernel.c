/* The usual answers to "does this kernel take that node". */
#include "graph/kernel.h"

static bool match_float(const node *n, dtype wanted)
{
    for (int i = 0; i < n->inputs; i++)
        if (n->in[i] && dtype_is_float(n->in[i]->dtype) && n->in[i]->dtype != wanted) return false;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i] && dtype_is_float(n->out[i]->dtype) && n->out[i]->dtype != wanted) return false;
    return true;
}

bool match_any(const node *n, const device_caps *caps)
{
    (void)n, (void)caps;
    return true;
}

bool match_f32(const node *n, const device_caps *caps)
{
    (void)caps;
    return match_float(n, INGOT_F32);
}

bool match_f64(const node *n, const device_caps *caps)
{
    (void)caps;
    return match_float(n, INGOT_F64);
}
