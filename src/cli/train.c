/* ingot train */
#define _GNU_SOURCE
#include "cli/samples.h"
#include "cli/train.h"
#include "device/device.h"

#include "base/file.h"
#include "ingot/data.h"
#include "device/device.h"
#include "train/metrics.h"

#include <math.h>
#include <stdio.h>
#include <sys/random.h>

typedef struct train_options {
    shape_options shape;
    optimizer_flags optimizer;
    batch_flags batch;
    device_flags device;
    sample_flags samples;
    const char *data, *output, *resume, *model, *log_jsonl, *log_csv;
    int rows;
    int64_t steps, seed, save_every, eval_every, eval_batches, keep, log_every, ahead;
    int64_t lora_rank;
    double lora_alpha, lora_dropout;
    string_list lora_targets;
    bool raw_u16, overwrite, report_memory, plot;
} train_options;

static const char *const row_kinds[] = {"data", "stream", "document", NULL};

static const option data_lines[] = {
    {"data", STRING_AT(train_options, data), "DIR",
     "folder of `ingot data prepare`, a token file (.bin), or a glob of shards"},
    {"rows", CHOICE_AT(train_options, rows), NULL,
     "stream: windows cross documents; document: they are packed and kept apart; data: as it was prepared",
     .initial = "data", .choices = row_kinds},
    {"raw-u16", BOOL_AT(train_options, raw_u16), NULL, "token files without header, 16 bits a token (nanoGPT)"},
    {"model", STRING_AT(train_options, model), "DIR",
     "begin from these weights: a run, a checkpoint or a Hugging Face folder", .short_name = "m", .kept = true},
    {"steps", INT_AT(train_options, steps), "N", "steps in total, with those before a resume", .short_name = "n",
     .initial = "200", .range = BETWEEN(1, (1 << 24) - 1)},
    {"seed", INT_AT(train_options, seed), "N", "of weights, order of the data and dropout",
     .initial_help = "drawn, and printed", .range = AT_LEAST(0)},
};

static const option run_lines[] = {
    {"output", STRING_AT(train_options, output), "DIR", "folder of the run, to be made", .short_name = "o"},
    {"resume", STRING_AT(train_options, resume), "DIR", "go on with this run, with the options of its run.yaml",
     .transient = true},
    {"overwrite", BOOL_AT(train_options, overwrite), NULL, "replace a run that --output holds", .transient = true},
    {"save-every", INT_AT(train_options, save_every), "N", "steps between checkpoints; 0: only at the end",
     .initial = "250", .range = AT_LEAST(0)},
    {"keep", INT_AT(train_options, keep), "K", "newest checkpoints to keep beside last and best; 0: all",
     .initial = "2", .range = BETWEEN(0, 1000000)},
    {"eval-every", INT_AT(train_options, eval_every), "N",
     "steps between evaluations of the val split; 0: only with checkpoints", .initial = "0", .range = AT_LEAST(0)},
    {"eval-batches", INT_AT(train_options, eval_batches), "N", "batches of an evaluation; 0: the whole split",
     .initial = "40", .range = AT_LEAST(0)},
    {"ahead", INT_AT(train_options, ahead), "K",
     "steps handed to the device before the loss of the one in front of them is known; the same bits; -1: 2 where the "
     "device works by itself, else 0",
     .initial = "-1", .range = BETWEEN(-1, 8)},
    {"log-every", INT_AT(train_options, log_every), "N", "steps between lines on the screen", .initial = "1",
     .range = AT_LEAST(1)},
    {"log-jsonl", STRING_AT(train_options, log_jsonl), "FILE", "a JSON line a step, beside the run's own log.jsonl"},
    {"log-csv", STRING_AT(train_options, log_csv), "FILE", "a line a step as a table"},
    {"plot", BOOL_AT(train_options, plot), NULL, "curves as loss.png and loss.svg when it ends, and on the screen",
     .initial = "true"},
    {"report-memory", BOOL_AT(train_options, report_memory), NULL, "memory as planned and as measured, at the end",
     .transient = true},
};

static const option lora_lines[] = {
    {"lora-rank", INT_AT(train_options, lora_rank), "R", "train adapters of this rank, the model itself frozen",
     .initial = "0", .range = BETWEEN(0, 65536), .kept = true},
    {"lora-alpha", DOUBLE_AT(train_options, lora_alpha), "A", "adapters count A / R", .initial_help = "2 R",
     .range = MORE_THAN(0), .kept = true},
    {"lora-dropout", DOUBLE_AT(train_options, lora_dropout), "P", "on the adapters' input", .initial = "0",
     .range = BETWEEN(0, 0.99), .kept = true},
    {"lora-targets", LIST_AT(train_options, lora_targets), "NAME", "layers that get adapters: q_proj, c_attn, ...",
     .initial_help = "all linears", .kept = true},
};

/* ---- the model ---- */

/* What a new model takes from the data: vocabulary and the token that ends texts. */
static status options_from_data(call *c, const train_options *o, ingot_model_options *m, int32_t *eos)
{
    ingot_data *data;
    TRY(ingot_data_open(c->ctx, o->data, "train", &(ingot_data_options){.raw_u16 = o->raw_u16}, &data));
    int vocab_size = ingot_data_vocab_size(data);
    *eos = ingot_data_eot(data);
    ingot_data_free(data);
    if (!m->vocab_size) m->vocab_size = vocab_size;
    if (*eos >= 0) m->eos_tokens = eos, m->eos_count = 1;
    if (m->vocab_size || m->preset) return INGOT_OK;
    return fail_usage(c, "%s does not say how large its vocabulary is: give --vocab-size", o->data);
}

/* Longer rows than the model knows: rotary positions go on, and the checkpoint says so. Learned ones are refused later. */
static status lengthen(call *c, const train_options *o, const char *from, ingot_model *m)
{
    ingot_model_info info = ingot_model_describe(m);
    if (!info.rotary || o->batch.context <= info.context) return INGOT_OK;
    log_line(c->ctx, INGOT_LOG_WARNING,
             "--context %lld is more than the %lld positions that %s was trained with: its checkpoints will have %lld",
             (long long)o->batch.context, (long long)info.context, from, (long long)o->batch.context);
    return ingot_model_set_context(m, o->batch.context);
}

static status make_model(call *c, const train_options *o, ingot_model **out)
{
    const char *from = o->resume ? o->resume : o->model;
    if (from) {
        TRY(ingot_model_load(c->ctx, from, out));
        return lengthen(c, o, from, *out);
    }
    ingot_model_options m = shape_model_options(c, &o->shape);
    int32_t eos;
    m.dropout = o->batch.dropout;
    TRY(ingot_model_new(c->ctx, &m, out));
    if (ingot_model_describe(*out).image) return INGOT_OK;
    ingot_model_free(*out); /* a language model: its vocabulary is the data's, its positions are those of a row */
    *out = NULL;
    m.context = o->batch.context ? o->batch.context : m.preset ? 0 : 256;
    TRY(options_from_data(c, o, &m, &eos));
    return ingot_model_new(c->ctx, &m, out);
}

static status add_lora(call *c, const train_options *o, ingot_model *m)
{
    if (!o->lora_rank || o->resume) return INGOT_OK;
    const char **targets = ARENA_ARRAY(c->arena, const char *, o->lora_targets.count + 1);
    if (!targets) return fail_memory(c->ctx, "options", 64);
    for (int64_t i = 0; i < o->lora_targets.count; i++) targets[i] = o->lora_targets.at[i];
    return ingot_model_add_lora(m, &(ingot_lora_options){.rank = o->lora_rank,
                                                         .alpha = o->lora_alpha,
                                                         .dropout = o->lora_dropout,
                                                         .targets = o->lora_targets.count ? targets : NULL});
}

/* A shape belongs to a new model: with --model it would be ignored, so it is refused. */
static status check_usage(call *c, const train_options *o)
{
    if (o->resume && o->overwrite)
        return fail_usage(c, "--resume goes on with a run, --overwrite removes it: give one");
    if (o->resume && options_find(c->set, "output")->source > FROM_CONFIG && strcmp(o->output, o->resume))
        return fail_usage(c, "--resume %s goes on in that folder; leave --output out", o->resume);
    if (!o->output && !o->resume)
        return fail_usage(c, "where to? give --output DIR for a new run, or --resume DIR for one that is there");
    if (!o->data) return fail_usage(c, "which data? give --data DIR (ingot data prepare makes it)");
    if (o->lora_rank && !o->model) return fail_usage(c, "--lora-rank trains adapters of a model: give --model");
    if (!o->model || o->resume) return INGOT_OK;
    for (int i = 0; i < SHAPE_LINES; i++)
        if (option_given(c, shape_lines[i].name))
            return fail_usage(c, "--%s is part of a model's shape, which --model %s already has", shape_lines[i].name,
                              o->model);
    return INGOT_OK;
}

/* ---- what is shown ---- */

typedef struct screen {
    call *c;
    const train_options *o;
    ingot_train_event last_step, last_evaluation;
    double best_loss, seconds, rows;
    sampler_of_run sampler;
    const ingot_device *device;
    int64_t most_taken;                      /* bytes that the device has handed out */
    uint64_t resident_before, most_resident; /* bytes, when the device was opened and after steps */
} screen;

static void show_evaluation(screen *s, const ingot_train_event *e)
{
    text line = {0};
    text_printf(&line, "step %lld/%lld | val loss %.6f", (long long)e->result.step, (long long)e->steps,
                e->result.loss);
    if (e->bits_per_byte > 0) text_printf(&line, " | %.4f bits per byte", e->bits_per_byte);
    if (!strcmp(e->unit, "img")) text_printf(&line, " | accuracy %.2f %%", 100 * e->result.metric);
    text_printf(&line, " | %.1f s%s", e->seconds, e->best ? " | best" : "");
    if (line.at) print_line(s->c, "%s", line.at);
    text_free(&line);
}

static bool is_sample_due(const screen *s, const ingot_train_event *e)
{
    int64_t every = s->o->samples.every;
    return e->kind == INGOT_TRAIN_STEP && every && (e->result.step % every == 0 || e->result.step == e->steps);
}

/* To ask the driver takes longer than a small step. */
static void look_at_memory(screen *s, int64_t step)
{
    s->most_taken = MAX(s->most_taken, s->device->taken_bytes);
    if (step < 16 || step % 64 == 0 || step == s->last_step.steps)
        s->most_resident = MAX(s->most_resident, device_memory_in_use(s->device));
}

static status on_event(void *user, const ingot_train_event *e)
{
    screen *s = user;
    if (e->kind == INGOT_TRAIN_STEP) {
        s->last_step = *e;
        s->seconds += e->seconds;
        s->rows += (double)e->rows;
        if (s->o->report_memory) look_at_memory(s, e->result.step);
    } else if (e->kind == INGOT_TRAIN_EVALUATION) {
        s->last_evaluation = *e;
        if (!(e->result.loss >= s->best_loss)) s->best_loss = e->result.loss;
    }
    if (s->c->json) return INGOT_OK;
    if (e->kind == INGOT_TRAIN_EVALUATION) {
        show_evaluation(s, e);
    } else if (e->kind == INGOT_TRAIN_SAVED) {
        print_line(s->c, "saved %s%s", e->path ? e->path : "", e->best ? " (best)" : "");
    } else if (e->result.step % s->o->log_every == 0 || e->result.step == e->steps || e->result.step == 1) {
        text line = {0};
        step_line(&line, e);
        if (line.at) print_line(s->c, "%s", line.at);
        text_free(&line);
    }
    return is_sample_due(s, e) ? print_sample(&s->sampler, e->result.step) : INGOT_OK;
}

static void report_memory(call *c, const ingot_train_memory *m, const screen *s)
{
    uint64_t grown = s->most_resident > s->resident_before ? s->most_resident - s->resident_before : 0;
    char planned[24], measured[24];
    print_line(c, "memory: planned %s (%lld bytes); memory in use grew by %s (%llu bytes), %+.1f %%",
               format_bytes(planned, (uint64_t)m->peak_bytes), (long long)m->peak_bytes, format_bytes(measured, grown),
               (unsigned long long)grown, 100.0 * ((double)grown / (double)m->peak_bytes - 1));
    print_line(
        c, "        the device handed out %lld bytes, %+lld of the plan; the rest is the driver's or the process's own",
        (long long)s->most_taken, (long long)s->most_taken - (long long)m->peak_bytes);
}

static status finish(call *c, const train_options *o, const screen *s)
{
    if (o->plot) TRY(print_curves(c, o->output, NULL, 0, !c->json));
    if (!c->json) return INGOT_OK;
    json_t *root = json_pack("{s:s, s:I, s:f, s:f, s:f}", "output", o->output, "step",
                             (json_int_t)s->last_step.result.step, "loss", s->last_step.result.loss, "seconds",
                             s->seconds, "tokens_per_second", s->rows / fmax(s->seconds, 1e-9));
    if (root && s->last_evaluation.unit) {
        json_object_set_new(root, "val_loss", json_real(s->last_evaluation.result.loss));
        json_object_set_new(root, "best_val_loss", json_real(s->best_loss));
        if (s->last_evaluation.bits_per_byte > 0)
            json_object_set_new(root, "bits_per_byte", json_real(s->last_evaluation.bits_per_byte));
        if (!strcmp(s->last_evaluation.unit, "img"))
            json_object_set_new(root, "accuracy", json_real(s->last_evaluation.result.metric));
    }
    return print_json(c, root);
}

/* After Ctrl-C a run has its pictures too; the chart is for runs that ended by themselves. */
static status draw_stopped(call *c, const train_options *o)
{
    text why = {0};
    text_puts(&why, ingot_message(c->ctx));
    if (o->plot) (void)print_curves(c, o->output, NULL, 0, false);
    ingot_fail(c->ctx, INGOT_ERROR_INTERRUPTED, "%s", why.at ? why.at : "stopped");
    text_free(&why);
    return INGOT_ERROR_INTERRUPTED;
}

/* ---- the verb ---- */

static status draw_seed(call *c, train_options *o)
{
    if (option_given(c, "seed")) return INGOT_OK;
    uint32_t drawn;
    if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn) return fail_errno(c->ctx, "draw", "a seed");
    o->seed = drawn;
    log_line(c->ctx, INGOT_LOG_INFO, "seed %u (drawn; --seed %u repeats this run)", drawn, drawn);
    return INGOT_OK;
}

static int64_t training_length(const train_options *o, const ingot_model *m)
{
    if (o->batch.context) return o->batch.context;
    int64_t most = ingot_model_describe(m).context;
    return o->model ? MIN(most, 1024) : most;
}

static void say_begin(call *c, const ingot_model *model, ingot_trainer *t, const ingot_train_options *options)
{
    ingot_model_info m = ingot_model_describe(model);
    ingot_train_memory memory = ingot_trainer_memory(t);
    char bytes[24];
    log_line(c->ctx, INGOT_LOG_INFO, "%s: %lld parameters%s, %s of memory, %lld threads", m.family,
             (long long)m.parameters, m.trainable < m.parameters ? " (adapters trained)" : "",
             format_bytes(bytes, (uint64_t)memory.peak_bytes), (long long)c->threads);
    (void)options;
}

static status run_trainer(call *c, train_options *o, ingot_device *d, const ingot_model *m, uint64_t resident)
{
    ingot_train_options options = ingot_train_defaults();
    screen s = {.c = c, .o = o, .device = d, .best_loss = NAN, .resident_before = resident};
    batch_flags_read(c, &o->batch, &options);
    options.length = ingot_model_describe(m).image ? 0 : training_length(o, m);
    options.data = o->data;
    options.output = o->output;
    options.resume = o->resume != NULL;
    options.overwrite = o->overwrite;
    options.rows = o->rows ? row_kinds[o->rows] : NULL;
    options.raw_u16 = o->raw_u16;
    options.steps = o->steps;
    options.seed = (uint64_t)o->seed;
    options.optimizer = optimizer_flags_read(c, &o->optimizer);
    options.eval_every = o->eval_every;
    options.eval_batches = o->eval_batches;
    options.save_every = o->save_every;
    options.keep = (int)o->keep;
    options.ahead = (int)o->ahead;
    options.look_every = o->samples.every;
    options.log_jsonl = o->log_jsonl;
    options.log_csv = o->log_csv;
    options.event = on_event;
    options.user = &s;
    ingot_trainer *t;
    TRY(ingot_trainer_new(d, m, &options, &t));
    say_begin(c, m, t, &options);
    if (!o->optimizer.schedule_steps) o->optimizer.schedule_steps = o->steps; /* a resume keeps it */
    status failed = o->resume ? INGOT_OK : device_keep_tuning(d, o->output);
    if (!failed) failed = write_run_yaml(c, arena_printf(c->arena, "%s/run.yaml", o->output));
    s.sampler = (sampler_of_run){c, &o->samples, d, m, ingot_trainer_store(t), o->data, options.seed, NULL, NULL};
    if (!failed) failed = ingot_trainer_run(t);
    sampler_of_run_close(&s.sampler);
    ingot_train_memory memory = ingot_trainer_memory(t);
    ingot_trainer_free(t);
    if (failed == INGOT_ERROR_INTERRUPTED) return draw_stopped(c, o);
    TRY(failed);
    if (o->report_memory && !c->json) report_memory(c, &memory, &s);
    return finish(c, o, &s);
}

static status run(call *c, void *given)
{
    train_options *o = given;
    TRY(check_usage(c, o));
    if (o->resume) o->output = o->resume;
    TRY(draw_seed(c, o));
    ingot_device *d;
    TRY(o->resume ? device_flags_resume(c, &o->device, o->resume, &d) : device_flags_open(c, &o->device, &d));
    uint64_t resident = device_memory_in_use(d);
    ingot_model *m = NULL;
    status s = make_model(c, o, &m);
    if (!s) s = device_flags_set_dtype(&o->device, m);
    if (!s) s = add_lora(c, o, m);
    if (!s) s = run_trainer(c, o, d, m, resident);
    ingot_model_free(m);
    ingot_device_close(d);
    return s;
}

static status saved_config(call *c, const void *given, const char **path)
{
    const train_options *o = given;
    if (!o->resume) return INGOT_OK;
    *path = arena_printf(c->arena, "%s/run.yaml", o->resume);
    if (!*path) return fail_memory(c->ctx, o->resume, 64);
    const char *last = arena_printf(c->arena, "%s/last", o->resume);
    if (!file_exists(*path) || !last || !file_exists(last))
        return ingot_fail(c->ctx, INGOT_ERROR_FILE,
                          "%s holds no run to go on with: it needs run.yaml and a checkpoint that `last` points to",
                          o->resume);
    return INGOT_OK;
}

const verb verb_train = {
    .name = "train",
    .summary = "train a model on prepared data, or go on with a run",
    .description =
        "Writes a line a step, checkpoints (Hugging Face folders with the training state beside) under "
        "OUTPUT/steps, links `last` and `best` to them, a log and curves. Ctrl-C finishes the step and saves; "
        "--resume goes on as if it had never stopped.",
    .options = {{"Run", OPTIONS(run_lines), 0},
                {"Data", OPTIONS(data_lines), 0},
                SHAPE_TABLE(train_options, shape),
                BATCH_TABLE(train_options, batch),
                OPTIMIZER_TABLE(train_options, optimizer),
                SAMPLE_TABLE(train_options, samples),
                {"Adapters (LoRA)", OPTIONS(lora_lines), 0},
                DEVICE_TABLE(train_options, device)},
    .options_bytes = sizeof(train_options),
    .run = run,
    .saved_config = saved_config,
    .examples = "ingot train --preset tiny-1m --data data --steps 200 --output run\n"
                "ingot train --resume run --steps 400\n"
                "ingot train --model run --data other --output run2\n"
                "ingot train --model base --lora-rank 8 --data data --output adapter\n",
    .outlives_stdout = true,
};
