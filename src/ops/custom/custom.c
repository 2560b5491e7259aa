/* Ops that applications register: an op_def and a kernel_def made from their functions. */
#include "ops/custom/custom.h"

#include "kit/cpu/cpu.h"

struct ingot_custom_op {
    op_def op; /* first: a node's op is one of these */
    ingot_custom_def def;
    kernel_def kernel[2];
    const kernel_def *kernels[2];
    attr_field numbers[INGOT_CUSTOM_MOST_NUMBERS];
    arena *arena; /* of the names */
};

static const ingot_custom_op *custom_of(const op_def *op)
{
    return (const ingot_custom_op *)(const void *)op;
}

/* Shapes and dtypes are those that lower makes, in a graph that is thrown away. */
static status infer(build *b, const node *n, inferred *out)
{
    const ingot_custom_op *c = custom_of(n->op);
    build *trial = ingot_build_new(b->ctx, n->op->name);
    if (!trial) return infer_fail(b, n, "not enough memory");
    value *in[INGOT_CUSTOM_MOST_INPUTS], *made[INGOT_CUSTOM_MOST_OUTPUTS] = {NULL};
    for (int i = 0; i < c->def.inputs; i++)
        in[i] = ingot_input(trial, c->op.inputs[i].name, n->in[i]->dtype, n->in[i]->shape);
    if (!trial->status) c->def.lower(trial, n->attrs, in, made);
    status failed = trial->status ? infer_fail(b, n, "%s", trial->message ? trial->message : "not enough memory") : 0;
    for (int i = 0; i < c->def.outputs && !failed; i++) {
        if (!made[i])
            failed = infer_fail(b, n, "lower sets no output %d", i);
        else
            out[i] = (inferred){.dtype = made[i]->dtype, .shape = made[i]->shape};
    }
    ingot_build_free(trial);
    return failed;
}

static void lower(build *b, const node *n, value **out)
{
    custom_of(n->op)->def.lower(b, n->attrs, n->in, out);
}

static void grad(build *b, node *n, value *const *dout, const bool *need, value **din)
{
    const ingot_custom_op *c = custom_of(n->op);
    int wanted[INGOT_CUSTOM_MOST_INPUTS];
    for (int i = 0; i < n->inputs; i++) wanted[i] = need[i];
    c->def.grad(b, n->attrs, n->in, n->out, dout, wanted, din);
    for (int i = 0; i < n->inputs && !b->status; i++) {
        char one[128], other[128];
        if (!need[i] || !din[i] || (din[i]->dtype == n->in[i]->dtype && shape_equal(din[i]->shape, n->in[i]->shape)))
            continue;
        infer_fail(b, n, "grad gives input %d, %s%s, a gradient of %s%s", i, ingot_dtype_name(n->in[i]->dtype),
                   shape_print(one, n->in[i]->shape), ingot_dtype_name(din[i]->dtype),
                   shape_print(other, din[i]->shape));
    }
}

const ingot_custom_def *custom_def_of(const op_def *op)
{
    return op->infer == infer ? &custom_of(op)->def : NULL;
}

ingot_custom_tensor custom_tensor(const tensor *t)
{
    return (ingot_custom_tensor){.data = t->data, .dtype = t->dtype, .shape = t->shape, .count = shape_count(t->shape)};
}

static status launch(const step *s, queue *q)
{
    const ingot_custom_op *c = custom_of(s->node->op);
    ingot_custom_tensor in[INGOT_CUSTOM_MOST_INPUTS], out[INGOT_CUSTOM_MOST_OUTPUTS];
    for (int i = 0; i < c->def.inputs; i++) in[i] = custom_tensor(&s->in[i]);
    for (int i = 0; i < c->def.outputs; i++) out[i] = custom_tensor(&s->out[i]);
    ingot_custom_call call = {.in = in, .out = out, .numbers = s->node->attrs, .threads = q->pool};
    return c->def.cpu(&call);
}

typedef struct custom_loop {
    const ingot_custom_call *call;
    void (*rows)(const ingot_custom_call *call, int64_t first, int64_t last);
} custom_loop;

static void run_rows(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const custom_loop *loop = arg;
    loop->rows(loop->call, first, last);
}

void ingot_custom_for(const ingot_custom_call *call, int64_t total, int64_t grain,
                      void (*rows)(const ingot_custom_call *call, int64_t first, int64_t last))
{
    custom_loop loop = {call, rows};
    if (call->threads)
        pool_for(call->threads, total, MAX(grain, 1), run_rows, &loop);
    else if (total > 0)
        rows(call, 0, total);
}

static bool is_identifier(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return strspn(name, letters) == strlen(name) && !(*name >= '0' && *name <= '9');
}

static status check(context *ctx, const ingot_custom_def *def)
{
    const char *name = def->name && *def->name ? def->name : "without a name";
    if (!def->name || !*def->name || !def->lower)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "custom op %s: it needs a name and a lower", name);
    if (def->inputs < 1 || def->inputs > INGOT_CUSTOM_MOST_INPUTS || def->outputs < 1 ||
        def->outputs > INGOT_CUSTOM_MOST_OUTPUTS || def->numbers < 0 || def->numbers > INGOT_CUSTOM_MOST_NUMBERS)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                          "custom op %s has %d inputs, %d outputs, %d numbers; 1 to %d, 1 to %d, 0 to %d can be had",
                          name, def->inputs, def->outputs, def->numbers, INGOT_CUSTOM_MOST_INPUTS,
                          INGOT_CUSTOM_MOST_OUTPUTS, INGOT_CUSTOM_MOST_NUMBERS);
    if (def->cuda && !is_identifier(def->name))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                          "custom op %s: its CUDA kernel has its name, which must be letters, digits and _ then", name);
    return INGOT_OK;
}

static void name_parts(ingot_custom_op *c)
{
    static const char *const in[INGOT_CUSTOM_MOST_INPUTS] = {"in0", "in1", "in2", "in3", "in4", "in5", "in6", "in7"};
    static const char *const out[INGOT_CUSTOM_MOST_OUTPUTS] = {"out0", "out1", "out2", "out3"};
    static const char *const numbers[INGOT_CUSTOM_MOST_NUMBERS] = {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"};
    for (int i = 0; i < c->def.inputs; i++) c->op.inputs[i] = (op_input){.name = in[i]};
    for (int i = 0; i < c->def.outputs; i++) c->op.outputs[i] = (op_output){.name = out[i]};
    for (int i = 0; i < c->def.numbers; i++)
        c->numbers[i] = (attr_field){.name = numbers[i], .kind = ATTR_F64, .offset = (size_t)i * sizeof(double)};
}

ingot_status ingot_custom_op_new(ingot_context *ctx, const ingot_custom_def *def, ingot_custom_op **out)
{
    *out = NULL;
    TRY(check(ctx, def));
    ingot_custom_op *c = calloc(1, sizeof *c);
    arena *names = arena_new();
    const char *name = names ? arena_strdup(names, def->name) : NULL;
    const char *doc = names ? arena_strdup(names, def->doc ? def->doc : "An application's op.") : NULL;
    const char *cuda = names && def->cuda ? arena_strdup(names, def->cuda) : NULL;
    if (!c || !name || !doc || (def->cuda && !cuda)) {
        free(c);
        arena_free(names);
        return fail_memory(ctx, "a custom op", sizeof *c);
    }
    c->def = *def;
    c->def.name = name;
    c->def.cuda = cuda;
    c->arena = names;
    c->op = (op_def){.name = name,
                     .doc = doc,
                     .attrs = c->numbers,
                     .attr_count = (size_t)def->numbers,
                     .attrs_bytes = (size_t)def->numbers * sizeof(double),
                     .infer = infer,
                     .lower = lower,
                     .grad = def->grad ? grad : NULL,
                     .kernels = def->cpu ? c->kernels : NULL};
    name_parts(c);
    c->kernel[0] = (kernel_def){.op = &c->op,
                                .name = name,
                                .level = LEVEL_NAIVE,
                                .traits = def->row_invariant ? KERNEL_ROW_INVARIANT : 0,
                                .launch = launch,
                                .error = ERROR_SUM};
    c->kernels[0] = c->kernel;
    *out = c;
    return INGOT_OK;
}

void ingot_custom_op_free(ingot_custom_op *op)
{
    if (!op) return;
    arena_free(op->arena);
    free(op);
}

void ingot_custom(ingot_build *b, const ingot_custom_op *op, const double *numbers, ingot_value *const *in,
                  ingot_value **out)
{
    const double none[INGOT_CUSTOM_MOST_NUMBERS] = {0};
    value *given[INGOT_CUSTOM_MOST_INPUTS]; /* in and out may be the same array */
    for (int i = 0; i < op->def.inputs; i++) given[i] = in[i];
    for (int i = 0; i < op->def.outputs; i++) out[i] = NULL;
    for (int i = 0; i < op->def.inputs; i++)
        if (!given[i]) return; /* the builder has failed before */
    node *n = node_new(b, &op->op, given, op->def.inputs, numbers ? numbers : none);
    for (int i = 0; n && i < op->def.outputs; i++) out[i] = n->out[i];
}
