/* ingot eval */
#include "cli/model_options.h"
#include "ingot/train.h"

#include <stdio.h>

typedef struct eval_options {
    device_flags device;
    const char *model, *data, *split;
    int rows;
    int64_t batch_size, context, batches;
    bool raw_u16;
} eval_options;

static const char *const row_kinds[] = {"data", "stream", "document", NULL};

static const option lines[] = {
    {"model", STRING_AT(eval_options, model), "DIR", "a run, a checkpoint or a Hugging Face folder", .short_name = "m",
     .required = true},
    {"data", STRING_AT(eval_options, data), "DIR",
     "folder of `ingot data prepare`, a token file (.bin), or a glob of shards", .required = true},
    {"split", STRING_AT(eval_options, split), "NAME", "train or val", .initial = "val"},
    {"rows", CHOICE_AT(eval_options, rows), NULL,
     "stream: consecutive windows; document: packed and kept apart; data: as it was prepared", .initial = "data",
     .choices = row_kinds},
    {"context", INT_AT(eval_options, context), "T", "predictions of a window", .short_name = "c",
     .initial_help = "what the model was made for, at most 1024", .range = BETWEEN(1, 1 << 20)},
    {"batch-size", INT_AT(eval_options, batch_size), "B", "windows at once", .initial = "8",
     .range = BETWEEN(1, 65536)},
    {"batches", INT_AT(eval_options, batches), "N", "at most this many batches; 0: the whole split", .initial = "0",
     .range = AT_LEAST(0)},
    {"raw-u16", BOOL_AT(eval_options, raw_u16), NULL, "token files without header, 16 bits a token (nanoGPT)"},
};

static status answer(call *c, const ingot_model *m, const ingot_evaluation *e)
{
    bool pictures = ingot_model_describe(m).image > 0;
    if (c->json) {
        json_t *root =
            json_pack("{s:f, s:f, s:I}", "loss", e->loss, "perplexity", e->perplexity, "tokens", (json_int_t)e->tokens);
        if (root && pictures) json_object_set_new(root, "accuracy", json_real(e->accuracy));
        if (root)
            json_object_set_new(root, "bits_per_byte",
                                e->bits_per_byte > 0 ? json_real(e->bits_per_byte) : json_null());
        return print_json(c, root);
    }
    print_line(c, "loss           %.6f nats a %s", e->loss, pictures ? "picture" : "token");
    if (e->bits_per_byte > 0) print_line(c, "bits per byte  %.6f", e->bits_per_byte);
    if (pictures)
        print_line(c, "accuracy       %.2f %%", 100 * e->accuracy);
    else
        print_line(c, "perplexity     %.4f", e->perplexity);
    print_line(c, "%s %lld", pictures ? "pictures      " : "tokens        ", (long long)e->tokens);
    return INGOT_OK;
}

static status run(call *c, void *given)
{
    const eval_options *o = given;
    ingot_device *d;
    TRY(device_flags_open(c, &o->device, &d));
    ingot_model *m = NULL;
    ingot_evaluation found;
    status s = ingot_model_load(c->ctx, o->model, &m);
    if (!s) s = device_flags_set_dtype(&o->device, m);
    if (!s) {
        ingot_eval_options options = {.data = o->data,
                                      .split = o->split,
                                      .rows = o->rows ? row_kinds[o->rows] : NULL,
                                      .raw_u16 = o->raw_u16,
                                      .batch_size = o->batch_size,
                                      .length = o->context ? o->context : MIN(ingot_model_describe(m).context, 1024),
                                      .batches = o->batches};
        s = ingot_evaluate(d, m, &options, &found);
    }
    if (!s) s = answer(c, m, &found);
    ingot_model_free(m);
    ingot_device_close(d);
    return s;
}

const verb verb_eval = {
    .name = "eval",
    .summary = "measure a model on data: loss, bits per byte, perplexity",
    .description = "Every token of the split is predicted once, in windows of --context predictions that follow each "
                   "other. Bits per byte = nats / ln 2 / bytes of text; the token that ends documents adds nats and no "
                   "bytes.",
    .options = {{NULL, OPTIONS(lines), 0}, DEVICE_TABLE(eval_options, device)},
    .options_bytes = sizeof(eval_options),
    .run = run,
    .examples = "ingot eval --model run --data data\n"
                "ingot eval --model run/best --data data --split train --json\n",
};
