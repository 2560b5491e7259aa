/* Pointwise programs in float32, over float32 and 16-bit floats, a tile at a time: every instruction is a vector loop over TILE elements that stay in the
 * first-level cache, so a chain of any length reads and writes memory once.
 *
 * Slots are given tile registers when the program is compiled: a register is free again after its last reader. Inputs that
 * lie contiguously are read where they are; broadcast ones and constants are spread over a tile, 16-bit ones widened. A
 * float32 result is written straight to memory by the instruction that makes it, unless a later one still reads an input
 * that it may lie over.
 */
#include "graph/strided.h"
#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "kit/cpu/vmath.h"
#include "ops/pointwise/pointwise.h"

#include <float.h>
#include <math.h>

enum { TILE = 512, REGISTERS = 32, SLOTS = PW_MAX_INPUTS + PW_MAX_CODE };

#define pw_if(condition)              ((condition) ? 1.0f : 0.0f)
#define pw_select(condition, yes, no) ((condition) ? (yes) : (no))
#define pw_abs(x)                     v_abs(x)
#define pw_exp(x)                     v_exp(x)
#define pw_log(x)                     v_log(x)
#define pw_sqrt(x)                    sqrtf(x)
#define pw_rsqrt(x)                   (1.0f / sqrtf(x))
#define pw_sin(x)                     v_sin(x)
#define pw_cos(x)                     v_cos(x)
#define pw_tanh(x)                    v_tanh(x)
#define pw_sigmoid(x)                 v_sigmoid(x)
#define pw_erf(x)                     v_erf(x)
#define pw_floor(x)                   floorf(x)
#define pw_largest                    FLT_MAX

typedef void instr_fn(float *y, const float *pa, const float *pb, const float *pc, int64_t n);

/* y may be one of the operands: element by element that is fine, which CPU_INDEPENDENT says. */
#define PW(code, name, arity, expression)                                                                              \
    static void run_##code(float *y, const float *pa, const float *pb, const float *pc, int64_t n)                     \
    {                                                                                                                  \
        CPU_INDEPENDENT for (int64_t i = 0; i < n; i++)                                                                \
        {                                                                                                              \
            const float a = pa[i], b = pb[i], c = pc[i];                                                               \
            (void)a, (void)b, (void)c;                                                                                 \
            y[i] = expression;                                                                                         \
        }                                                                                                              \
    }
#include "ops/pointwise/pointwise.def"
#undef PW

static instr_fn *const functions[PW_CODES] = {
#define PW(code, name, arity, expression) [PW_##code] = run_##code,
#include "ops/pointwise/pointwise.def"
#undef PW
};

/* What prepare works out of a program. */
typedef struct schedule {
    int registers;
    int8_t register_of[SLOTS]; /* -1: read where the input lies, or written straight to output direct[slot] */
    int8_t direct[SLOTS];      /* output that the instruction writes to memory itself, or -1 */
    int constants;
    bool passes[PW_MAX_INPUTS]; /* the input is a result as it is: it may be written over before it is stored */
} schedule;

static void last_uses(const pw_program *p, int *last)
{
    for (int i = 0; i < SLOTS; i++) last[i] = -1;
    for (int i = 0; i < p->count; i++) {
        const pw_instr *in = &p->code[i];
        int arity = pw_arity(in->code);
        if (arity > 0) last[in->a] = i;
        if (arity > 1) last[in->b] = i;
        if (arity > 2) last[in->c] = i;
    }
    for (int i = 0; i < p->outputs; i++) last[p->result[i]] = p->count; /* stored at the end of the tile */
}

/* Registers 0 .. inputs-1 belong to inputs, the next to constants, the rest come and go. live: a bit for each output that
 * has memory to be written to directly; none takes the most registers. */
static bool make_schedule(const pw_program *p, unsigned live, schedule *s)
{
    int last[SLOTS], owner[REGISTERS], last_input_read = -1;
    last_uses(p, last);
    memset(s, -1, sizeof *s);
    s->registers = p->inputs;
    for (int i = 0; i < PW_MAX_INPUTS; i++) s->passes[i] = i < p->inputs && last[i] == p->count;
    for (int i = 0; i < p->inputs; i++) {
        s->register_of[i] = (int8_t)i;
        if (last[i] < p->count) last_input_read = MAX(last_input_read, last[i]);
    }
    for (int i = 0; i < p->count; i++)
        if (p->code[i].code == PW_CONST && s->registers < REGISTERS)
            s->register_of[p->inputs + i] = (int8_t)s->registers++;
    for (int r = 0; r < REGISTERS; r++)
        owner[r] = r < s->registers ? INT32_MAX : -1; /* the step until which it is taken */
    for (int i = 0; i < p->count; i++) {
        int slot = p->inputs + i, found = -1;
        if (p->code[i].code == PW_CONST) {
            if (s->register_of[slot] < 0) return false;
            continue;
        }
        for (int o = 0; o < p->outputs; o++)
            if ((live >> o & 1) && p->result[o] == slot && i >= last_input_read && s->direct[slot] < 0)
                s->direct[slot] = (int8_t)o;
        if (s->direct[slot] >= 0) continue;
        for (int r = s->registers - 1; r >= 0; r--)
            if (owner[r] <= i) found = r; /* an operand that dies here may be written over */
        if (found < 0) found = s->registers++;
        if (found >= REGISTERS) return false;
        owner[found] = last[slot];
        s->register_of[slot] = (int8_t)found;
    }
    return true;
}

static bool takes(dtype d)
{
    return d == INGOT_F32 || dtype_is_narrow(d);
}

static bool match(const node *n, const device_caps *caps)
{
    (void)caps;
    schedule s;
    for (int i = 0; i < n->inputs; i++)
        if (!takes(n->in[i]->dtype)) return false;
    return takes(n->out[0]->dtype) && make_schedule(n->attrs, 0, &s);
}

static status prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    (void)caps;
    schedule *made = malloc(sizeof *made);
    if (!made) return fail_memory(ctx, "a pointwise program", sizeof *made);
    unsigned live = 0;
    for (int i = 0; i < PW_MAX_OUTPUTS; i++)
        live |= (unsigned)(s->node->out[i] && s->node->out[i]->dtype == INGOT_F32) << i;
    make_schedule(s->node->attrs, live, made);
    *out = made;
    return INGOT_OK;
}

static strided_loop loop_of(const step *s)
{
    const tensor *in[PW_MAX_INPUTS];
    for (int i = 0; i < s->inputs; i++) in[i] = &s->in[i];
    return strided_make(&s->out[0].shape, in, s->inputs);
}

typedef struct tile {
    const step *step;
    const pw_program *program;
    const schedule *schedule;
    const strided_loop *loop;
    const float *slot[SLOTS];
    float (*registers)[TILE];
} tile;

static void spread(float *to, float v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = v;
}

static void load_narrow(tile *t, int i, int64_t at, int64_t column, int64_t n, bool new_row)
{
    const tensor *in = &t->step->in[i];
    const uint16_t *x = (const uint16_t *)in->data + at;
    int64_t stride = t->loop->inner[i];
    float *to = t->registers[i];
    t->slot[i] = to;
    if (stride == 1)
        cpu_widen(to, x + column, in->dtype, n);
    else if (stride == 0 && new_row)
        spread(to, cpu_widen_one(x, in->dtype, 0), MIN((int64_t)TILE, t->loop->length));
    for (int64_t k = 0; stride > 1 && k < n; k++) to[k] = cpu_widen_one(x, in->dtype, (column + k) * stride);
}

static void load_inputs(tile *t, const int64_t *at, int64_t column, int64_t n, bool new_row)
{
    for (int i = 0; i < t->program->inputs; i++) {
        const tensor *in = &t->step->in[i];
        int64_t stride = t->loop->inner[i];
        if (in->dtype != INGOT_F32) {
            load_narrow(t, i, at[i], column, n, new_row);
            continue;
        }
        const float *x = f32(in) + at[i];
        if (stride == 1 && !t->schedule->passes[i]) {
            t->slot[i] = x + column;
            continue;
        }
        t->slot[i] = t->registers[i];
        if (stride == 1) {
            memcpy(t->registers[i], x + column, (size_t)n * sizeof *x);
        } else if (stride == 0) {
            if (new_row) spread(t->registers[i], *x, MIN((int64_t)TILE, t->loop->length));
        } else {
            for (int64_t k = 0; k < n; k++) t->registers[i][k] = x[(column + k) * stride];
        }
    }
}

static void run_tile(tile *t, int64_t out_at, int64_t n)
{
    const pw_program *p = t->program;
    for (int i = 0; i < p->count; i++) {
        const pw_instr *in = &p->code[i];
        int slot = p->inputs + i, output = t->schedule->direct[slot];
        if (in->code == PW_CONST) continue;
        float *y = output >= 0 ? f32(&t->step->out[output]) + out_at : t->registers[t->schedule->register_of[slot]];
        const float *a = t->slot[in->a], *b = pw_arity(in->code) > 1 ? t->slot[in->b] : a;
        functions[in->code](y, a, b, pw_arity(in->code) > 2 ? t->slot[in->c] : a, n);
        t->slot[slot] = y;
    }
    for (int o = 0; o < p->outputs; o++) {
        const tensor *out = &t->step->out[o];
        if (out->data && out->dtype != INGOT_F32) {
            cpu_narrow((uint16_t *)out->data + out_at, out->dtype, t->slot[p->result[o]], n);
            continue;
        }
        float *y = f32(out);
        if (out->data && t->slot[p->result[o]] != y + out_at)
            memcpy(y + out_at, t->slot[p->result[o]], (size_t)n * sizeof *y);
    }
}

/* Elements [first, last) of the result, row by row, tile by tile. */
static void elements(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    float registers[REGISTERS][TILE] __attribute__((aligned(64)));
    strided_loop l = loop_of(s);
    tile t = {.step = s, .program = s->node->attrs, .schedule = s->prepared, .loop = &l, .registers = registers};
    for (int i = 0; i < t.program->count; i++) {
        int slot = t.program->inputs + i;
        if (t.program->code[i].code != PW_CONST) continue;
        spread(registers[t.schedule->register_of[slot]], (float)t.program->code[i].value, MIN((int64_t)TILE, l.length));
        t.slot[slot] = registers[t.schedule->register_of[slot]];
    }
    int64_t at[STRIDED_MAX];
    for (int64_t row = first / l.length; row * l.length < last; row++) {
        int64_t from = MAX(first - row * l.length, 0), to = MIN(last - row * l.length, l.length);
        strided_row(&l, row, at);
        for (int64_t column = from; column < to; column += TILE) {
            int64_t n = MIN((int64_t)TILE, to - column);
            load_inputs(&t, at, column, n, column == from);
            run_tile(&t, row * l.length + column, n);
        }
    }
}

static status launch(const step *s, queue *q)
{
    return cpu_for(s, q, shape_count(s->out[0].shape), CPU_GRAIN, elements);
}

const kernel_def ISA_NAME(pointwise_cpu)[] = {
    {.op = &op_pointwise_def,
     .name = "pointwise.simd",
     .level = LEVEL_SIMD,
     .match = match,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED,
               STORAGE_STRIDED, STORAGE_STRIDED},
     .prepare = prepare,
     .unprepare = free,
     .launch = launch,
     .error = ERROR_POINTWISE,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
