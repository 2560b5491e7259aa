/* ingot demo: the whole main job on the embedded stories, whose entropy is known, so that one sees how far a model is from
 * the best that there can be.
 */
#include "cli/train.h"

#include "base/file.h"
#include "ingot/data.h"
#include "ingot/generate.h"
#include "ingot/tokenizer.h"
#include "train/metrics.h"

#include <math.h>
#include <stdio.h>

enum {
    VOCAB_SIZE = 1776,
    CONTEXT = 128,
    BATCH_SIZE = 8,
    NGRAM_ORDER = 5,
    SAMPLES_AT_ONCE = 25,
    VAL_BYTES = 100000, /* about 450 stories */
    LINES = 20,         /* of steps on the screen */
    SHOWN_STORIES = 3
};

typedef struct demo_options {
    device_flags device;
    const char *output;
    int64_t steps, seed, bytes, samples;
    double temperature;
} demo_options;

static const option lines[] = {
    {"output", STRING_AT(demo_options, output), "DIR", "folder for all that it makes; replaced when it is there",
     .short_name = "o", .initial = "demo"},
    {"steps", INT_AT(demo_options, steps), "N", "training steps", .short_name = "n", .initial = "5600",
     .range = BETWEEN(1, 1000000)},
    {"bytes", SIZE_AT(demo_options, bytes), "N", "text to make; 0: enough for every step to see new stories",
     .initial = "0", .range = AT_LEAST(0)},
    {"samples", INT_AT(demo_options, samples), "N", "stories to write at the end and to show the grammar",
     .initial = "200", .range = BETWEEN(1, 100000)},
    {"temperature", DOUBLE_AT(demo_options, temperature), "T", "of those stories; 1: as the model has learned them",
     .initial = "0.8", .range = AT_LEAST(0)},
    {"seed", INT_AT(demo_options, seed), "N", "of stories, weights and samples", .initial = "1", .range = AT_LEAST(0)},
};

typedef struct demo {
    call *c;
    const demo_options *o;
    char *stories, *tokenizer, *data, *run; /* paths */
    int64_t steps_shown;
    ingot_story_check floor;       /* of the val stories */
    double floor_loss, ngram_loss; /* nats a token of the val split */
    double val_bytes_per_token;
    ingot_evaluation found;
    int64_t accepted;
    double seconds; /* of training */
    int vocab_size;
} demo;

#define SAY(d, ...)                                                                                                    \
    do {                                                                                                               \
        if (!(d)->c->json) print_line((d)->c, __VA_ARGS__);                                                            \
    } while (0)

/* ---- text, tokenizer, tokens ---- */

/* A step reads about 1,000 tokens of 4.3 bytes. */
static int64_t wanted_bytes(const demo_options *o)
{
    return o->bytes ? o->bytes : MAX(1000000, o->steps * 4600);
}

typedef struct story_source {
    demo *d;
    uint64_t next, count;
    char story[INGOT_STORY_BYTES];
} story_source;

static status next_story(void *user, const char **bytes, int64_t *count)
{
    story_source *s = user;
    *bytes = s->story;
    *count = s->next < s->count ? ingot_story((uint64_t)s->d->o->seed, s->next++, s->story, NULL) : -1;
    return INGOT_OK;
}

static status train_tokenizer(demo *d)
{
    story_source source = {.d = d, .count = 20000};
    ingot_tokenizer *t;
    TRY(ingot_tokenizer_train(d->c->ctx, &(ingot_tokenizer_training){.vocab_size = VOCAB_SIZE}, next_story, &source,
                              &t));
    d->vocab_size = ingot_tokenizer_vocab_size(t);
    status s = ingot_tokenizer_save(t, d->tokenizer);
    ingot_tokenizer_free(t);
    return s;
}

static status prepare(demo *d)
{
    const char *inputs[] = {d->stories};
    ingot_prepare_report report;
    const ingot_prepare_options options = {.inputs = inputs,
                                           .input_count = 1,
                                           .tokenizer = d->tokenizer,
                                           .output = d->data,
                                           .val_fraction = MIN(0.1, (double)VAL_BYTES / (double)wanted_bytes(d->o)),
                                           .rows = "document",
                                           .overwrite = 1};
    TRY(ingot_data_prepare(d->c->ctx, &options, &report));
    char size[24];
    SAY(d, "text        %lld stories, %s; %lld of them kept for validation",
        (long long)(report.train.documents + report.val.documents),
        format_bytes(size, (uint64_t)(report.train.text_bytes + report.val.text_bytes)),
        (long long)report.val.documents);
    SAY(d, "tokenizer   %d entries, %.2f bytes a token", d->vocab_size,
        (double)report.train.text_bytes / (double)report.train.tokens);
    return INGOT_OK;
}

/* ---- what there is to compare with ---- */

static status measure_ngram(demo *d, const ingot_data *train, const ingot_data *val, double *nats, int64_t *tokens)
{
    ingot_ngram *n;
    TRY(ingot_ngram_train(train, NGRAM_ORDER, d->vocab_size, &n));
    status s = ingot_ngram_evaluate(n, val, nats, tokens);
    ingot_ngram_free(n);
    return s;
}

static status compare_on(demo *d, const ingot_data *train, const ingot_data *val, const ingot_tokenizer *t)
{
    double nats = 0;
    int64_t tokens = 0;
    TRY(ingot_data_check_stories(val, t, &d->floor));
    TRY(measure_ngram(d, train, val, &nats, &tokens));
    if (d->floor.accepted < d->floor.documents || !tokens)
        return ingot_fail(d->c->ctx, INGOT_ERROR_INTERNAL, "%lld of %lld val stories are not the grammar's",
                          (long long)(d->floor.documents - d->floor.accepted), (long long)d->floor.documents);
    d->floor_loss = d->floor.bits * log(2) / (double)tokens;
    d->ngram_loss = nats / (double)tokens;
    d->val_bytes_per_token = (double)d->floor.bytes / (double)tokens;
    SAY(d, "floor       %.4f bits per byte: the stories' own entropy, which no model can beat",
        d->floor.bits / (double)d->floor.bytes);
    SAY(d, "%d-gram      %.4f bits per byte: interpolated Kneser-Ney over the same tokens", NGRAM_ORDER,
        nats / log(2) / (double)d->floor.bytes);
    return INGOT_OK;
}

static status compare(demo *d)
{
    ingot_tokenizer *t = NULL;
    ingot_data *train = NULL, *val = NULL;
    status s = ingot_tokenizer_load(d->c->ctx, d->tokenizer, &t);
    if (!s) s = ingot_data_open(d->c->ctx, d->data, "train", NULL, &train);
    if (!s) s = ingot_data_open(d->c->ctx, d->data, "val", NULL, &val);
    if (!s) s = compare_on(d, train, val, t);
    ingot_data_free(train);
    ingot_data_free(val);
    ingot_tokenizer_free(t);
    return s;
}

/* ---- training ---- */

static double floor_bits(const demo *d)
{
    return d->floor.bits / (double)d->floor.bytes;
}

static status on_event(void *user, const ingot_train_event *e)
{
    demo *d = user;
    if (e->kind == INGOT_TRAIN_EVALUATION) {
        SAY(d, "            val %.4f bits per byte, %.2fx of the floor", e->bits_per_byte,
            e->bits_per_byte / floor_bits(d));
        return INGOT_OK;
    }
    if (e->kind != INGOT_TRAIN_STEP) return INGOT_OK;
    d->seconds += e->seconds;
    int64_t every = MAX(1, e->steps / LINES);
    if (e->result.step != 1 && e->result.step % every) return INGOT_OK;
    text line = {0};
    step_line(&line, e);
    if (line.at) SAY(d, "%s", line.at);
    text_free(&line);
    return INGOT_OK;
}

static ingot_train_options training(demo *d)
{
    ingot_train_options o = ingot_train_defaults();
    o.data = d->data;
    o.output = d->run;
    o.overwrite = 1;
    o.steps = d->o->steps;
    o.batch_size = BATCH_SIZE;
    o.length = CONTEXT;
    o.seed = (uint64_t)d->o->seed;
    o.optimizer = ingot_optimizer_defaults(1.5e-3, o.steps);
    o.optimizer.weight_decay = 0; /* no story comes twice: there is nothing to overfit */
    o.optimizer.schedule.warmup = MIN(50, o.steps / 4);
    o.optimizer.schedule.final_ratio = 0.05;
    o.eval_every = MAX(1, o.steps / 8);
    o.keep = 1;
    o.event = on_event;
    o.user = d;
    return o;
}

static status train(demo *d, ingot_device *device)
{
    const int32_t eos = 0;
    const ingot_model_options shape = {.preset = "tiny-1m",
                                       .vocab_size = d->vocab_size,
                                       .context = CONTEXT,
                                       .tied = INGOT_NO,
                                       .eos_tokens = &eos,
                                       .eos_count = 1};
    ingot_model *m;
    TRY(ingot_model_new(d->c->ctx, &shape, &m));
    status s = device_flags_set_dtype(&d->o->device, m);
    ingot_train_options options = training(d);
    SAY(d, "model       %lld parameters: llama, 4 layers of width 128; %lld steps of %d rows of %d tokens",
        (long long)ingot_model_describe(m).parameters, (long long)options.steps, BATCH_SIZE, CONTEXT);
    ingot_trainer *t = NULL;
    if (!s) s = ingot_trainer_new(device, m, &options, &t);
    if (!s) s = write_run_yaml(d->c, arena_printf(d->c->arena, "%s/run.yaml", d->run));
    if (!s) s = ingot_trainer_run(t);
    if (t) ingot_trainer_free(t);
    ingot_model_free(m);
    return s;
}

/* ---- what it learned ---- */

static status evaluate(demo *d, ingot_device *device, const ingot_model *m)
{
    TRY(ingot_evaluate(device, m, &(ingot_eval_options){.data = d->data, .length = CONTEXT}, &d->found));
    SAY(d, "model       %.4f bits per byte on %lld val tokens: %.2fx of the floor (the %d-gram: %.2fx)",
        d->found.bits_per_byte, (long long)d->found.tokens, d->found.bits_per_byte / floor_bits(d), NGRAM_ORDER,
        d->ngram_loss / d->floor_loss);
    return INGOT_OK;
}

static void show(demo *d, const ingot_completion *c, bool accepted)
{
    SAY(d, "  [%s] %s", accepted ? "in the grammar" : "not in the grammar", c->text);
}

static status sample(demo *d, ingot_device *device, const ingot_model *m)
{
    ingot_session *s;
    TRY(ingot_session_new(
        m, device, &(ingot_session_options){.sequences = SAMPLES_AT_ONCE, .context = CONTEXT, .page_size = 32}, &s));
    const ingot_request request = {.prompt = "",
                                   .samples = d->o->samples,
                                   .sampling = {.temperature = d->o->temperature, .seed = (uint64_t)d->o->seed}};
    ingot_completions *all = NULL;
    SAY(d, "it writes");
    status failed = ingot_generate(s, &request, 1, NULL, NULL, &all);
    for (int64_t i = 0; !failed && i < all->count; i++) {
        const ingot_completion *one = &all->at[i];
        bool accepted = ingot_story_accepts(one->text, one->bytes, NULL);
        d->accepted += accepted;
        if (i < SHOWN_STORIES) show(d, one, accepted);
    }
    ingot_completions_free(all);
    ingot_session_free(s);
    return failed;
}

static status look(demo *d, ingot_device *device)
{
    ingot_model *m;
    TRY(ingot_model_load(d->c->ctx, d->run, &m));
    status s = device_flags_set_dtype(&d->o->device, m);
    if (!s) s = evaluate(d, device, m);
    if (!s) s = sample(d, device, m);
    ingot_model_free(m);
    TRY(s);
    SAY(d, "  %.1f %% of %lld stories sampled at temperature %g are in the grammar",
        100.0 * (double)d->accepted / (double)d->o->samples, (long long)d->o->samples, d->o->temperature);
    const curve_level levels[] = {{"floor", d->floor_loss}, {"5-gram", d->ngram_loss}};
    return print_curves(d->c, d->run, levels, (int)COUNT(levels), !d->c->json);
}

static status answer(demo *d)
{
    if (!d->c->json) {
        SAY(d, "curves      %s/loss.png", d->run);
        SAY(d, "next        ingot generate --model %s --prompt \"\"", d->run);
        return INGOT_OK;
    }
    double floor = floor_bits(d);
    return print_json(d->c,
                      json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "output", d->o->output, "steps",
                                (json_int_t)d->o->steps, "training_seconds", d->seconds, "bits_per_byte",
                                d->found.bits_per_byte, "floor", floor, "of_floor", d->found.bits_per_byte / floor,
                                "ngram_bits_per_byte", d->ngram_loss / log(2) / d->val_bytes_per_token, "parsed",
                                (double)d->accepted / (double)d->o->samples));
}

static status run_demo(demo *d, ingot_device *device)
{
    TRY(directory_create(d->c->ctx, d->o->output));
    TRY(ingot_stories_make(d->c->ctx, d->stories, (uint64_t)d->o->seed, wanted_bytes(d->o)));
    TRY(train_tokenizer(d));
    TRY(prepare(d));
    TRY(compare(d));
    TRY(train(d, device));
    TRY(look(d, device));
    return answer(d);
}

static status run(call *c, void *given)
{
    const demo_options *o = given;
    demo d = {.c = c, .o = o};
    d.stories = arena_printf(c->arena, "%s/stories.txt", o->output);
    d.tokenizer = arena_printf(c->arena, "%s/tokenizer.json", o->output);
    d.data = arena_printf(c->arena, "%s/data", o->output);
    d.run = arena_printf(c->arena, "%s/run", o->output);
    if (!d.stories || !d.tokenizer || !d.data || !d.run) return fail_memory(c->ctx, o->output, 64);
    ingot_device *device;
    TRY(device_flags_open(c, &o->device, &device));
    status s = run_demo(&d, device);
    ingot_device_close(device);
    return s;
}

const verb verb_demo = {
    .name = "demo",
    .summary = "learn the embedded stories in about two minutes, from text to a model that tells them",
    .description = "Makes stories with a known entropy, trains a tokenizer and a transformer of about a million "
                   "parameters on them, and shows how near it comes to the floor that no model can beat, beside an "
                   "interpolated Kneser-Ney 5-gram; then samples stories and asks the grammar about them.",
    .options = {{NULL, OPTIONS(lines), 0}, DEVICE_TABLE(demo_options, device)},
    .options_bytes = sizeof(demo_options),
    .run = run,
    .examples = "ingot demo\n"
                "ingot demo --steps 9000 --output long\n",
};
