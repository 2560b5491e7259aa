/* Ops of applications on CUDA: their source, compiled by NVRTC behind what declares the call. */
#include "kit/cuda/faults.h"
#include "kit/cuda/nvrtc.h"
#include "ops/custom/custom.h"

#include <stdio.h>

static const char declarations[] = "struct ingot_tensor { void *data; long long count, dim[8]; int rank; };\n"
                                   "struct ingot_call { ingot_tensor in[8], out[4]; double numbers[8]; };\n";

/* The same in C. */
typedef struct gpu_tensor {
    void *data;
    long long count, dim[8];
    int rank;
} gpu_tensor;

typedef struct gpu_call {
    gpu_tensor in[INGOT_CUSTOM_MOST_INPUTS], out[INGOT_CUSTOM_MOST_OUTPUTS];
    double numbers[INGOT_CUSTOM_MOST_NUMBERS];
} gpu_call;

static bool match(const node *n, const device_caps *caps)
{
    const ingot_custom_def *def = custom_def_of(n->op);
    return def && def->cuda && match_f32(n, caps);
}

typedef struct ready {
    cudaKernel_t kernel;
    ingot_custom_grid grid;
    int *mark; /* kit/cuda/faults.h */
} ready;

static ingot_custom_grid grid_of(const ingot_custom_def *def, const step *s)
{
    ingot_custom_tensor in[INGOT_CUSTOM_MOST_INPUTS], out[INGOT_CUSTOM_MOST_OUTPUTS];
    for (int i = 0; i < def->inputs; i++) in[i] = custom_tensor(&s->in[i]), in[i].data = NULL;
    for (int i = 0; i < def->outputs; i++) out[i] = custom_tensor(&s->out[i]), out[i].data = NULL;
    if (!def->cuda_grid) return (ingot_custom_grid){cuda_blocks(out[0].count), CUDA_THREADS, 0};
    return def->cuda_grid(&(ingot_custom_call){.in = in, .out = out, .numbers = s->node->attrs});
}

static status compile(context *ctx, const ingot_custom_def *def, const device_caps *caps, cudaKernel_t *out)
{
    text source = {0};
    text_printf(&source, "%s#line 1 \"%s.cu\"\n%s\n", declarations, def->name, def->cuda);
    if (source.failed) {
        text_free(&source);
        return fail_memory(ctx, "a kernel", source.length);
    }
    status failed = nvrtc_kernel(ctx, caps, source.at, def->name, out);
    text_free(&source);
    if (failed != INGOT_ERROR_DEVICE) return failed;
    text why = {0};
    text_puts(&why, ingot_message(ctx));
    ingot_fail(
        ctx, INGOT_ERROR_ARGUMENT,
        strstr(why.at ? why.at : "", "finding a kernel")
            ? "custom op %s: its CUDA source must define extern \"C\" __global__ void %s(const ingot_call call); %s"
            : "custom op %s: the CUDA source of %s: %s",
        def->name, def->name, why.at ? why.at : "");
    text_free(&why);
    return INGOT_ERROR_ARGUMENT;
}

static status prepare(context *ctx, const step *s, const device_caps *caps, void **out)
{
    const ingot_custom_def *def = custom_def_of(s->node->op);
    ready *r = calloc(1, sizeof *r);
    if (!r) return fail_memory(ctx, "a kernel", sizeof *r);
    status failed = compile(ctx, def, caps, &r->kernel);
    r->grid = grid_of(def, s);
    if (!failed && (r->grid.blocks < 1 || r->grid.blocks > INT32_MAX || r->grid.threads < 1 || r->grid.threads > 1024))
        failed = ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                            "custom op %s: a grid of %lld blocks of %d threads; up to 2147483647 of 1024 can be had",
                            def->name, (long long)r->grid.blocks, r->grid.threads);
    if (failed) {
        free(r);
        return failed;
    }
    r->mark = faults_mark(caps->faults, def->name);
    *out = r;
    return INGOT_OK;
}

static gpu_tensor tensor_of(const tensor *t)
{
    gpu_tensor out = {.data = t->data, .count = shape_count(t->shape), .rank = (int)t->shape.rank};
    for (int i = 0; i < out.rank; i++) out.dim[i] = t->shape.dim[i];
    return out;
}

static status launch(const step *s, queue *q)
{
    const ready *r = s->prepared;
    const ingot_custom_def *def = custom_def_of(s->node->op);
    gpu_call call = {.numbers = {0}};
    for (int i = 0; i < def->inputs; i++) call.in[i] = tensor_of(&s->in[i]);
    for (int i = 0; i < def->outputs; i++)
        if (s->node->out[i]) call.out[i] = tensor_of(&s->out[i]);
    if (def->numbers) memcpy(call.numbers, s->node->attrs, (size_t)def->numbers * sizeof(double));
    void *arguments[] = {&call};
    /* An error is found by the device after the launch. */
    faults_begin(r->mark, q->stream);
    (void)cudaLaunchKernel((const void *)r->kernel, (dim3){(unsigned)r->grid.blocks, 1, 1},
                           (dim3){(unsigned)r->grid.threads, 1, 1}, arguments, (size_t)r->grid.shared_bytes, q->stream);
    faults_end(r->mark, q->stream);
    return INGOT_OK;
}

extern const kernel_def custom_cuda;
const kernel_def custom_cuda = {.name = "custom.cuda",
                                .level = LEVEL_BEST,
                                .match = match,
                                .prepare = prepare,
                                .unprepare = free,
                                .launch = launch,
                                .error = ERROR_SUM};
