/* Reductions in plain loops, float64 sums: the oracle's, and the naive rung's for other dtypes. */
#include "kit/cpu/cpu.h"
#include "ops/reduce/reduce.h"

#include <math.h>

static void outer_rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const reduce_attrs *a = s->node->attrs;
    const tensor *x = &s->in[0], *y = &s->out[0];
    int64_t length = x->shape.dim[a->axis], inner = 1;
    for (int64_t i = a->axis + 1; i < x->shape.rank; i++) inner *= x->shape.dim[i];
    for (int64_t at = first; at < last; at++) {
        int64_t start = at / inner * length * inner + at % inner;
        double total = a->kind == REDUCE_SUM ? 0 : -INFINITY;
        for (int64_t k = 0; k < length; k++) {
            double v = dtype_load(x->dtype, x->data, start + k * inner);
            if (a->kind == REDUCE_SUM)
                total += v;
            else if (v > total || isnan(v))
                total = v;
            if (isnan(total)) break;
        }
        dtype_store(y->dtype, y->data, at, total);
    }
}

static status launch(const step *s, queue *q)
{
    int64_t length = s->in[0].shape.dim[ATTRS_OF(reduce_attrs, s->node)->axis];
    return cpu_for(s, q, shape_count(s->out[0].shape), MAX(1, CPU_GRAIN / 8 / length), outer_rows);
}

const kernel_def reduce_ref[] = {
    {.op = &op_reduce_def,
     .name = "reduce.ref",
     .match = match_any,
     .launch = launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
