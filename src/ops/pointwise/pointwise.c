/* The pointwise op: a program run for each element, inputs broadcast as in numpy. Its gradient is another program. */
#include "ops/pointwise/pointwise.h"

#include <stdio.h>

static const pw_program *program(const node *n)
{
    return n->attrs;
}

status pw_broadcast(build *b, const node *n, shape *out)
{
    *out = n->in[0]->shape;
    for (int i = 1; i < n->inputs; i++) {
        char one[128], other[128];
        shape before = *out;
        if (!shape_broadcast(before, n->in[i]->shape, out))
            return infer_fail(b, n, "shapes %s and %s do not broadcast", shape_print(one, before),
                              shape_print(other, n->in[i]->shape));
    }
    return INGOT_OK;
}

static status infer(build *b, const node *n, inferred *out)
{
    const pw_program *p = program(n);
    shape s;
    TRY(pw_broadcast(b, n, &s));
    for (int i = 0; i < p->outputs; i++) out[i] = (inferred){.dtype = p->dtype, .shape = s};
    return INGOT_OK;
}

/* Adjoint of one instruction: adds to the adjoints of its operands. `d` is the slot of its own adjoint. */
static void adjoint_add(pw_program *p, int *adjoint, int slot, int more)
{
    adjoint[slot] = adjoint[slot] < 0 ? more : pw_emit(p, PW_ADD, adjoint[slot], more, 0);
}

#define MUL(x, y) pw_emit(p, PW_MUL, (x), (y), 0)
#define K(v)      pw_emit_const(p, (v))

static void reverse_instr(pw_program *p, int *adjoint, pw_instr in, int y, int d)
{
    int a = in.a, b = in.b, c = in.c;
    switch ((pw_code)in.code) {
    case PW_ADD:
        adjoint_add(p, adjoint, a, d);
        adjoint_add(p, adjoint, b, d);
        break;
    case PW_SUB:
        adjoint_add(p, adjoint, a, d);
        adjoint_add(p, adjoint, b, pw_emit(p, PW_NEG, d, 0, 0));
        break;
    case PW_MUL:
        adjoint_add(p, adjoint, a, MUL(d, b));
        adjoint_add(p, adjoint, b, MUL(d, a));
        break;
    case PW_DIV:
        adjoint_add(p, adjoint, a, pw_emit(p, PW_DIV, d, b, 0));
        adjoint_add(p, adjoint, b, pw_emit(p, PW_NEG, MUL(d, pw_emit(p, PW_DIV, y, b, 0)), 0, 0));
        break;
    case PW_NEG: adjoint_add(p, adjoint, a, pw_emit(p, PW_NEG, d, 0, 0)); break;
    case PW_MAX: { /* chosen where(a < b): b, else a, so that a tie is a's and nothing is counted twice */
        int b_wins = pw_emit(p, PW_LESS, a, b, 0);
        adjoint_add(p, adjoint, a, pw_emit(p, PW_WHERE, b_wins, K(0), d));
        adjoint_add(p, adjoint, b, pw_emit(p, PW_WHERE, b_wins, d, K(0)));
        break;
    }
    case PW_MIN: {
        int b_wins = pw_emit(p, PW_LESS, b, a, 0);
        adjoint_add(p, adjoint, a, pw_emit(p, PW_WHERE, b_wins, K(0), d));
        adjoint_add(p, adjoint, b, pw_emit(p, PW_WHERE, b_wins, d, K(0)));
        break;
    }
    case PW_WHERE:
        adjoint_add(p, adjoint, b, pw_emit(p, PW_WHERE, a, d, K(0)));
        adjoint_add(p, adjoint, c, pw_emit(p, PW_WHERE, a, K(0), d));
        break;
    case PW_ABS: { /* sign(a) = (0 < a) - (a < 0) */
        int sign = pw_emit(p, PW_SUB, pw_emit(p, PW_LESS, K(0), a, 0), pw_emit(p, PW_LESS, a, K(0), 0), 0);
        adjoint_add(p, adjoint, a, MUL(d, sign));
        break;
    }
    case PW_EXP: adjoint_add(p, adjoint, a, MUL(d, y)); break;
    case PW_LOG: adjoint_add(p, adjoint, a, pw_emit(p, PW_DIV, d, a, 0)); break;
    case PW_SQRT: adjoint_add(p, adjoint, a, pw_emit(p, PW_DIV, MUL(d, K(0.5)), y, 0)); break;
    case PW_RSQRT: adjoint_add(p, adjoint, a, MUL(MUL(d, K(-0.5)), MUL(y, MUL(y, y)))); break;
    case PW_SIN: adjoint_add(p, adjoint, a, MUL(d, pw_emit(p, PW_COS, a, 0, 0))); break;
    case PW_COS: adjoint_add(p, adjoint, a, pw_emit(p, PW_NEG, MUL(d, pw_emit(p, PW_SIN, a, 0, 0)), 0, 0)); break;
    case PW_TANH: adjoint_add(p, adjoint, a, MUL(d, pw_emit(p, PW_SUB, K(1), MUL(y, y), 0))); break;
    case PW_SIGMOID: adjoint_add(p, adjoint, a, MUL(d, MUL(y, pw_emit(p, PW_SUB, K(1), y, 0)))); break;
    case PW_ERF: { /* 2 / sqrt(pi) e^(-a^2) */
        int bell = pw_emit(p, PW_EXP, pw_emit(p, PW_NEG, MUL(a, a), 0, 0), 0, 0);
        adjoint_add(p, adjoint, a, MUL(d, MUL(K(1.1283791670955126), bell)));
        break;
    }
    case PW_CONST:
    case PW_LESS:
    case PW_LESS_EQUAL:
    case PW_EQUAL:
    case PW_FLOOR:
    case PW_FINITE:
    case PW_CODES: break; /* constant almost everywhere */
    }
}

/* Forward code, then its reverse. Slots: the node's inputs, then one input per output gradient that is given. */
static bool reverse_program(const pw_program *f, value *const *dout, pw_program *p, int *adjoint)
{
    uint8_t moved[PW_MAX_INPUTS + PW_MAX_CODE];
    memset(p, 0, sizeof *p);
    p->inputs = f->inputs;
    for (int i = 0; i < f->outputs; i++) p->inputs += dout[i] != NULL;
    if (p->inputs > PW_MAX_INPUTS) return false;
    for (int i = 0; i < f->inputs; i++) moved[i] = (uint8_t)i;
    for (int i = 0; i < f->count; i++) {
        pw_instr in = f->code[i];
        int slot = in.code == PW_CONST ? pw_emit_const(p, in.value)
                                       : pw_emit(p, in.code, moved[in.a], moved[in.b], moved[in.c]);
        if (slot < 0) return false;
        moved[f->inputs + i] = (uint8_t)slot;
    }
    int forward = p->count;
    for (int i = 0; i < PW_MAX_INPUTS + PW_MAX_CODE; i++) adjoint[i] = -1;
    for (int i = 0, d = f->inputs; i < f->outputs; i++)
        if (dout[i]) adjoint_add(p, adjoint, moved[f->result[i]], d++);
    for (int i = forward - 1; i >= 0; i--) {
        int y = p->inputs + i;
        if (adjoint[y] >= 0) reverse_instr(p, adjoint, p->code[i], y, adjoint[y]);
    }
    return p->count < PW_MAX_CODE;
}

static value *sum_to(build *b, value *v, shape s)
{
    if (!v || shape_equal(v->shape, s)) return v;
    int64_t extra = v->shape.rank - s.rank;
    for (int64_t i = v->shape.rank - 1; i >= 0; i--) {
        bool broadcast = i < extra || (s.dim[i - extra] == 1 && v->shape.dim[i] != 1);
        if (broadcast) v = ingot_sum(b, v, (int)i, 1);
    }
    return ingot_reshape(b, v, s);
}

/* In the input's dtype, summed in float32 where it was broadcast. */
static value *gradient_of(build *b, value *d, const value *of)
{
    return ingot_cast(b, sum_to(b, d, of->shape), of->dtype);
}

/* The last input that holds the shape stays, read or not. */
static void drop_unread(pw_program *p, value **in, shape whole)
{
    for (int i = p->inputs - 1; i >= 0 && p->inputs > 1; i--) {
        if (!in[i] || pw_reads(p, i)) continue;
        shape rest = in[i ? 0 : 1]->shape;
        for (int j = 0; j < p->inputs; j++)
            if (j != i && !shape_broadcast(rest, in[j]->shape, &rest)) return;
        if (!shape_equal(rest, whole)) continue;
        memmove(&in[i], &in[i + 1], sizeof *in * (size_t)(p->inputs - i - 1));
        pw_drop_input(p, i);
    }
}

node *pw_node(build *b, const pw_program *p, value *const *in)
{
    pw_program read = *p;
    value *kept[PW_MAX_INPUTS] = {NULL};
    bool broadcasts = !b->status;
    for (int i = 0; i < p->inputs; i++) {
        kept[i] = in[i];
        broadcasts &= in[i] != NULL;
    }
    shape whole = broadcasts ? in[0]->shape : (shape){0};
    for (int i = 1; i < p->inputs && broadcasts; i++) broadcasts = shape_broadcast(whole, in[i]->shape, &whole);
    if (broadcasts) drop_unread(&read, kept, whole);
    node *n = node_new(b, &op_pointwise_def, kept, read.inputs, &read);
    for (int i = 1; n && i < read.outputs; i++) node_output(b, n, i);
    return n;
}

static bool result_of(const pw_program *p, int slot)
{
    for (int i = 0; i < p->outputs; i++)
        if (p->result[i] == slot) return true;
    return false;
}

/* The gradient of a sum is what comes in, for both of its operands: it is handed on, not computed. */
static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    const pw_program *f = program(n);
    pw_program p;
    int adjoint[PW_MAX_INPUTS + PW_MAX_CODE];
    if (!reverse_program(f, dout, &p, adjoint)) {
        build_fail(b, INGOT_ERROR_UNSUPPORTED, "[pointwise] the gradient of a formula of %d instructions is too long",
                   f->count);
        return;
    }
    value *in[PW_MAX_INPUTS];
    int inputs = 0; /* as reverse_program orders them */
    for (int i = 0; i < n->inputs; i++) in[inputs++] = n->in[i];
    for (int i = 0; i < f->outputs; i++)
        if (dout[i]) in[inputs++] = dout[i];
    value *made[PW_MAX_INPUTS + PW_MAX_CODE] = {NULL}; /* of a slot: what gives it; inputs are there already */
    for (int i = 0; i < inputs; i++)
        if (shape_equal(in[i]->shape, n->out[0]->shape) && in[i]->dtype == f->dtype) made[i] = in[i];
    for (int i = 0; i < n->inputs;) { /* a node for every PW_MAX_OUTPUTS gradients */
        pw_program part = p;
        int of[PW_MAX_OUTPUTS];
        part.outputs = 0;
        part.dtype = f->dtype;
        for (; i < n->inputs && part.outputs < PW_MAX_OUTPUTS; i++)
            if (need[i] && adjoint[i] >= 0 && !made[adjoint[i]] && !result_of(&part, adjoint[i])) {
                of[part.outputs] = adjoint[i];
                part.result[part.outputs++] = (uint8_t)adjoint[i];
            }
        if (!part.outputs) continue;
        pw_drop_dead(&part);
        node *g = pw_node(b, &part, in);
        for (int j = 0; g && j < part.outputs; j++) made[of[j]] = g->out[j];
    }
    for (int i = 0; i < n->inputs; i++)
        if (need[i] && adjoint[i] >= 0) din[i] = gradient_of(b, made[adjoint[i]], n->in[i]);
}

static op_cost cost(const node *n)
{
    const pw_program *p = program(n);
    op_cost c = {0};
    for (int i = 0; i < n->inputs; i++) c.bytes += (double)value_bytes(n->in[i]);
    for (int i = 0; i < p->outputs; i++)
        if (n->out[i]) c.bytes += (double)value_bytes(n->out[i]);
    c.flops = (double)p->count * (double)shape_count(n->out[0]->shape);
    return c;
}

static void print(const node *n, text *out)
{
    text_puts(out, ", ");
    pw_print(program(n), out);
}

value *pw_apply(build *b, const pw_program *p, value *const *in)
{
    node *n = pw_node(b, p, in);
    return n ? n->out[0] : NULL;
}

ingot_value *ingot_pointwise(ingot_build *b, const char *formula, ingot_value *const *in, int count)
{
    if (b->status) return NULL;
    pw_program p;
    int where;
    if (count < 1 || count > PW_MAX_INPUTS)
        return build_fail(b, INGOT_ERROR_ARGUMENT, "[pointwise] takes 1 to %d inputs, got %d", PW_MAX_INPUTS, count);
    if (!pw_parse(formula, count, &p, &where))
        return build_fail(
            b, INGOT_ERROR_ARGUMENT,
            "[pointwise] cannot read the formula \"%s\" at \"%s\": it may hold a to %c, numbers, + - * / < <= "
            "== and functions such as exp(a), where(a, b, c)",
            formula, formula + where, 'a' + count - 1);
    for (int i = count - 1; i >= 0; i--)
        if (in[i] && (i == 0 || dtype_is_float(in[i]->dtype))) p.dtype = in[i]->dtype;
    return pw_apply(b, &p, in);
}

static const pw_program sample_program = {
    .inputs = 3,
    .count = 3,
    .outputs = 2,
    .dtype = INGOT_F32,
    .result = {3, 5},
    .code = {{.code = PW_MUL, .a = 0, .b = 1}, {.code = PW_TANH, .a = 2}, {.code = PW_ADD, .a = 3, .b = 4}}};

/* An input handed on as it is, beside a result that may be written over it. */
static const pw_program sample_passing = {.inputs = 2,
                                          .count = 1,
                                          .outputs = 2,
                                          .dtype = INGOT_F32,
                                          .result = {1, 2},
                                          .code = {{.code = PW_MUL, .a = 0, .b = 1}}};

const op_def op_pointwise_def = {
    .name = "pointwise",
    .doc = "y = a small program over the elements of its inputs, which broadcast as in numpy; up to 4 outputs.",
    .inputs = {{"x", ANY, .variadic = true}},
    .outputs = {{"y0", .may_reuse = INPUT(0)},
                {"y1", .optional = true},
                {"y2", .optional = true},
                {"y3", .optional = true}},
    ATTRS(pw_program, {.name = "program", .kind = ATTR_OTHER, .offset = 0}),
    .traits = OP_PRIMITIVE | OP_POINTWISE,
    .infer = infer,
    .grad = grad,
    .cost = cost,
    .print = print,
    SAMPLES({.in = {S(31, 33), S(31, 33)}, .attrs = &sample_passing, .inputs = 2, .outputs = 2},
            {.in = {S(2, 3, 5), S(5), S(3, 1)}, .attrs = &sample_program, .inputs = 3, .outputs = 2},
            {.in = {S(1), S(1), S(1)}, .attrs = &sample_program, .inputs = 3, .outputs = 2},
            {.in = {S(4, 4099), S(4, 1), S(4099)}, .attrs = &sample_program, .inputs = 3, .outputs = 2},
            {.in = {S(33, 31), S(31), S(33, 1)},
             .attrs = &sample_program,
             .values = VALUES_WIDE,
             .inputs = 3,
             .outputs = 2,
             .no_gradient = true}),
};
