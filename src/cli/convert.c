/* ingot convert: a model's directory, written anew for others or for a run's weights alone. */
#include "cli/model_options.h"

#include "base/file.h"
#include "ingot/model.h"

#include <stdio.h>

typedef struct convert_options {
    const char *from, *to, *dtype;
    bool overwrite;
} convert_options;

static status refuse_filled(call *c, const char *folder)
{
    char *path = path_join(folder, "config.json");
    bool filled = path && file_exists(path);
    free(path);
    if (!filled) return INGOT_OK;
    return ingot_fail(c->ctx, INGOT_ERROR_ARGUMENT, "%s holds a model already; give another folder or --overwrite",
                      folder);
}

static status run(call *c, void *given)
{
    const convert_options *o = given;
    ingot_dtype dtype;
    if (o->dtype && !ingot_dtype_parse(o->dtype, &dtype))
        return fail_usage(c, "--dtype %s is no dtype; float32, bfloat16 or float16", o->dtype);
    if (o->dtype && dtype != INGOT_F32 && dtype != INGOT_BF16 && dtype != INGOT_F16)
        return fail_usage(c, "--dtype %s: weights are float32, bfloat16 or float16", o->dtype);
    if (!o->overwrite) TRY(refuse_filled(c, o->to));
    ingot_model *m;
    TRY(ingot_model_load(c->ctx, o->from, &m));
    ingot_model_info info = ingot_model_describe(m);
    status s = ingot_model_convert(m, o->to, o->dtype ? &dtype : NULL);
    if (!s && c->json)
        s = print_json(c, json_pack("{s:s, s:s, s:s, s:I}", "from", info.directory, "to", o->to, "model_type",
                                    info.model_type, "parameters", (json_int_t)info.parameters));
    else if (!s && !c->quiet)
        printf("%s: %s, %lld parameters, from %s\n", o->to, info.model_type, (long long)info.parameters,
               info.directory);
    ingot_model_free(m);
    return s;
}

static const option options[] = {
    {"from", STRING_AT(convert_options, from), "DIR",
     "a run (its last checkpoint), a checkpoint or a Hugging Face folder", .required = true},
    {"to", STRING_AT(convert_options, to), "DIR", "the Hugging Face folder to make", .required = true},
    {"dtype", STRING_AT(convert_options, dtype), "DTYPE", "float32, bfloat16 or float16", .initial_help = "as they are",
     .names = names_of_dtypes},
    {"overwrite", BOOL_AT(convert_options, overwrite), NULL, "replace the model that --to holds", .transient = true},
};

const verb verb_convert = {
    .name = "convert",
    .summary = "write a model as a Hugging Face folder",
    .description =
        "Writes config.json, generation_config.json, model.safetensors and the tokenizer's files, as transformers "
        "loads them. Shards become one file, LoRA adapters are merged into their base, a run's training "
        "state stays behind.",
    .run = run,
    .options_bytes = sizeof(convert_options),
    .options = {{NULL, OPTIONS(options), 0}},
    .examples = "ingot convert --from run --to hf_dir\n"
                "ingot convert --from run/best --to small --dtype bfloat16\n",
};
