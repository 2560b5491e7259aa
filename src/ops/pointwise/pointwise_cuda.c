/* Pointwise programs on CUDA: each is printed as a kernel of its own, with its shape and strides as constants, and compiled
 * when the program is; equal texts are compiled once. Four elements a thread where the layout allows it.
 */
#include "graph/strided.h"
#include "kit/cuda/nvrtc.h"
#include "kit/cuda/stage.h"
#include "ops/pointwise/pointwise.h"
#include "ops/pointwise/pointwise_stage_cuda.h"

#include <math.h>
#include <stdio.h>

/* Numbers of 16 bits are kept as bits and computed as float32; `wide` elements are loaded and stored together. */
static const char types[] =
    "struct bf16 {\n"
    "    unsigned short bits;\n"
    "    __device__ bf16() {}\n"
    "    __device__ bf16(float x) { asm(\"cvt.rn.bf16.f32 %0, %1;\" : \"=h\"(bits) : \"f\"(x)); }\n"
    "    __device__ operator float() const { return __uint_as_float((unsigned)bits << 16); }\n"
    "};\n"
    "struct f16 {\n"
    "    unsigned short bits;\n"
    "    __device__ f16() {}\n"
    "    __device__ f16(float x) { asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(bits) : \"f\"(x)); }\n"
    "    __device__ operator float() const { float x; asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(x) : \"h\"(bits)); return "
    "x; }\n"
    "};\n"
    "template <typename E, int N> struct alignas(N * sizeof(E) > 16 ? 16 : N * sizeof(E)) pack { E at[N]; };\n";

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

/* kit/cuda/cuda.h's wait_for_inputs. */
static const char waiting[] = "#if __CUDA_ARCH__ >= 900\n"
                              "    asm volatile(\"griddepcontrol.launch_dependents;\" ::: \"memory\");\n"
                              "    asm volatile(\"griddepcontrol.wait;\" ::: \"memory\");\n"
                              "#endif\n";

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
    case INGOT_BF16: return "bf16";
    case INGOT_F16: return "f16";
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

/* Outputs may be parts of something longer: they are walked as inputs are. */
static strided_loop loop_of(const step *s)
{
    const tensor *all[PW_MAX_INPUTS + PW_MAX_OUTPUTS];
    int count = 0;
    for (; count < s->inputs; count++) all[count] = &s->in[count];
    for (int o = 0; o < PW_MAX_OUTPUTS; o++)
        if (s->node->out[o]) all[count++] = &s->out[o];
    return strided_make(&s->out[0].shape, all, count);
}

/* The loop's tensors are the inputs, then the outputs that are live. */
static int output_in_loop(const step *s, int output)
{
    int at = s->inputs;
    for (int o = 0; o < output; o++) at += s->node->out[o] != NULL;
    return at;
}

static void print_offset(const strided_loop *l, int tensor, text *out)
{
    text_printf(out, "column * %lldu", (long long)l->inner[tensor]);
    int64_t below = 1;
    for (int64_t axis = l->rank - 1; axis >= 0; axis--) {
        if (l->stride[tensor][axis])
            text_printf(out, " + row / %lldu %% %lldu * %lldu", (long long)below, (long long)l->dim[axis],
                        (long long)l->stride[tensor][axis]);
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

/* Elements of the loop's tensor i that a group of lanes finds side by side, or one for all. */
static bool lies_in_packs(const tensor *t, const strided_loop *l, int i, int lanes)
{
    if (l->inner[i] == 0) return true;
    int64_t bytes = lanes * ingot_dtype_bytes(t->dtype), width = MIN(bytes, 16) / ingot_dtype_bytes(t->dtype);
    if (l->inner[i] != 1 || t->byte_offset % MIN(bytes, 16)) return false;
    for (int64_t axis = 0; axis < l->rank; axis++)
        if (l->stride[i][axis] % width) return false;
    return true;
}

/* Elements a thread: what makes 16 bytes of the narrowest float, where rows allow it. */
static int lanes_of(const step *s, const strided_loop *l)
{
    int lanes = 4;
    for (int i = 0; i < s->inputs; i++)
        if (ingot_dtype_bytes(s->in[i].dtype) == 2) lanes = 8;
    for (; lanes > 1; lanes /= 2) {
        bool fits = l->length % lanes == 0;
        for (int i = 0; i < s->inputs; i++) fits &= lies_in_packs(&s->in[i], l, i, lanes);
        for (int o = 0; o < PW_MAX_OUTPUTS; o++)
            fits &= !s->node->out[o] || lies_in_packs(&s->out[o], l, output_in_loop(s, o), lanes);
        if (fits) return lanes;
    }
    return 1;
}

static void print_arguments(const step *s, const pw_program *p, text *out)
{
    text_puts(out, "extern \"C\" __global__ void pointwise(");
    for (int i = 0; i < s->inputs; i++) text_printf(out, "const %s *x%d, ", c_type(s->in[i].dtype), i);
    for (int o = 0; o < p->outputs; o++)
        text_printf(out, "%s *y%d%s", c_type(s->node->out[o] ? s->out[o].dtype : INGOT_F32), o,
                    o + 1 < p->outputs ? ", " : ")\n{\n");
    text_puts(out, waiting);
}

/* What the lanes read: packs, or one element for all of them. */
static void print_loads(const step *s, const strided_loop *l, int lanes, text *out)
{
    for (int i = 0; i < s->inputs; i++) {
        const char *type = c_type(s->in[i].dtype);
        if (l->inner[i] == 0)
            text_printf(out, "        const %s p%d = x%d[", type, i, i);
        else
            text_printf(out, "        const pack<%s, %d> p%d = *(const pack<%s, %d> *)(x%d + (", type, lanes, i, type,
                        lanes, i);
        print_offset(l, i, out);
        text_puts(out, l->inner[i] == 0 ? "];\n" : "));\n");
    }
}

static void print_store(const step *s, const strided_loop *l, int lanes, int output, text *out)
{
    text_printf(out, "        *(pack<%s, %d> *)(y%d + (", c_type(s->out[output].dtype), lanes, output);
    if (layout_is_contiguous(s->out[output].shape, &s->node->out[output]->layout))
        text_puts(out, "first");
    else
        print_offset(l, output_in_loop(s, output), out);
    text_printf(out, ")) = r%d;\n", output);
}

static void print_kernel(const step *s, text *out)
{
    const pw_program *p = s->node->attrs;
    strided_loop l = loop_of(s);
    int lanes = lanes_of(s, &l);
    int64_t groups = l.rows * l.length / lanes;
    bool small = l.rows * l.length < 1 << 30;
    text_printf(out, "%stypedef %s T;\ntypedef %s I;\n%s", types, in_double(s) ? "double" : "float",
                small ? "unsigned" : "unsigned long long", prelude);
    print_arguments(s, p, out);
    text_printf(out,
                "    for (I g = blockIdx.x * (I)blockDim.x + threadIdx.x; g < %lldu; g += gridDim.x * (I)blockDim.x) "
                "{\n        const I first = g * %du, row = first / %lldu, column = first %% %lldu;\n"
                "        (void)row; (void)column;\n",
                (long long)groups, lanes, (long long)l.length, (long long)l.length);
    print_loads(s, &l, lanes, out);
    for (int o = 0; o < p->outputs; o++)
        if (s->node->out[o]) text_printf(out, "        pack<%s, %d> r%d;\n", c_type(s->out[o].dtype), lanes, o);
    text_printf(out, "#pragma unroll\n        for (int lane = 0; lane < %d; lane++) {\n", lanes);
    for (int i = 0; i < s->inputs; i++)
        text_printf(out, "            const T s%d = (T)p%d%s;\n", i, i, l.inner[i] ? ".at[lane]" : "");
    for (int i = 0; i < p->count; i++) print_instr(p, i, out);
    for (int o = 0; o < p->outputs; o++)
        if (s->node->out[o])
            text_printf(out, "            r%d.at[lane] = (%s)(s%d);\n", o, c_type(s->out[o].dtype), p->result[o]);
    text_puts(out, "        }\n");
    for (int o = 0; o < p->outputs; o++)
        if (s->node->out[o]) print_store(s, &l, lanes, o, out);
    text_puts(out, "    }\n}\n");
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

/* Of float32 and one 16-bit dtype at most, which *found is then. */
static bool is_float(const tensor *t, ingot_dtype *found)
{
    if (t->dtype == INGOT_F32) return true;
    if ((t->dtype != INGOT_BF16 && t->dtype != INGOT_F16) || (*found != INGOT_F32 && *found != t->dtype)) return false;
    *found = t->dtype;
    return true;
}

static bool is_one_run(const tensor *t)
{
    int64_t below = 1;
    for (int64_t i = t->shape.rank - 1; i >= 0; below *= t->shape.dim[i--])
        if (t->shape.dim[i] > 1 && t->stride[i] != below) return false;
    return true;
}

/* Inputs as long as the output, or one element for all. */
static bool stage_inputs(const step *s, int64_t count, stage_offer *o)
{
    for (int i = 0; i < s->inputs; i++) {
        int64_t elements = shape_count(s->in[i].shape);
        if (!is_float(&s->in[i], &o->dtype) || (elements != 1 && (elements != count || !is_one_run(&s->in[i]))))
            return false;
        if (elements == count) o->sliced |= 1u << i;
        if (elements == 1) o->stage.number[POINTWISE_SCALARS] |= 1 << i;
    }
    return true;
}

/* POINTWISE_FIRST is the device's: where it keeps the instructions. */
static bool stage_of(const step *s, const device_caps *caps, stage_offer *o)
{
    const pw_program *p = s->node->attrs;
    int64_t count = shape_count(s->out[0].shape);
    o->dtype = INGOT_F32;
    if (p->count > STAGE_CODE || p->inputs > STAGE_INPUTS) return false;
    if (count > 4 * STAGE_THREADS * (int64_t)caps->multiprocessors) return false; /* worth a kernel of its own */
    for (int i = 0; i < p->outputs; i++)
        if (!s->node->out[i] || !is_float(&s->out[i], &o->dtype)) return false;
    if (!stage_inputs(s, count, o)) return false;
    for (int i = 0; i < p->count; i++)
        o->code[i] = (stage_code){p->code[i].code, p->code[i].a, p->code[i].b, p->code[i].c, (float)p->code[i].value};
    for (int i = 0; i < p->outputs; i++) o->stage.number[POINTWISE_RESULT + i] = p->result[i];
    o->code_count = p->count;
    o->stage.kind = STAGE_POINTWISE;
    o->stage.inputs = (uint8_t)s->inputs, o->stage.outputs = (uint8_t)p->outputs;
    o->stage.count = (int32_t)count;
    o->stage.number[POINTWISE_COUNT] = p->count;
    o->spread = STAGE_SLICED;
    return true;
}

extern const kernel_def pointwise_cuda[];
const kernel_def pointwise_cuda[] = {
    {.op = &op_pointwise_def,
     .name = "pointwise.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT | KERNEL_STRIDED_OUTPUT,
     .match = match,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED,
               STORAGE_STRIDED, STORAGE_STRIDED},
     .prepare = prepare,
     .unprepare = free,
     .launch = launch,
     .error = ERROR_POINTWISE,
     .stage = stage_of},
    {0},
};
