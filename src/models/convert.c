/* A model's directory written anew: names, configuration and dtype as we save them, a tensor at a time, without a store. */
#include "models/model.h"

#include "formats/archive.h"

typedef struct source {
    const ingot_model *model;
    archive *archive;
} source;

static status read_source(void *user, const param *p, void *out)
{
    const source *s = user;
    return archive_read(s->archive, weights_find(s->archive, s->model->config.family, p->name), p->dtype, out);
}

/* The one float dtype that loses nothing: the file's, where all tensors share it. */
static dtype dtype_of(const ingot_model *m, const archive *a)
{
    dtype first = INGOT_F32;
    for (int64_t i = 0; i < m->params->params.count; i++) {
        dtype d = weights_find(a, m->config.family, m->params->params.at[i].name)->dtype;
        if (i && d != first) return INGOT_F32;
        first = d;
    }
    return dtype_is_float(first) && first != INGOT_F64 ? first : INGOT_F32;
}

static status write_all(const ingot_model *m, source *from, const char *directory, dtype d)
{
    char *weights = path_join(directory, "model.safetensors");
    if (!weights) return fail_memory(m->ctx, "a path", 0);
    status s = model_write_tensors(m, weights, &(tensor_file){.dtype = d}, read_source, from);
    free(weights);
    if (!s) s = generation_config_write(m->ctx, directory, &m->config);
    if (!s) s = config_write(m->ctx, directory, &m->config, d);
    return s ? s : model_copy_tokenizer(m->ctx, m->directory, directory);
}

ingot_status ingot_model_convert(const ingot_model *m, const char *directory, const ingot_dtype *dtype_wanted)
{
    if (!m->directory)
        return ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT, "a fresh model has no files to convert; ingot_model_save");
    if (m->lora.rank)
        return ingot_fail(m->ctx, INGOT_ERROR_UNSUPPORTED,
                          "%s holds LoRA adapters; merging them into their base is not known yet",
                          m->adapter_directory ? m->adapter_directory : m->directory);
    TRY(directory_create(m->ctx, directory));
    source from = {.model = m};
    TRY(archive_open(m->ctx, m->directory, &from.archive));
    status s = weights_check(m, from.archive);
    if (!s) s = write_all(m, &from, directory, dtype_wanted ? *dtype_wanted : dtype_of(m, from.archive));
    archive_close(from.archive);
    return s;
}
