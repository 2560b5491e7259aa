/* config.json and generation_config.json of Hugging Face, read and written by the families' tables of keys. */
#include "models/model.h"

#include "ingot/tokenizer.h"

#define MOST_CONFIG_BYTES (1u << 20)

static const char *const activation_names[] = {
    [GELU_TANH] = "gelu_new", [GELU_ERF] = "gelu", [RELU] = "relu", [SILU] = "silu"};

activation activation_read(json_fields *f, const char *key, activation fallback)
{
    const char *name = field_string_or(f, key, activation_names[fallback]);
    if (f->error || !name) return fallback;
    for (size_t i = 0; i < COUNT(activation_names); i++)
        if (!strcmp(name, activation_names[i])) return (activation)i;
    if (!strcmp(name, "gelu_pytorch_tanh") || !strcmp(name, "gelu_fast")) return GELU_TANH;
    if (!strcmp(name, "swish")) return SILU;
    field_refuse(f, key, "is \"%s\"; Ingot knows gelu_new, gelu, relu, silu", name);
    return fallback;
}

const char *activation_name(activation a)
{
    return activation_names[a];
}

static void read_key(json_fields *f, const config_key *k, config *c)
{
    void *at = (char *)c + k->at;
    switch (k->kind) {
    case KEY_INT: *(int64_t *)at = field_int_or(f, k->name, 1, CONFIG_MOST_SIZE, (int64_t)k->fallback); break;
    case KEY_DOUBLE: *(double *)at = field_double_or(f, k->name, k->fallback); break;
    case KEY_BOOL: *(bool *)at = field_bool_or(f, k->name, k->fallback != 0); break;
    }
}

static json_t *write_key(const config_key *k, const config *c)
{
    const void *at = (const char *)c + k->at;
    switch (k->kind) {
    case KEY_INT: return json_integer(*(const int64_t *)at);
    case KEY_DOUBLE: return json_real(*(const double *)at);
    case KEY_BOOL: return json_boolean(*(const bool *)at);
    }
    return NULL;
}

/* ---- end-of-text ids ---- */

static void add_eos(json_fields *f, config *c, const json_t *id)
{
    if (c->eos_count == CONFIG_MOST_EOS) {
        field_refuse(f, "eos_token_id", "has more than %d ids", CONFIG_MOST_EOS);
    } else if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX) {
        field_refuse(f, "eos_token_id", "must be an id or a list of ids");
    } else {
        c->eos[c->eos_count++] = (int32_t)json_integer_value(id);
    }
}

/* Both files have these two; what generation_config.json says wins. */
static void read_ends(json_fields *f, config *c)
{
    if (f->error) return;
    if (field_has(f, "bos_token_id")) c->bos = field_int_or(f, "bos_token_id", 0, INT32_MAX, -1);
    const json_t *eos = json_object_get(f->object, "eos_token_id");
    if (!eos || json_is_null(eos)) return;
    c->eos_count = 0;
    if (!json_is_array(eos)) {
        add_eos(f, c, eos);
        return;
    }
    for (size_t i = 0; i < json_array_size(eos); i++) add_eos(f, c, json_array_get(eos, i));
}

static void write_ends(const config *c, json_t *root)
{
    json_object_set_new(root, "bos_token_id", c->bos < 0 ? json_null() : json_integer(c->bos));
    json_t *eos = c->eos_count ? json_integer(c->eos[0]) : json_null();
    if (c->eos_count > 1) {
        json_decref(eos);
        eos = json_array();
        for (int64_t i = 0; i < c->eos_count; i++) json_array_append_new(eos, json_integer(c->eos[i]));
    }
    json_object_set_new(root, "eos_token_id", eos);
}

/* ---- config.json ---- */

static const model_family *family_of_type(json_fields *f)
{
    const char *type = field_string(f, "model_type");
    if (!type) return NULL;
    text known = {0};
    for (const model_family *const *at = model_families; *at; at++) {
        if (((*at)->model_type && !strcmp((*at)->model_type, type)) || !strcmp((*at)->own_type, type)) {
            text_free(&known);
            return *at;
        }
        if ((*at)->model_type) text_printf(&known, "%s%s", known.length ? ", " : "", (*at)->model_type);
    }
    field_refuse(f, "model_type", "is \"%s\"; Ingot knows %s, and its own ingot_<family>", type,
                 known.at ? known.at : "");
    text_free(&known);
    return NULL;
}

static status read_fields(context *ctx, json_fields *f, config *c)
{
    c->family = family_of_type(f);
    if (!c->family) return f->error;
    c->bos = -1;
    for (int i = 0; i < c->family->key_count; i++) read_key(f, &c->family->keys[i], c);
    if (c->family->read) c->family->read(f, c);
    read_ends(f, c);
    if (f->error) return f->error;
    return config_finish(ctx, c);
}

static status read_root(context *ctx, const char *name, const json_t *root, config *out)
{
    json_fields f = json_fields_of(ctx, name, root);
    return f.error ? f.error : read_fields(ctx, &f, out);
}

status config_parse(context *ctx, const char *name, const char *bytes, uint64_t count, config *out)
{
    *out = (config){0};
    json_t *root;
    TRY(json_read(ctx, name, bytes, count, &root));
    status s = read_root(ctx, name, root, out);
    json_decref(root);
    return s;
}

status config_read(context *ctx, const char *directory, config *out)
{
    *out = (config){0};
    char *path = path_join(directory, "config.json");
    if (!path) return fail_memory(ctx, "a path", 0);
    json_t *root = NULL;
    status s = json_read_file(ctx, path, MOST_CONFIG_BYTES, &root);
    if (!s) s = read_root(ctx, path, root, out);
    json_decref(root);
    free(path);
    return s ? s : generation_config_read(ctx, directory, out);
}

const char *config_model_type(const config *c)
{
    const model_family *f = c->family;
    return f->model_type && (!f->hf_can || f->hf_can(c)) ? f->model_type : f->own_type;
}

status config_write(context *ctx, const char *directory, const config *c, dtype d)
{
    const char *type = config_model_type(c);
    json_t *root = json_object();
    if (type != c->family->own_type) json_object_set_new(root, "architectures", json_pack("[s]", c->family->hf_class));
    json_object_set_new(root, "model_type", json_string(type));
    for (int i = 0; i < c->family->key_count; i++)
        json_object_set_new(root, c->family->keys[i].name, write_key(&c->family->keys[i], c));
    if (c->family->write) c->family->write(c, root);
    if (c->vocab_size) write_ends(c, root);
    /* transformers 4 reads the first, 5 the second. */
    json_object_set_new(root, "torch_dtype", json_string(ingot_dtype_name(d)));
    json_object_set_new(root, "dtype", json_string(ingot_dtype_name(d)));
    char *path = path_join(directory, "config.json");
    status s = path && root ? json_write_file(ctx, path, root) : fail_memory(ctx, "config.json", 0);
    json_decref(root);
    free(path);
    return s;
}

/* ---- generation_config.json ---- */

status generation_config_read(context *ctx, const char *directory, config *c)
{
    char *path = path_join(directory, "generation_config.json");
    if (!path) return fail_memory(ctx, "a path", 0);
    json_t *root = NULL;
    status s = INGOT_OK;
    if (file_exists(path)) s = json_read_file(ctx, path, MOST_CONFIG_BYTES, &root);
    if (root) {
        json_fields f = json_fields_of(ctx, path, root);
        read_ends(&f, c);
        s = f.error;
    }
    json_decref(root);
    free(path);
    return s;
}

status generation_config_write(context *ctx, const char *directory, const config *c)
{
    char *path = path_join(directory, "generation_config.json");
    json_t *root = json_object();
    write_ends(c, root);
    status s = path && root ? json_write_file(ctx, path, root) : fail_memory(ctx, "generation_config.json", 0);
    json_decref(root);
    free(path);
    return s;
}

/* ---- tokenizer_config.json ---- */

static status name_ends(context *ctx, const char *tokenizer, const config *c, json_t *root)
{
    ingot_tokenizer *t;
    TRY(ingot_tokenizer_load(ctx, tokenizer, &t));
    const char *bos = c->bos >= 0 ? ingot_token_spelling(t, (int)c->bos) : NULL;
    const char *eos = c->eos_count ? ingot_token_spelling(t, c->eos[0]) : NULL;
    if (bos) json_object_set_new(root, "bos_token", json_string(bos));
    if (eos) json_object_set_new(root, "eos_token", json_string(eos));
    ingot_tokenizer_free(t);
    return INGOT_OK;
}

status tokenizer_config_write(context *ctx, const char *directory, const config *c)
{
    char *path = path_join(directory, "tokenizer_config.json"), *tokenizer = path_join(directory, "tokenizer.json");
    status s = path && tokenizer ? INGOT_OK : fail_memory(ctx, "a path", 0);
    if (!s && file_exists(tokenizer) && !file_exists(path)) {
        json_t *root =
            json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0);
        s = root ? name_ends(ctx, tokenizer, c, root) : fail_memory(ctx, path, 0);
        if (!s) s = json_write_file(ctx, path, root);
        json_decref(root);
    }
    free(path);
    free(tokenizer);
    return s;
}
