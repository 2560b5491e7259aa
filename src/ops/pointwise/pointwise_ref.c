/* Pointwise programs one element at a time in float64: the oracle's, and the naive rung's for any mix of dtypes. */
#include "graph/strided.h"
#include "kit/cpu/cpu.h"
#include "ops/pointwise/pointwise.h"

#include <float.h>
#include <math.h>

#define pw_if(condition)              ((condition) ? 1.0 : 0.0)
#define pw_select(condition, yes, no) ((condition) ? (yes) : (no))
#define pw_abs(x)                     fabs(x)
#define pw_exp(x)                     exp(x)
#define pw_log(x)                     log(x)
#define pw_sqrt(x)                    sqrt(x)
#define pw_rsqrt(x)                   (1 / sqrt(x))
#define pw_sin(x)                     sin(x)
#define pw_cos(x)                     cos(x)
#define pw_tanh(x)                    tanh(x)
#define pw_sigmoid(x)                 (1 / (1 + exp(-(x))))
#define pw_erf(x)                     erf(x)
#define pw_floor(x)                   floor(x)
#define pw_largest                    DBL_MAX

static double evaluate(const pw_instr *in, const double *slot)
{
    double a = slot[in->a], b = slot[in->b], c = slot[in->c];
    (void)b, (void)c;
    switch ((pw_code)in->code) {
    case PW_CONST: return in->value;
#define PW(code, name, arity, expression)                                                                              \
    case PW_##code:                                                                                                    \
        return expression;
#include "ops/pointwise/pointwise.def"
#undef PW
    case PW_CODES: break;
    }
    return NAN;
}

static strided_loop loop_of(const step *s)
{
    const tensor *in[PW_MAX_INPUTS];
    for (int i = 0; i < s->inputs; i++) in[i] = &s->in[i];
    return strided_make(&s->out[0].shape, in, s->inputs);
}

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const pw_program *p = s->node->attrs;
    strided_loop l = loop_of(s);
    double slot[PW_MAX_INPUTS + PW_MAX_CODE] = {0};
    int64_t at[STRIDED_MAX];
    for (int64_t row = first; row < last; row++) {
        strided_row(&l, row, at);
        for (int64_t i = 0; i < l.length; i++) {
            for (int t = 0; t < s->inputs; t++)
                slot[t] = dtype_load(s->in[t].dtype, s->in[t].data, at[t] + i * l.inner[t]);
            for (int k = 0; k < p->count; k++) slot[p->inputs + k] = evaluate(&p->code[k], slot);
            for (int o = 0; o < p->outputs; o++)
                if (s->out[o].data)
                    dtype_store(s->out[o].dtype, s->out[o].data, row * l.length + i, slot[p->result[o]]);
        }
    }
}

static status launch(const step *s, queue *q)
{
    strided_loop l = loop_of(s);
    return cpu_for(s, q, l.rows, MAX(1, CPU_GRAIN / 8 / l.length), rows);
}

const kernel_def pointwise_ref[] = {
    {.op = &op_pointwise_def,
     .name = "pointwise.ref",
     .level = LEVEL_NAIVE,
     .match = match_any,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED,
               STORAGE_STRIDED, STORAGE_STRIDED},
     .launch = launch,
     .error = ERROR_POINTWISE,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
