/* Pointwise programs on CUDA: each is printed as a kernel of its own, with its shape and strides as constants, and compiled
 * when the program is; equal texts are compiled once. Four elements a thread where the layout allows it.
 */
#include "graph/strided.h"
#include "kit/cuda/nvrtc.h"
#include "ops/pointwise/pointwise.h"

#include <math.h>
#include <stdio.h>

static const char prelude[] = "#define pw_if(c) ((c) ? (T)1 : (T)0)\n"
                              "#define pw_select(c, yes, no) ((c) ? (T)(yes) : (T)(no))\n"
                              "#define pw_abs(x) fabs(x)\n"
                              "#define pw_exp(x) exp(x)\n"
                              "#define pw_log(x) log(x)\n"
                              "#define pw_sqrt(x) sqrt(x)\n"
                              "#define pw_rsqrt(x) rsqrt(x)\n"
                              "#define pw_sin(x) sin(x)\n"
                              "#define pw_cos(x) cos(x)\n"
                              "#define pw_tanh(x) tanh(x)\n"
                              "#define pw_sigmoid(x) ((T)1 / ((T)1 + exp(-(x))))\n"
                              "#define pw_erf(x) erf(x)\n"
                              "#define pw_floor(x) floor(x)\n"
                              "#define pw_largest (sizeof(T) == 8 ? 1.7976931348623157e308 : (T)3.402823466e38f)\n";

static const char *const expressions[PW_CODES] = {
#define PW(code, name, arity, expression) [PW_##code] = #expression,
#include "ops/pointwise/pointwise.def"
#undef PW
};

static const char *c_type(dtype d)
{
    switch (d) {
    case INGOT_F32: return "float";
    case INGOT_F64: return "double";
    case INGOT_I32: return "int";
    case INGOT_I64: return "long long";
    case INGOT_I8: return "signed char";
    case INGOT_U8: return "unsigned char";
    default: return NULL;
    }
}

static bool match(const node *n, const device_caps *caps)
{
    (void)caps;
    for (int i = 0; i < n->inputs; i++)
        if (!c_type(n->in[i]->dtype)) return false;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i] && !c_type(n->out[i]->dtype)) return false;
    return true;
}

/* Integers beyond 2^24 need more than a float holds. */
static bool in_double(const step *s)
{
    bool wide = false, any_float = false;
    for (int i = 0; i < s->inputs; i++) {
        wide |= s->in[i].dtype == INGOT_F64 || s->in[i].dtype == INGOT_I64;
        any_float |= dtype_is_float(s->in[i].dtype);
    }
    return wide || !any_float;
}

static strided_loop loop_of(const step *s)
{
    const tensor *in[PW_MAX_INPUTS];
    for (int i = 0; i < s->inputs; i++) in[i] = &s->in[i];
    return strided_make(&s->out[0].shape, in, s->inputs);
}

static void print_offset(const strided_loop *l, int input, text *out)
{
    text_printf(out, "column * %lldll", (long long)l->inner[input]);
    int64_t below = 1;
    for (int64_t axis = l->rank - 1; axis >= 0; axis--) {
        text_printf(out, " + row / %lldll %% %lldll * %lldll", (long long)below, (long long)l->dim[axis],
                    (long long)l->stride[input][axis]);
        below *= l->dim[axis];
    }
}

static void print_instr(const pw_program *p, int i, text *out)
{
    const pw_instr *in = &p->code[i];
    if (in->code == PW_CONST) {
        if (isfinite(in->value))
            text_printf(out, "            const T s%d = (T)%.17g;\n", p->inputs + i, in->value);
        else
            text_printf(out, "            const T s%d = (T)%s__int_as_float(0x7f800000);\n", p->inputs + i,
                        in->value < 0 ? "-" : "");
        return;
    }
    text_printf(out,
                "            T s%d;\n            { const T a = s%d, b = s%d, c = s%d; (void)b; (void)c; s%d = %s; }\n",
                p->inputs + i, in->a, pw_arity(in->code) > 1 ? in->b : in->a, pw_arity(in->code) > 2 ? in->c : in->a,
                p->inputs + i, expressions[in->code]);
}

/* Elements a thread: 4 where every input walks its row one by one or stands still, and rows are multiples of 4. */
static int lanes_of(const step *s, const strided_loop *l)
{
    if (l->length % 4) return 1;
    for (int i = 0; i < s->inputs; i++)
        if (l->inner[i] > 1) return 1;
    return 4;
}

static void print_kernel(const step *s, text *out)
{
    const pw_program *p = s->node->attrs;
    strided_loop l = loop_of(s);
    int lanes = lanes_of(s, &l);
    int64_t groups = l.rows * l.length / lanes;
    text_printf(out, "typedef %s T;\n%s", in_double(s) ? "double" : "float", prelude);
    text_puts(out, "extern \"C\" __global__ void pointwise(");
    for (int i = 0; i < s->inputs; i++) text_printf(out, "const %s *x%d, ", c_type(s->in[i].dtype), i);
    for (int o = 0; o < p->outputs; o++)
        text_printf(out, "%s *y%d%s", c_type(s->out[o].dtype), o, o + 1 < p->outputs ? ", " : ")\n{\n");
    text_printf(
        out,
        "    for (long long g = blockIdx.x * (long long)blockDim.x + threadIdx.x; g < %lldll; g += gridDim.x * (long "
        "long)blockDim.x) {\n        const long long first = g * %d, row = first / %lldll;\n#pragma unroll\n"
        "        for (int lane = 0; lane < %d; lane++) {\n            const long long at = first + lane, column = at "
        "%% "
        "%lldll;\n            (void)row; (void)column;\n",
        (long long)groups, lanes, (long long)l.length, lanes, (long long)l.length);
    for (int i = 0; i < s->inputs; i++) {
        text_printf(out, "            const T s%d = (T)x%d[", i, i);
        print_offset(&l, i, out);
        text_puts(out, "];\n");
    }
    for (int i = 0; i < p->count; i++) print_instr(p, i, out);
    for (int o = 0; o < p->outputs; o++)
        if (s->node->out[o])
            text_printf(out, "            y%d[at] = (%s)s%d;\n", o, c_type(s->out[o].dtype), p->result[o]);
    text_puts(out, "        }\n    }\n}\n");
}

typedef struct ready {
    cudaKernel_t kernel;
    unsigned blocks;
} ready;

static status prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    text source = {0};
    ready *r = calloc(1, sizeof *r);
    print_kernel(s, &source);
    status failed = r && !source.failed ? nvrtc_kernel(ctx, caps, source.at, "pointwise", &r->kernel)
                                        : fail_memory(ctx, "a pointwise kernel", source.length);
    text_free(&source);
    if (failed) {
        free(r);
        return failed;
    }
    strided_loop l = loop_of(s);
    r->blocks = cuda_blocks(l.rows * l.length / lanes_of(s, &l));
    *out = r;
    return INGOT_OK;
}

static status launch(const step *s, queue *q)
{
    const ready *r = s->prepared;
    const pw_program *p = s->node->attrs;
    void *arguments[PW_MAX_INPUTS + PW_MAX_OUTPUTS];
    for (int i = 0; i < s->inputs; i++) arguments[i] = (void *)(uintptr_t)&s->in[i].data;
    for (int o = 0; o < p->outputs; o++) arguments[s->inputs + o] = (void *)(uintptr_t)&s->out[o].data;
    /* An error is found by the device after the launch. */
    (void)cudaLaunchKernel((const void *)r->kernel, (dim3){r->blocks, 1, 1}, (dim3){CUDA_THREADS, 1, 1}, arguments, 0,
                           q->stream);
    return INGOT_OK;
}

extern const kernel_def pointwise_cuda[];
const kernel_def pointwise_cuda[] = {
    {.op = &op_pointwise_def,
     .name = "pointwise.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED,
               STORAGE_STRIDED, STORAGE_STRIDED},
     .prepare = prepare,
     .unprepare = free,
     .launch = launch,
     .error = ERROR_POINTWISE},
    {0},
};
