/* ingot plan --dump: the graphs of a training step, as they are written and as they run. */
#include "cli/plan.h"

#include "cli/terminal.h"
#include "passes/passes.h"
#include "plot/plot.h"
#include "train/feed.h"
#include "train/step.h"

#include <stdio.h>

const char *const dump_kinds[] = {"model", "graph", "plan", "kernels", NULL};
const char *const dump_formats[] = {"text", "dot", "svg", NULL};

static model_task task_of(const ingot_model *m, const ingot_train_options *o)
{
    ingot_model_info info = ingot_model_describe(m);
    bool packed = o->rows && !strcmp(o->rows, "document");
    return (model_task){m,          o->batch_size, info.image ? 0 : o->length, packed,
                        o->dropout, false,         o->stochastic_rounding != 0};
}

/* Before any pass: what the family's file says. */
static status dump_model(call *c, const ingot_model *m, const ingot_train_options *o, bool dot, text *out)
{
    ingot_build *b = ingot_build_new(c->ctx, ingot_model_describe(m).family);
    if (!b) return fail_memory(c->ctx, "the graph", 0);
    model_task task = task_of(m, o);
    ingot_loss loss = model_task_loss(&task, b, NULL);
    status s = ingot_build_status(b);
    if (!s) {
        ingot_output(b, "loss", loss.sum);
        drop_dead_nodes(b);
        if (dot)
            graph_print_dot(b, false, out);
        else
            graph_print(b, out);
    }
    ingot_build_free(b);
    return s;
}

static status dump_programs(ingot_device *d, const ingot_model *m, const ingot_train_options *o, const char *what,
                            const char *format, text *out)
{
    model_task task = task_of(m, o);
    ingot_optimizer optimizer = o->optimizer;
    if (!optimizer.schedule.steps) optimizer.schedule.steps = o->steps;
    ingot_stepper *stepper;
    ingot_task whole = model_task_of(&task, o->recompute);
    TRY(stepper_plan(d, &whole, &optimizer, &stepper));
    bool drawn = strcmp(format, "text") != 0;
    ingot_program *const programs[] = {stepper->first, drawn ? NULL : stepper->update};
    for (size_t i = 0; i < COUNT(programs) && programs[i]; i++) {
        char *dump = ingot_program_dump(programs[i], what, format);
        if (!dump) out->failed = true;
        text_puts(out, dump ? dump : "");
        free(dump);
    }
    ingot_stepper_free(stepper);
    return INGOT_OK;
}

status plan_dump(call *c, ingot_device *d, const ingot_model *m, const ingot_train_options *o, int kind, int format)
{
    bool graph = kind != DUMP_PLAN;
    if (format == DUMP_DOT && !graph)
        return fail_usage(c, "--dump plan has no --format dot: it is memory over time; text and svg have it");
    const char *written = dump_formats[graph && format == DUMP_SVG ? DUMP_DOT : format]; /* Graphviz draws graphs */
    text dump = {0}, svg = {0};
    status s = kind == DUMP_MODEL ? dump_model(c, m, o, format != DUMP_TEXT, &dump)
                                  : dump_programs(d, m, o, dump_kinds[kind], written, &dump);
    if (!s && dump.failed) s = fail_memory(c->ctx, "the dump", dump.length);
    if (!s && graph && format == DUMP_SVG) s = plot_graph(c->ctx, &dump, &svg);
    const text *shown = svg.at ? &svg : &dump;
    terminal_clear(c->terminal);
    if (!s && c->json)
        s = print_json(c, json_pack("{s:s, s:s, s:o}", "dump", dump_kinds[kind], "format", dump_formats[format], "text",
                                    json_text(shown->at ? shown->at : "", shown->length)));
    else if (!s)
        fwrite(shown->at, 1, shown->length, stdout);
    text_free(&dump);
    text_free(&svg);
    return s;
}
