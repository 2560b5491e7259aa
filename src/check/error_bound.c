/* Error bounds: beside every value v of a graph of primitives stands E(v), a first-order bound of its rounding error.
 *
 * Inputs are exact: they were rounded before. A move carries E along. A pointwise instruction adds |dy/dx| E(x) for each
 * operand and its own rounding. A sum, and every other primitive that is linear in its float inputs, gives the same op
 * over the E of its inputs, and the rounding of its additions, relative to the same op over their magnitudes. So the
 * tolerance of an element follows the magnitudes that flowed into it, cancellation included, and nobody writes one down.
 * NULL stands for an E of zero.
 */
#include "check/error_bound.h"

#include "ops/matmul/matmul.h"
#include "ops/pointwise/pointwise.h"
#include "ops/reduce/reduce.h"
#include "ops/source/source.h"
#include "ops/windows/windows.h"

#include <math.h>
#include <stdio.h>

typedef struct bounds {
    build *b;
    const error_units *units;
    value **error;      /* by value id */
    const bool *narrow; /* by value id: written in 16 bits */
    value *zero;
} bounds;

/* a, b, c: operands; d, e, f: their errors; g: the result. `ulps`: roundings of the instruction itself. */
typedef struct pw_error {
    const char *formula;
    double ulps;
    const char *independent; /* where errors add up as squares */
} pw_error;

static const pw_error pw_errors[PW_CODES] = {
    [PW_ADD] = {"d + e", 1, "sqrt(d * d + e * e)"},
    [PW_SUB] = {"d + e", 1, "sqrt(d * d + e * e)"},
    [PW_MUL] = {"abs(a) * e + abs(b) * d + d * e", 1, "sqrt(a * a * e * e + b * b * d * d) + d * e"},
    [PW_DIV] = {"(d + abs(g) * e) / abs(b)", 2, "sqrt(d * d + g * g * e * e) / abs(b)"},
    /* A comparison may flip where its sides are nearer than their errors. */
    [PW_LESS] = {"(abs(a - b) <= d + e) * (0 < d + e)", 0},
    [PW_LESS_EQUAL] = {"(abs(a - b) <= d + e) * (0 < d + e)", 0},
    [PW_EQUAL] = {"(abs(a - b) <= d + e) * (0 < d + e)", 0},
    [PW_NEG] = {"d", 0},
    /* What is far below the maximum has no say in it, however uncertain it is. */
    [PW_MAX] = {"max(max(a + d, b + e) - g, g - max(a - d, b - e))", 0},
    [PW_MIN] = {"max(min(a + d, b + e) - g, g - min(a - d, b - e))", 0},
    [PW_WHERE] = {"where(d, abs(b - c) + max(e, f), where(a, e, f))", 0},
    [PW_ABS] = {"d", 0},
    [PW_EXP] = {"min(exp(a + d) - g, 1e30)", 4}, /* finite, so that nothing times it is nothing */
    [PW_LOG] = {"d / abs(a)", 4},
    [PW_SQRT] = {"where(0 < g, d / (2 * g), sqrt(d))", 2},
    [PW_RSQRT] = {"0.5 * d * g * g * g", 4},
    [PW_SIN] = {"d", 4},
    [PW_COS] = {"d", 4},
    [PW_TANH] = {"(1 - g * g) * d", 4},
    [PW_SIGMOID] = {"g * (1 - g) * d", 4},
    [PW_ERF] = {"1.1283791670955126 * exp(-a * a) * d", 4},
    [PW_FLOOR] = {"(abs(a - floor(a + 0.5)) <= d) * (0 < d)", 0},
    [PW_FINITE] = {"0 * d", 0},
};

static value *absolute(bounds *e, value *v)
{
    return v && dtype_is_float(v->dtype) ? ingot_abs(e->b, v) : v;
}

/* Errors from two sides, as they combine in sums: as they are, or squared. */
static value *plus(bounds *e, value *x, value *y)
{
    if (!x || !y) return x ? x : y;
    return ingot_add(e->b, x, y);
}
static value *into_sum(bounds *e, value *error)
{
    return error && e->units->independent ? ingot_square(e->b, error) : error;
}
static value *out_of_sum(bounds *e, value *error)
{
    return error && e->units->independent ? ingot_sqrt(e->b, error) : error;
}

static value *constant_error(bounds *e, double v)
{
    if ((double)(float)v == v) return NULL;
    return ingot_constant(e->b, fabs(v) * e->units->rounding, INGOT_F64, INGOT_SCALAR);
}

/* With the rounding of a result that is written in 16 bits, or in float32 beside float64. Exact integers are
 * indices and masks, which are not. */
static value *when_stored(bounds *e, value *y, value *error)
{
    double unit = e->units->stored;
    if (unit == 0 || !e->narrow[y->id]) return error;
    char text[200];
    snprintf(
        text, sizeof text,
        "where(finite(a), b + (1 - (b == 0) * (a == floor(a)) * (abs(a) < 16777216)) * (%.17g * abs(a) + %.17g), 0)",
        unit, e->units->smallest);
    return ingot_pointwise(e->b, text, (value *[]){y, error ? error : e->zero}, 2);
}

/* One instruction as a node, and its error. */
static value *instruction(bounds *e, const pw_instr *i, value *const *operand, value *const *error, value **out_error)
{
    int arity = pw_arity(i->code);
    pw_program one = {.inputs = arity, .count = 1, .outputs = 1, .dtype = INGOT_F64, .result = {(uint8_t)arity}};
    one.code[0] = (pw_instr){.code = i->code, .a = 0, .b = arity > 1, .c = arity > 2 ? 2 : 0};
    value *y = pw_apply(e->b, &one, operand);
    const pw_error *rule = &pw_errors[i->code];
    value *in[7] = {NULL};
    bool exact = true;
    for (int k = 0; k < 3; k++) {
        in[k] = k < arity ? operand[k] : e->zero;
        in[3 + k] = k < arity && error[k] ? error[k] : e->zero;
        exact &= k >= arity || !error[k];
    }
    in[6] = y;
    *out_error = NULL;
    if (exact && rule->ulps == 0) return y;
    const char *formula = e->units->independent && rule->independent ? rule->independent : rule->formula;
    char text[320];
    /* Arithmetic on exact operands gives small integers exactly: masks are products of comparisons. */
    const char *rounds = exact && rule->ulps <= 2 ? "(1 - (g == floor(g)) * (abs(g) < 16777216))" : "1";
    snprintf(text, sizeof text, "where(finite(g), %s + %s * (%.17g * abs(g) + %.17g), 0)", exact ? "0" : formula,
             rounds, rule->ulps * e->units->rounding, rule->ulps * e->units->smallest);
    *out_error = ingot_pointwise(e->b, text, in, 7);
    return y;
}

static void pointwise_error(bounds *e, const node *n)
{
    const pw_program *p = n->attrs;
    value *slot[PW_MAX_INPUTS + PW_MAX_CODE], *error[PW_MAX_INPUTS + PW_MAX_CODE];
    for (int i = 0; i < p->inputs; i++) {
        slot[i] = n->in[i];
        error[i] = e->error[n->in[i]->id];
    }
    for (int i = 0; i < p->count && !e->b->status; i++) {
        const pw_instr *code = &p->code[i];
        int at = p->inputs + i;
        if (code->code == PW_CONST) {
            slot[at] = ingot_constant(e->b, code->value, INGOT_F64, INGOT_SCALAR);
            error[at] = constant_error(e, code->value);
            continue;
        }
        value *operand[3] = {slot[code->a], slot[code->b], slot[code->c]};
        value *operand_error[3] = {error[code->a], error[code->b], error[code->c]};
        slot[at] = instruction(e, code, operand, operand_error, &error[at]);
    }
    for (int i = 0; i < p->outputs && !e->b->status; i++) {
        value *y = n->out[i], *bound = error[p->result[i]];
        if (!y || !dtype_is_float(y->dtype)) continue;
        bound = when_stored(e, y, bound);
        if (bound) e->error[y->id] = ingot_expand(e->b, bound, y->shape);
    }
}

/* How many roundings a sum of n terms may show. */
static double sum_factor(const bounds *e, double n)
{
    if (!e->units->sums) return 1;
    return e->units->linear ? n : 2 + 2 * sqrt(n);
}

/* error + factor * unit * magnitude, and zero where the result is no number. */
static value *rounded(bounds *e, value *y, value *error, value *magnitude, double unit)
{
    char text[160];
    value *in[] = {y, magnitude, error ? error : e->zero};
    snprintf(text, sizeof text, "where(finite(a), c + %.17g * b + %.17g, 0)", unit, e->units->smallest);
    return ingot_pointwise(e->b, text, in, 3);
}

static value *product(bounds *e, const node *n, value *x, value *y)
{
    const matmul_attrs *t = n->attrs;
    return x && y ? ingot_matmul_with(e->b, x, y, NULL, (int)t->trans_a, (int)t->trans_b) : NULL;
}

static void matmul_error(bounds *e, const node *n)
{
    value *x = n->in[0], *y = n->in[1], *c = n->inputs > 2 ? n->in[2] : NULL;
    value *ax = absolute(e, x), *ay = absolute(e, y), *magnitude = product(e, n, ax, ay);
    value *from_x = product(e, n, into_sum(e, e->error[x->id]), into_sum(e, ay));
    value *error = plus(e, from_x, product(e, n, into_sum(e, ax), into_sum(e, e->error[y->id])));
    if (c) {
        error = plus(e, error, into_sum(e, e->error[c->id]));
        magnitude = plus(e, magnitude, absolute(e, c));
    }
    error = out_of_sum(e, error);
    const matmul_attrs *t = n->attrs;
    double k = (double)x->shape.dim[x->shape.rank - (t->trans_a ? 2 : 1)];
    double unit = sum_factor(e, k + 1) * e->units->rounding + 2 * (e->units->product - e->units->rounding);
    e->error[n->out[0]->id] = when_stored(e, n->out[0], rounded(e, n->out[0], error, magnitude, unit));
}

static bool only_moves(const op_def *op)
{
    return (op->traits & OP_VIEW) || op == &op_copy_def || op == &op_concat_def || op == &op_gather_def ||
           op == &op_scatter_rows_def || op == &op_windows_def || op == &op_state_update_def;
}

/* The same op over other float inputs. Inputs with an error of zero need zeros of their shape. */
static node *same_op(bounds *e, const node *n, bool errors)
{
    value *in[OP_MAX_INPUTS] = {NULL};
    for (int i = 0; i < n->inputs && i < OP_MAX_INPUTS; i++) {
        value *v = n->in[i];
        if (!v || !dtype_is_float(v->dtype))
            in[i] = v;
        else if (!errors)
            in[i] = absolute(e, v);
        else
            in[i] = e->error[v->id] ? into_sum(e, e->error[v->id]) : ingot_constant(e->b, 0, INGOT_F64, v->shape);
    }
    if (n->op != &op_windows_def) return node_new(e->b, n->op, in, n->inputs, n->attrs);
    window_attrs unpadded = *(const window_attrs *)n->attrs; /* what fills the padding is exact */
    unpadded.pad_value = 0;
    return node_new(e->b, n->op, in, n->inputs, &unpadded);
}

static void linear_error(bounds *e, const node *n)
{
    bool exact = true;
    double elements = 0;
    for (int i = 0; i < n->inputs; i++) {
        if (!n->in[i] || !dtype_is_float(n->in[i]->dtype)) continue;
        exact &= !e->error[n->in[i]->id];
        elements += (double)shape_count(n->in[i]->shape);
    }
    bool moves = only_moves(n->op);
    if (elements == 0 || (exact && moves)) return;
    node *errors = exact ? NULL : same_op(e, n, true), *magnitudes = moves ? NULL : same_op(e, n, false);
    for (int i = 0; i < NODE_MAX_OUTPUTS && !e->b->status; i++) {
        value *y = n->out[i];
        if (!y || !dtype_is_float(y->dtype)) continue;
        value *error = errors ? out_of_sum(e, node_output(e->b, errors, i)) : NULL;
        double n_terms = fmax(2, elements / (double)shape_count(y->shape));
        if (n->op == &op_scatter_add_def) n_terms = 1 + (double)shape_count(n->in[1]->shape);
        if (magnitudes) {
            error = rounded(e, y, error, node_output(e->b, magnitudes, i), sum_factor(e, n_terms) * e->units->rounding);
            error = when_stored(e, y, error);
        }
        e->error[y->id] = error;
    }
}

static void maximum_error(bounds *e, const node *n)
{
    value *x = n->in[0], *y = n->out[0], *error = e->error[x->id];
    if (!error || !dtype_is_float(y->dtype)) return;
    const reduce_attrs *a = n->attrs;
    value *above = ingot_max(e->b, ingot_add(e->b, x, error), (int)a->axis, (int)a->keep);
    value *below = ingot_max(e->b, ingot_sub(e->b, x, error), (int)a->axis, (int)a->keep);
    e->error[y->id] = ingot_pointwise(e->b, "where(finite(a), max(b - a, a - c), 0)", (value *[]){y, above, below}, 3);
}

static void constants_error(bounds *e, const node *n)
{
    value *bound = constant_error(e, ATTRS_OF(constant_attrs, n)->value);
    if (bound && dtype_is_float(n->out[0]->dtype))
        e->error[n->out[0]->id] = ingot_expand(e->b, bound, n->out[0]->shape);
}

static void node_error(bounds *e, const node *n)
{
    if (n->op == &op_pointwise_def)
        pointwise_error(e, n);
    else if (n->op == &op_matmul_def)
        matmul_error(e, n);
    else if (n->op == &op_reduce_def && ATTRS_OF(reduce_attrs, n)->kind == REDUCE_MAX)
        maximum_error(e, n);
    else if (n->op == &op_constant_def)
        constants_error(e, n);
    else
        linear_error(e, n);
}

status error_bounds_add(build *b, const error_units *units, const bool *narrow)
{
    int values = b->values;
    int64_t outputs = b->outputs.count;
    node *last = b->last;
    bounds e = {.b = b, .units = units, .narrow = narrow, .error = ARENA_ARRAY(b->arena, value *, values + 1)};
    if (!e.error) return fail_memory(b->ctx, "error bounds", (uint64_t)values * sizeof *e.error);
    b->cursor = NULL;
    e.zero = ingot_constant(b, 0, INGOT_F64, INGOT_SCALAR);
    for (const node *n = b->first; n && !b->status; n = n == last ? NULL : n->after) node_error(&e, n);
    for (int64_t i = 0; i < outputs && !b->status; i++) {
        port p = b->outputs.at[i];
        if (!dtype_is_float(p.value->dtype)) continue;
        value *error = e.error[p.value->id];
        const char *name = arena_printf(b->arena, "%s.error", p.name);
        if (name) ingot_output(b, name, error ? error : ingot_constant(b, 0, INGOT_F64, p.value->shape));
    }
    return ingot_build_status(b);
}

error_units error_units_of(const build *b, dtype type)
{
    error_model worst = ERROR_EXACT;
    for (const node *n = b->first; n; n = n->after)
        if (n->kernel) worst = MAX(worst, n->kernel->error);
    error_units u = {.rounding = type == INGOT_F64 ? 0x1p-53 : 0x1p-24,
                     .stored = type == INGOT_BF16  ? 0x1p-8
                               : type == INGOT_F16 ? 0x1p-11
                               : type == INGOT_F64 ? 0x1p-24
                                                   : 0,
                     .smallest = type == INGOT_F16 ? 0x1p-24 : 0x1p-126,
                     .sums = worst >= ERROR_SUM};
    u.product = u.rounding;
    if (worst == ERROR_EXACT) u.rounding = u.stored = u.product = u.smallest = 0;
    if (worst == ERROR_TF32) u.product = fmax(u.rounding, 0x1p-11);
    if (worst == ERROR_BF16_PRODUCTS) u.product = fmax(u.rounding, 0x1p-8);
    return u;
}
