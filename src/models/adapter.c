/* PEFT directories: adapter_config.json and adapter_model.safetensors. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "models/model.h"

#include "formats/archive.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST_CONFIG_BYTES (1u << 20)
#define PREFIX            "base_model.model."

static void must_be(json_fields *f, const char *key, const char *wanted)
{
    const char *is = field_string_or(f, key, wanted);
    if (is && strcmp(is, wanted)) field_refuse(f, key, "must be \"%s\", is \"%s\"", wanted, is);
}

/* What would change the model and is not computed here. */
static void refuse_unknown(json_fields *f)
{
    static const char *const empty[] = {"rank_pattern",
                                        "alpha_pattern",
                                        "modules_to_save",
                                        "layers_to_transform",
                                        "layer_replication",
                                        "target_parameters",
                                        "exclude_modules",
                                        "trainable_token_indices",
                                        "alora_invocation_tokens",
                                        "arrow_config",
                                        NULL};
    must_be(f, "peft_type", "LORA");
    must_be(f, "bias", "none");
    if (field_bool_or(f, "use_dora", false)) field_refuse(f, "use_dora", "must be false: DoRA is not known");
    if (field_bool_or(f, "lora_bias", false)) field_refuse(f, "lora_bias", "must be false");
    if (field_bool_or(f, "use_qalora", false)) field_refuse(f, "use_qalora", "must be false");
    if (field_bool_or(f, "use_bdlora", false)) field_refuse(f, "use_bdlora", "must be false");
    for (const char *const *key = empty; *key && !f->error; key++) {
        const json_t *v = json_object_get(f->object, *key);
        bool some = json_is_object(v)  ? json_object_size(v)
                    : json_is_array(v) ? json_array_size(v)
                                       : v && !json_is_null(v);
        if (some) field_refuse(f, *key, "must be empty: it is not known");
    }
}

static void read_targets(json_fields *f, arena *a, lora_config *lora)
{
    const json_t *v = f->error ? NULL : json_object_get(f->object, "target_modules");
    if (json_is_string(v) && !strcmp(json_string_value(v), "all-linear")) return;
    if (!json_is_array(v) || !json_array_size(v) || json_array_size(v) >= LORA_MOST_TARGETS) {
        field_refuse(f, "target_modules", "must be \"all-linear\" or a list of 1 to %d layer names",
                     LORA_MOST_TARGETS - 1);
        return;
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *name = json_string_value(json_array_get(v, i));
        if (!name) field_refuse(f, "target_modules", "must be a list of strings");
        lora->targets[i] = name ? arena_strdup(a, name) : NULL;
    }
}

static void read_fields(json_fields *f, arena *a, lora_config *lora, char **base)
{
    refuse_unknown(f);
    lora->rank = field_int_or(f, "r", 1, CONFIG_MOST_SIZE, 8);
    lora->alpha = field_double_or(f, "lora_alpha", 8);
    lora->dropout = field_double_or(f, "lora_dropout", 0);
    lora->rank_stabilized = field_bool_or(f, "use_rslora", false);
    if (!isfinite(lora->alpha)) field_refuse(f, "lora_alpha", "must be a number");
    if (!(lora->dropout >= 0 && lora->dropout < 1)) field_refuse(f, "lora_dropout", "must be from 0 to less than 1");
    read_targets(f, a, lora);
    const char *path = field_string(f, "base_model_name_or_path");
    *base = path ? arena_strdup(a, path) : NULL;
}

static status read_root(context *ctx, const char *name, const json_t *root, arena *a, lora_config *lora, char **base)
{
    *lora = (lora_config){0};
    json_fields f = json_fields_of(ctx, name, root);
    if (!f.error) read_fields(&f, a, lora, base);
    return f.error;
}

status adapter_config_parse(context *ctx, const char *name, const char *bytes, uint64_t count, arena *a,
                            lora_config *lora, char **base)
{
    json_t *root;
    TRY(json_read(ctx, name, bytes, count, &root));
    status s = read_root(ctx, name, root, a, lora, base);
    json_decref(root);
    return s;
}

status adapter_config_read(context *ctx, const char *directory, arena *a, lora_config *lora, char **base)
{
    char *path = path_join(directory, "adapter_config.json");
    if (!path) return fail_memory(ctx, "a path", 0);
    json_t *root = NULL;
    status s = json_read_file(ctx, path, MOST_CONFIG_BYTES, &root);
    if (!s) s = read_root(ctx, path, root, a, lora, base);
    json_decref(root);
    free(path);
    return s;
}

static json_t *config_object(const ingot_model *m)
{
    const lora_config *c = &m->lora;
    json_t *targets = c->targets[0] ? json_array() : json_string("all-linear");
    for (int i = 0; i < LORA_MOST_TARGETS && c->targets[i]; i++)
        json_array_append_new(targets, json_string(c->targets[i]));
    char *base = m->directory ? realpath(m->directory, NULL) : NULL;
    json_t *root = json_pack(
        "{s:s, s:I, s:f, s:f, s:o, s:s, s:s, s:o, s:b, s:b, s:b, s:b, s:n, s:{}, s:{}, s:n, s:b}", "peft_type", "LORA",
        "r", (json_int_t)c->rank, "lora_alpha", c->alpha, "lora_dropout", c->dropout, "target_modules", targets, "bias",
        "none", "task_type", "CAUSAL_LM", "base_model_name_or_path", base ? json_string(base) : json_null(),
        "fan_in_fan_out", m->config.family->conv1d, "use_dora", 0, "use_rslora", c->rank_stabilized, "inference_mode",
        1, "modules_to_save", "rank_pattern", "alpha_pattern", "layers_to_transform", "init_lora_weights", 1);
    free(base);
    return root;
}

status adapter_write(const ingot_model *m, ingot_store *store, const char *directory)
{
    char *config = path_join(directory, "adapter_config.json");
    char *weights = path_join(directory, "adapter_model.safetensors");
    json_t *root = config_object(m);
    status s = config && weights && root ? INGOT_OK : fail_memory(m->ctx, "adapter_config.json", 0);
    const tensor_file file = {.adapters = true, .as_stored = true, .prefix = PREFIX};
    if (!s) s = model_write_tensors(m, weights, &file, model_read_store, store);
    if (!s) s = json_write_file(m->ctx, config, root);
    json_decref(root);
    free(config);
    free(weights);
    return s;
}

status adapter_find(const ingot_model *m, const archive *a, const param *p, const archive_tensor **out)
{
    text name = {0};
    char found[192], wanted[128];
    text_printf(&name, PREFIX "%s", p->name);
    const archive_tensor *t = *out = name.failed ? NULL : archive_find(a, name.at);
    status s = INGOT_OK;
    bool fits = t && t->readable && t->dims == 2 && t->shape[0] == p->shape.dim[0] && t->shape[1] == p->shape.dim[1];
    if (!t)
        s = ingot_fail(m->ctx, INGOT_ERROR_FORMAT, "%s: tensor %s is missing; adapter_config.json asks for it",
                       archive_path(a), name.at ? name.at : p->name);
    else if (!fits)
        s = ingot_fail(m->ctx, INGOT_ERROR_FORMAT,
                       "%s: tensor %s is %s %s, by adapter_config.json and the base it is %s", archive_path(a), t->name,
                       t->format, archive_shape_text(t, found), shape_print(wanted, p->shape));
    text_free(&name);
    return s;
}

static status check_all(const ingot_model *m, const archive *a)
{
    int64_t adapters = 0;
    for (int64_t i = 0; i < m->params->params.count; i++) {
        const archive_tensor *t;
        if (!m->params->params.at[i].adapter) continue;
        TRY(adapter_find(m, a, &m->params->params.at[i], &t));
        adapters++;
    }
    if (archive_count(a) == adapters) return INGOT_OK;
    return ingot_fail(m->ctx, INGOT_ERROR_FORMAT,
                      "%s holds %lld tensors; by adapter_config.json and the base it is %lld", archive_path(a),
                      (long long)archive_count(a), (long long)adapters);
}

status adapter_open(const ingot_model *m, archive **out)
{
    *out = NULL;
    char *path = path_join(m->adapter_directory, "adapter_model.safetensors");
    if (!path) return fail_memory(m->ctx, "a path", 0);
    archive *a = NULL;
    status s = archive_open(m->ctx, path, &a);
    free(path);
    if (!s) s = check_all(m, a);
    if (s)
        archive_close(a);
    else
        *out = a;
    return s;
}

static status read_one(const ingot_model *m, const archive *a, const param *p, ingot_store *store)
{
    const archive_tensor *t;
    TRY(adapter_find(m, a, p, &t));
    int64_t bytes = param_elements(p) * ingot_dtype_bytes(p->dtype);
    void *values = malloc((size_t)bytes);
    status s = values ? archive_read(a, t, p->dtype, values) : fail_memory(m->ctx, p->name, (uint64_t)bytes);
    if (!s) s = ingot_store_write(store, p->name, values, bytes);
    free(values);
    return s;
}

status adapter_read(const ingot_model *m, ingot_store *store)
{
    archive *a;
    TRY(adapter_open(m, &a));
    status s = INGOT_OK;
    for (int64_t i = 0; i < m->params->params.count && !s; i++)
        if (m->params->params.at[i].adapter) s = read_one(m, a, &m->params->params.at[i], store);
    archive_close(a);
    return s;
}
