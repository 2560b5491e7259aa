/* The public functions: a model made, loaded, described, read, saved. Its graphs are in graphs.c. */
#include "models/model.h"

static ingot_model *model_alloc(context *ctx)
{
    ingot_model *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->ctx = ctx;
    m->arena = arena_new();
    m->params = param_list_new(ctx);
    if (m->arena && m->params) return m;
    ingot_model_free(m);
    return NULL;
}

void ingot_model_free(ingot_model *m)
{
    if (!m) return;
    param_list_free(m->params);
    arena_free(m->arena);
    free(m);
}

/* A graph of one row is built and thrown away: what it declares are the parameters. */
static status list_params(ingot_model *m)
{
    param_list *fresh = param_list_new(m->ctx);
    ingot_build *b = ingot_build_new(m->ctx, m->config.family->name);
    status s = fresh && b ? INGOT_OK : fail_memory(m->ctx, "a model", 0);
    if (!s) {
        param_list_free(m->params);
        m->params = fresh;
        fresh = NULL;
        ingot_model_training(m, b, &(ingot_training_options){.batch = 1, .length = 1});
        s = ingot_build_status(b);
    }
    for (int64_t i = 0; i < m->params->params.count; i++) {
        param *p = &m->params->params.at[i];
        if (p->init.kind == INIT_NORMAL && m->config.init_std != 0) p->init.scale = m->config.init_std;
        if (m->config.family->init) m->config.family->init(&m->config, p);
    }
    param_list_free(fresh);
    ingot_build_free(b);
    return s;
}

status model_of_config(context *ctx, const config *c, ingot_model **out)
{
    *out = NULL;
    ingot_model *m = model_alloc(ctx);
    if (!m) return fail_memory(ctx, "a model", 0);
    m->config = *c;
    status s = list_params(m);
    if (s)
        ingot_model_free(m);
    else
        *out = m;
    return s;
}

ingot_status ingot_model_new(ingot_context *ctx, const ingot_model_options *options, ingot_model **out)
{
    *out = NULL;
    static const ingot_model_options none = {0};
    config c = {0};
    TRY(config_from_options(ctx, options ? options : &none, &c));
    return model_of_config(ctx, &c, out);
}

/* base_model_name_or_path as it stands, or seen from the adapter's own directory. */
static status resolve_base(ingot_model *m, const char *adapter, const char *base, char **out)
{
    if (directory_exists(base)) return model_resolve(m->ctx, base, out);
    char *beside = path_join(adapter, base);
    status s;
    if (!beside)
        s = fail_memory(m->ctx, "a path", 0);
    else if (directory_exists(beside))
        s = model_resolve(m->ctx, beside, out);
    else
        s = ingot_fail(m->ctx, INGOT_ERROR_FILE,
                       "%s/adapter_config.json: base_model_name_or_path is \"%s\", and there is no such directory; "
                       "download the base and write its path there",
                       adapter, base);
    free(beside);
    return s;
}

static status load_adapter(ingot_model *m, const char *directory)
{
    char *base = NULL, *resolved = NULL;
    TRY(adapter_config_read(m->ctx, directory, m->arena, &m->lora, &base));
    if (!base) return fail_memory(m->ctx, "a path", 0);
    m->adapter_directory = m->directory;
    TRY(resolve_base(m, directory, base, &resolved));
    m->directory = arena_strdup(m->arena, resolved);
    free(resolved);
    return m->directory ? checkpoint_check(m->ctx, m->directory, false) : fail_memory(m->ctx, "a path", 0);
}

static status load(ingot_model *m, const char *path)
{
    char *directory;
    TRY(model_resolve(m->ctx, path, &directory));
    m->directory = arena_strdup(m->arena, directory);
    free(directory);
    if (!m->directory) return fail_memory(m->ctx, "a path", 0);
    char *adapter = path_join(m->directory, "adapter_config.json");
    bool has_adapter = adapter && file_exists(adapter);
    free(adapter);
    TRY(checkpoint_check(m->ctx, m->directory, false));
    if (has_adapter) TRY(load_adapter(m, m->directory));
    TRY(config_read(m->ctx, m->directory, &m->config));
    TRY(list_params(m));
    TRY(model_check_weights(m));
    archive *a = NULL;
    if (has_adapter) TRY(adapter_open(m, &a));
    archive_close(a);
    return INGOT_OK;
}

ingot_status ingot_model_load(ingot_context *ctx, const char *path, ingot_model **out)
{
    *out = NULL;
    ingot_model *m = model_alloc(ctx);
    if (!m) return fail_memory(ctx, "a model", 0);
    status s = load(m, path);
    if (s)
        ingot_model_free(m);
    else
        *out = m;
    return s;
}

ingot_status ingot_model_add_lora(ingot_model *m, const ingot_lora_options *o)
{
    if (m->lora.rank)
        return ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT, "the model has adapters of rank %lld already",
                          (long long)m->lora.rank);
    if (o->rank < 1 || o->rank > CONFIG_MOST_SIZE || !(o->dropout >= 0 && o->dropout < 1))
        return ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT,
                          "LoRA takes a rank of at least 1 and a dropout from 0 to less "
                          "than 1; got %lld and %g",
                          (long long)o->rank, o->dropout);
    lora_config c = {.rank = o->rank, .alpha = o->alpha != 0 ? o->alpha : 2 * (double)o->rank, .dropout = o->dropout};
    for (int i = 0; o->targets && o->targets[i]; i++) {
        if (i + 1 == LORA_MOST_TARGETS)
            return ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT, "more than %d LoRA targets", LORA_MOST_TARGETS - 1);
        c.targets[i] = arena_strdup(m->arena, o->targets[i]);
        if (!c.targets[i]) return fail_memory(m->ctx, "LoRA", 0);
    }
    m->lora = c;
    status s = list_params(m);
    if (!s && !ingot_model_describe(m).trainable)
        s = ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT, "none of the LoRA targets (%s ...) is a linear of family %s",
                       c.targets[0] ? c.targets[0] : "all", m->config.family->name);
    if (s) m->lora = (lora_config){0};
    return s;
}

ingot_status ingot_model_set_dtype(ingot_model *m, ingot_dtype d)
{
    if (d != INGOT_F32 && !dtype_is_narrow(d))
        return ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT, "models compute in float32, bfloat16 or float16, not in %s",
                          ingot_dtype_name(d));
    m->compute = d;
    return INGOT_OK;
}

ingot_status ingot_model_set_context(ingot_model *m, int64_t positions)
{
    if (positions < 1 || positions > CONFIG_MOST_SIZE)
        return ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT, "%lld positions; they must be from 1 to %d",
                          (long long)positions, CONFIG_MOST_SIZE);
    if (!m->config.family->rotary && positions != m->config.context)
        return ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT, "the %lld positions of a %s model are learned and stay",
                          (long long)m->config.context, m->config.family->name);
    m->config.context = positions;
    return INGOT_OK;
}

ingot_model_info ingot_model_describe(const ingot_model *m)
{
    const config *c = &m->config;
    ingot_model_info info = {.family = c->family->name,
                             .model_type = config_model_type(c),
                             .directory = m->directory,
                             .adapter_directory = m->adapter_directory,
                             .vocab_size = c->vocab_size,
                             .layers = c->layers,
                             .heads = c->heads,
                             .kv_heads = c->kv_heads,
                             .head_dim = c->head_dim,
                             .dim = c->dim,
                             .ffn_dim = c->ffn_dim,
                             .context = c->context,
                             .dtype = m->compute,
                             .tied = c->tied,
                             .rotary = c->family->rotary,
                             .tensors = m->params->params.count,
                             .image = c->image,
                             .classes = c->classes,
                             .eos_count = (int)c->eos_count,
                             .eos_tokens = c->eos,
                             .bos_token = (int32_t)c->bos};
    for (int64_t i = 0; i < m->params->params.count; i++) {
        const param *p = &m->params->params.at[i];
        info.parameters += param_elements(p);
        if (p->trainable) info.trainable += param_elements(p);
    }
    return info;
}

ingot_parameter ingot_model_parameter(const ingot_model *m, int64_t index)
{
    if (index < 0 || index >= m->params->params.count) return (ingot_parameter){0};
    const param *p = &m->params->params.at[index];
    return (ingot_parameter){.name = p->name,
                             .group = param_group(p),
                             .dtype = p->dtype,
                             .shape = p->shape,
                             .trainable = p->trainable,
                             .decay = p->decay,
                             .adapter = p->adapter};
}

ingot_status ingot_model_init(const ingot_model *m, ingot_store *store, uint64_t seed)
{
    for (int64_t i = 0; i < m->params->params.count; i++)
        TRY(model_init_param(m->ctx, &m->params->params.at[i], store, seed));
    return INGOT_OK;
}

ingot_status ingot_model_read(const ingot_model *m, ingot_store *store, uint64_t seed)
{
    if (!m->directory)
        return ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT, "a fresh model has no weights to read; ingot_model_init");
    TRY(model_read_weights(m, store));
    if (m->adapter_directory) return adapter_read(m, store);
    for (int64_t i = 0; i < m->params->params.count; i++)
        if (m->params->params.at[i].adapter) TRY(model_init_param(m->ctx, &m->params->params.at[i], store, seed));
    return INGOT_OK;
}

static status save_whole(const ingot_model *m, ingot_store *store, const char *directory)
{
    char *weights = path_join(directory, "model.safetensors");
    if (!weights) return fail_memory(m->ctx, "a path", 0);
    const tensor_file file = {.as_stored = true};
    status s = model_write_tensors(m, weights, &file, model_read_store, store);
    free(weights);
    if (!s && m->config.vocab_size) s = generation_config_write(m->ctx, directory, &m->config);
    return s ? s : config_write(m->ctx, directory, &m->config, INGOT_F32);
}

ingot_status ingot_model_save(const ingot_model *m, ingot_store *store, const char *directory, const char *tokenizer)
{
    TRY(directory_create(m->ctx, directory));
    if (m->lora.rank)
        TRY(adapter_write(m, store, directory));
    else
        TRY(save_whole(m, store, directory));
    const char *own = m->adapter_directory ? m->adapter_directory : m->directory;
    if (own) TRY(model_copy_tokenizer(m->ctx, own, directory)); /* its chat template, say */
    if (tokenizer) TRY(model_copy_tokenizer(m->ctx, tokenizer, directory));
    return tokenizer_config_write(m->ctx, directory, &m->config);
}
