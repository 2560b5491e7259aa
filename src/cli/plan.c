/* ingot plan */
#include "cli/plan.h"

#include <stdio.h>

typedef struct plan_options {
    shape_options shape;
    optimizer_flags optimizer;
    batch_flags batch;
    device_flags device;
    const char *model;
    int rows, dump, format;
} plan_options;

static const char *const row_kinds[] = {"stream", "document", NULL};

static const option lines[] = {
    {"model", STRING_AT(plan_options, model), "DIR", "the shape of a run, a checkpoint or a Hugging Face folder",
     .short_name = "m"},
    {"rows", CHOICE_AT(plan_options, rows), NULL, "how rows are filled", .initial = "stream", .choices = row_kinds},
    {"dump", CHOICE_AT(plan_options, dump), NULL,
     "print this instead: the model as its family writes it, the graph of a step after all passes, where its values "
     "lie, the kernels in their order",
     .choices = dump_kinds},
    {"format", CHOICE_AT(plan_options, format), NULL,
     "of a dump: svg of all (by Graphviz but for the plan), dot of all but the plan", .initial = "text",
     .choices = dump_formats},
};

static json_t *to_json(const ingot_model_info *m, const ingot_train_memory *p, int64_t micros)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "parameters", (json_int_t)m->parameters,
                     "trained", (json_int_t)p->parameters, "weight_bytes", (json_int_t)p->weight_bytes,
                     "gradient_bytes", (json_int_t)p->gradient_bytes, "optimizer_bytes", (json_int_t)p->optimizer_bytes,
                     "activation_bytes", (json_int_t)p->activation_bytes, "workspace_bytes",
                     (json_int_t)p->workspace_bytes, "peak_bytes", (json_int_t)p->peak_bytes, "lower_bound_bytes",
                     (json_int_t)p->lower_bound_bytes, "flops_per_step",
                     p->flops_per_micro * (double)micros + p->flops_per_update);
}

static void print_bytes(call *c, const char *what, int64_t bytes)
{
    char size[24];
    print_line(c, "%-24s %10s  %lld", what, format_bytes(size, (uint64_t)bytes), (long long)bytes);
}

static status answer(call *c, const plan_options *o, const ingot_model *model, const ingot_train_memory *p)
{
    ingot_model_info m = ingot_model_describe(model);
    if (c->json) return print_json(c, to_json(&m, p, o->batch.accumulate));
    print_line(c, "%s, %lld parameters, %lld of them trained", m.family, (long long)m.parameters,
               (long long)p->parameters);
    print_line(c, "%-24s %10.3f", "GFLOP a step",
               1e-9 * (p->flops_per_micro * (double)o->batch.accumulate + p->flops_per_update));
    print_bytes(c, "weights", p->weight_bytes);
    print_bytes(c, "gradients", p->gradient_bytes);
    print_bytes(c, "optimizer", p->optimizer_bytes);
    print_bytes(c, "activations", p->activation_bytes);
    print_bytes(c, "workspace", p->workspace_bytes);
    print_bytes(c, "peak", p->peak_bytes);
    print_bytes(c, "lower bound", p->lower_bound_bytes);
    return INGOT_OK;
}

static status make_model(call *c, const plan_options *o, ingot_model **out)
{
    if (o->model) return ingot_model_load(c->ctx, o->model, out);
    ingot_model_options m = shape_model_options(c, &o->shape);
    m.context = m.preset ? 0 : o->batch.context;
    TRY(ingot_model_new(c->ctx, &m, out));
    if (o->batch.context <= ingot_model_describe(*out).context) return INGOT_OK;
    ingot_model_free(*out);
    m.context = o->batch.context;
    return ingot_model_new(c->ctx, &m, out);
}

static status run(call *c, void *given)
{
    plan_options *o = given;
    if (!o->model && !o->shape.preset && !o->shape.vocab_size && !o->shape.family)
        return fail_usage(c, "which shape? give --preset, --model, --family, or --vocab-size with sizes");
    ingot_device *d;
    TRY(device_flags_open(c, &o->device, &d));
    ingot_model *m = NULL;
    ingot_train_memory found;
    status s = make_model(c, o, &m);
    if (!s) s = device_flags_set_dtype(&o->device, m);
    if (!s) {
        ingot_train_options options = ingot_train_defaults();
        batch_flags_read(c, &o->batch, &options);
        options.length = o->batch.context ? o->batch.context : MIN(ingot_model_describe(m).context, 1024);
        options.rows = row_kinds[o->rows];
        options.optimizer = optimizer_flags_read(c, &o->optimizer);
        if (option_given(c, "dump"))
            s = plan_dump(c, d, m, &options, o->dump, o->format);
        else
            s = ingot_train_plan(d, m, &options, &found);
    }
    if (!s && !option_given(c, "dump")) s = answer(c, o, m, &found);
    ingot_model_free(m);
    ingot_device_close(d);
    return s;
}

const verb verb_plan = {
    .name = "plan",
    .summary = "what training a shape takes, without running it: memory by class, FLOPs",
    .options = {{NULL, OPTIONS(lines), 0},
                SHAPE_TABLE(plan_options, shape),
                BATCH_TABLE(plan_options, batch),
                OPTIMIZER_TABLE(plan_options, optimizer),
                DEVICE_TABLE(plan_options, device)},
    .options_bytes = sizeof(plan_options),
    .run = run,
    .examples = "ingot plan --preset gpt2-124m --batch-size 4 --context 64\n"
                "ingot plan --preset tiny-1m --layers 1 --dump model --format svg > model.svg\n"
                "ingot plan --preset tiny-1m --dump plan --format svg > memory.svg\n"
                "ingot plan --model run --batch-size 32 --json\n",
};
