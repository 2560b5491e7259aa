/* Formulas as text to programs: a recursive-descent parser with C's precedence, and the emitter that both it and the
 * gradient use.
 */
#include "ops/pointwise/pointwise.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

static const struct {
    const char *name;
    int arity;
} codes[PW_CODES] = {
    [PW_CONST] = {"const", 0},
#define PW(code, name, arity, expression) [PW_##code] = {name, arity},
#include "ops/pointwise/pointwise.def"
#undef PW
};

const char *pw_name(pw_code code)
{
    return codes[code].name;
}

int pw_arity(pw_code code)
{
    return codes[code].arity;
}

static int emit(pw_program *p, pw_instr instr)
{
    for (int i = 0; i < p->count; i++)
        if (p->code[i].code == instr.code && p->code[i].a == instr.a && p->code[i].b == instr.b &&
            p->code[i].c == instr.c && !memcmp(&p->code[i].value, &instr.value, sizeof instr.value))
            return p->inputs + i;
    if (p->count == PW_MAX_CODE) return -1;
    p->code[p->count] = instr;
    return p->inputs + p->count++;
}

int pw_emit_const(pw_program *p, double v)
{
    return emit(p, (pw_instr){.code = PW_CONST, .value = v});
}

/* The constant in a slot, or NaN. */
static double slot_const(const pw_program *p, int slot)
{
    if (slot < p->inputs || p->code[slot - p->inputs].code != PW_CONST) return NAN;
    return p->code[slot - p->inputs].value;
}

int pw_emit(pw_program *p, pw_code code, int a, int b, int c)
{
    int arity = pw_arity(code);
    if (a < 0 || (arity > 1 && b < 0) || (arity > 2 && c < 0)) return -1;
    double x = slot_const(p, a), y = arity > 1 ? slot_const(p, b) : NAN;
    if (code == PW_MUL && (x == 1 || y == 1)) return x == 1 ? b : a;
    if ((code == PW_ADD && x == 0)) return b;
    if ((code == PW_ADD || code == PW_SUB) && y == 0) return a;
    if (code == PW_DIV && y == 1) return a;
    if (!isnan(x) && !isnan(y) && arity == 2) {
        if (code == PW_ADD) return pw_emit_const(p, x + y);
        if (code == PW_SUB) return pw_emit_const(p, x - y);
        if (code == PW_MUL) return pw_emit_const(p, x * y);
        if (code == PW_DIV) return pw_emit_const(p, x / y);
    }
    if (code == PW_NEG && !isnan(x)) return pw_emit_const(p, -x);
    return emit(p, (pw_instr){.code = (uint8_t)code,
                              .a = (uint8_t)a,
                              .b = arity > 1 ? (uint8_t)b : 0,
                              .c = arity > 2 ? (uint8_t)c : 0});
}

void pw_drop_dead(pw_program *p)
{
    bool live[PW_MAX_INPUTS + PW_MAX_CODE] = {false};
    uint8_t moved[PW_MAX_INPUTS + PW_MAX_CODE];
    for (int i = 0; i < p->outputs; i++) live[p->result[i]] = true;
    for (int i = p->count - 1; i >= 0; i--) {
        const pw_instr *in = &p->code[i];
        if (!live[p->inputs + i]) continue;
        int arity = pw_arity(in->code);
        if (arity > 0) live[in->a] = true;
        if (arity > 1) live[in->b] = true;
        if (arity > 2) live[in->c] = true;
    }
    for (int i = 0; i < p->inputs; i++) moved[i] = (uint8_t)i;
    int kept = 0;
    for (int i = 0; i < p->count; i++) {
        if (!live[p->inputs + i]) continue;
        pw_instr in = p->code[i];
        int arity = pw_arity(in.code);
        if (arity > 0) in.a = moved[in.a];
        if (arity > 1) in.b = moved[in.b];
        if (arity > 2) in.c = moved[in.c];
        moved[p->inputs + i] = (uint8_t)(p->inputs + kept);
        p->code[kept++] = in;
    }
    memset(&p->code[kept], 0, sizeof(pw_instr) * (size_t)(p->count - kept));
    p->count = kept;
    for (int i = 0; i < p->outputs; i++) p->result[i] = moved[p->result[i]];
}

void pw_drop_input(pw_program *p, int input)
{
    for (int i = 0; i < p->count; i++) {
        pw_instr *in = &p->code[i];
        in->a -= in->a > input;
        in->b -= in->b > input;
        in->c -= in->c > input;
    }
    for (int i = 0; i < p->outputs; i++) p->result[i] -= p->result[i] > input;
    p->inputs--;
}

bool pw_reads(const pw_program *p, int slot)
{
    for (int i = 0; i < p->outputs; i++)
        if (p->result[i] == slot) return true;
    for (int i = 0; i < p->count; i++) {
        const pw_instr *in = &p->code[i];
        int arity = pw_arity(in->code);
        if ((arity > 0 && in->a == slot) || (arity > 1 && in->b == slot) || (arity > 2 && in->c == slot)) return true;
    }
    return false;
}

typedef struct parser {
    const char *text, *at;
    pw_program *out;
} parser;

static int parse_comparison(parser *p);

static bool take(parser *p, const char *symbol)
{
    while (isspace((unsigned char)*p->at)) p->at++;
    size_t length = strlen(symbol);
    if (strncmp(p->at, symbol, length)) return false;
    p->at += length;
    return true;
}

static int parse_call(parser *p, const char *name, size_t length)
{
    int argument[3] = {0, 0, 0}, count = 0;
    do {
        if (count == 3) return -1;
        argument[count] = parse_comparison(p);
        if (argument[count++] < 0) return -1;
    } while (take(p, ","));
    if (!take(p, ")")) return -1;
    for (int code = PW_CONST + 1; code < PW_CODES; code++)
        if (strlen(codes[code].name) == length && !strncmp(codes[code].name, name, length) &&
            codes[code].arity == count)
            return pw_emit(p->out, (pw_code)code, argument[0], argument[1], argument[2]);
    return -1;
}

static int parse_primary(parser *p)
{
    if (take(p, "(")) {
        int slot = parse_comparison(p);
        return take(p, ")") ? slot : -1;
    }
    if (take(p, "-")) return pw_emit(p->out, PW_NEG, parse_primary(p), 0, 0);
    if (isdigit((unsigned char)*p->at) || *p->at == '.') {
        char *end;
        double v = strtod(p->at, &end);
        p->at = end;
        return pw_emit_const(p->out, v);
    }
    const char *name = p->at;
    while (isalnum((unsigned char)*p->at) || *p->at == '_') p->at++;
    size_t length = (size_t)(p->at - name);
    if (length && take(p, "(")) return parse_call(p, name, length);
    int input = length == 1 ? *name - 'a' : -1;
    return input >= 0 && input < p->out->inputs ? input : -1;
}

static int parse_product(parser *p)
{
    int left = parse_primary(p);
    for (;;) {
        if (take(p, "*"))
            left = pw_emit(p->out, PW_MUL, left, parse_primary(p), 0);
        else if (take(p, "/"))
            left = pw_emit(p->out, PW_DIV, left, parse_primary(p), 0);
        else
            return left;
    }
}

static int parse_sum(parser *p)
{
    int left = parse_product(p);
    for (;;) {
        if (take(p, "+"))
            left = pw_emit(p->out, PW_ADD, left, parse_product(p), 0);
        else if (take(p, "-"))
            left = pw_emit(p->out, PW_SUB, left, parse_product(p), 0);
        else
            return left;
    }
}

static int parse_comparison(parser *p)
{
    int left = parse_sum(p);
    if (take(p, "<=")) return pw_emit(p->out, PW_LESS_EQUAL, left, parse_sum(p), 0);
    if (take(p, "<")) return pw_emit(p->out, PW_LESS, left, parse_sum(p), 0);
    if (take(p, "==")) return pw_emit(p->out, PW_EQUAL, left, parse_sum(p), 0);
    return left;
}

bool pw_parse(const char *formula, int inputs, pw_program *out, int *where)
{
    memset(out, 0, sizeof *out);
    out->inputs = inputs;
    out->outputs = 1;
    parser p = {.text = formula, .at = formula, .out = out};
    int slot = parse_comparison(&p);
    while (isspace((unsigned char)*p.at)) p.at++;
    *where = (int)(p.at - formula);
    if (slot < 0 || *p.at) return false;
    out->result[0] = (uint8_t)slot;
    pw_drop_dead(out);
    return true;
}

static void print_slot(const pw_program *p, int slot, int depth, text *out)
{
    if (slot < p->inputs) {
        text_printf(out, "%c", 'a' + slot);
        return;
    }
    const pw_instr *in = &p->code[slot - p->inputs];
    int arity = pw_arity(in->code);
    bool operator= arity == 2 && !isalpha((unsigned char)*pw_name(in->code));
    if (arity == 0) {
        text_printf(out, "%g", in->value);
    } else if (depth > 8) {
        text_puts(out, "..");
    } else if (operator) {
        text_puts(out, "(");
        print_slot(p, in->a, depth + 1, out);
        text_printf(out, " %s ", pw_name(in->code));
        print_slot(p, in->b, depth + 1, out);
        text_puts(out, ")");
    } else {
        text_printf(out, "%s(", pw_name(in->code));
        print_slot(p, in->a, depth + 1, out);
        if (arity > 1) text_puts(out, ", "), print_slot(p, in->b, depth + 1, out);
        if (arity > 2) text_puts(out, ", "), print_slot(p, in->c, depth + 1, out);
        text_puts(out, ")");
    }
}

void pw_print(const pw_program *p, text *out)
{
    if (p->count > 24) {
        text_printf(out, "%d instructions", (int)p->count);
        return;
    }
    for (int i = 0; i < p->outputs; i++) {
        if (i) text_puts(out, "; ");
        print_slot(p, p->result[i], 0, out);
    }
}
