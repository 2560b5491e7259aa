/* Pointwise programs: what the one pointwise op computes for each element.
 *
 * A program is a list of instructions in single-assignment form. Slots 0 .. inputs-1 are the inputs' elements, slot
 * inputs+i is the result of instruction i; operands name earlier slots. Fusing two nodes joins their lists, a gradient
 * appends the reverse of one: kernel, gradient and fusion all come from the formula.
 */
#ifndef OPS_POINTWISE_POINTWISE_H
#define OPS_POINTWISE_POINTWISE_H

#include "ops/table.h"

enum { PW_MAX_INPUTS = 8, PW_MAX_CODE = 96, PW_MAX_OUTPUTS = 4 };

typedef enum pw_code {
    PW_CONST, /* value */
#define PW(code, name, arity, expression) PW_##code,
#include "ops/pointwise/pointwise.def"
#undef PW
    PW_CODES
} pw_code;

typedef struct pw_instr {
    uint8_t code, a, b, c; /* pw_code, operand slots */
    double value;          /* PW_CONST */
} pw_instr;

typedef struct pw_program {
    int32_t inputs, count, outputs;
    dtype dtype;                    /* of the outputs */
    uint8_t result[PW_MAX_OUTPUTS]; /* slot of each output */
    pw_instr code[PW_MAX_CODE];
} pw_program;

const char *pw_name(pw_code code);
int pw_arity(pw_code code);
/* Appends and returns the new slot; -1 when the program is full. Equal instructions are shared, constants folded. */
int pw_emit(pw_program *p, pw_code code, int a, int b, int c);
int pw_emit_const(pw_program *p, double value);
void pw_drop_dead(pw_program *p);
bool pw_reads(const pw_program *p, int slot);
void pw_drop_input(pw_program *p, int input); /* one that it does not read */

/* "a * sigmoid(a) * b" -> program of `inputs` inputs and one output. On error *where is the offset in the formula. */
bool pw_parse(const char *formula, int inputs, pw_program *out, int *where);

/* The node of a program with all its outputs, and only the inputs that it reads; its first output. */
node *pw_node(build *b, const pw_program *p, value *const *in);
value *pw_apply(build *b, const pw_program *p, value *const *in);
void pw_print(const pw_program *p, text *out); /* "v = a * sigmoid(a) * b" for dumps */

/* The shape that n's inputs broadcast to. */
status pw_broadcast(build *b, const node *n, shape *out);
/* The op of a formula's name lowers to this. */
void formula_lower(build *b, const node *n, value **out);
status formula_infer(build *b, const node *n, inferred *out);

#endif
