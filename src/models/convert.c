/* A model's directory written anew: names, configuration and dtype as we save them, a tensor at a time, without a store;
 * LoRA adapters are merged into their base. */
#include "models/model.h"
#include "formats/folder.h"

#include "base/threads.h"

typedef struct source {
    const ingot_model *model;
    archive *archive;
    archive *adapter; /* NULL: none */
} source;

/* ---- adapters merged: W + scale B A ---- */

typedef struct merge {
    float *w;           /* (out, in), or (in, out) */
    const float *A, *B; /* (rank, in), (out, rank) */
    int64_t in, out, rank;
    bool in_out;
    double scale;
} merge;

static void merge_rows(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const merge *m = arg;
    for (int64_t o = first; o < last; o++)
        for (int64_t i = 0; i < m->in; i++) {
            double sum = 0;
            for (int64_t r = 0; r < m->rank; r++) sum += (double)m->B[o * m->rank + r] * m->A[r * m->in + i];
            m->w[m->in_out ? i * m->out + o : o * m->in + i] += (float)(m->scale * sum);
        }
}

/* The adapter of weight `p`; NULL when it has none. `which`: lora_A, lora_B. */
static const param *adapter_of(const ingot_model *m, const param *p, const char *which)
{
    text name = {0};
    size_t length = strlen(p->name), end = strlen(".weight");
    if (length > end && !strcmp(p->name + length - end, ".weight"))
        text_printf(&name, "%.*s.%s.weight", (int)(length - end), p->name, which);
    const param *found = name.at ? param_find(m->params, name.at) : NULL;
    text_free(&name);
    return found;
}

static status read_adapter(const source *s, const param *p, float **out)
{
    context *ctx = s->model->ctx;
    const archive_tensor *t;
    TRY(adapter_find(s->model, s->adapter, p, &t));
    *out = malloc((size_t)param_elements(p) * sizeof **out);
    return *out ? archive_read(s->adapter, t, INGOT_F32, *out) : fail_memory(ctx, p->name, 0);
}

static status merge_adapter(const source *s, const param *p, float *w)
{
    const ingot_model *m = s->model;
    const param *a = adapter_of(m, p, "lora_A"), *b = adapter_of(m, p, "lora_B");
    if (!a || !b) return INGOT_OK;
    float *A = NULL, *B = NULL;
    status failed = read_adapter(s, a, &A);
    if (!failed) failed = read_adapter(s, b, &B);
    merge work = {.w = w,
                  .A = A,
                  .B = B,
                  .in = a->shape.dim[1],
                  .out = b->shape.dim[0],
                  .rank = a->shape.dim[0],
                  .in_out = p->in_out,
                  .scale = lora_scale(&m->lora)};
    if (!failed) pool_for(context_pool(m->ctx), work.out, 16, merge_rows, &work);
    free(A);
    free(B);
    return failed;
}

static status read_source(void *user, const param *p, void *out)
{
    const source *s = user;
    TRY(archive_read(s->archive, weights_find(s->archive, s->model->config.family, p->name), p->dtype, out));
    return s->adapter ? merge_adapter(s, p, out) : INGOT_OK;
}

/* The one float dtype that loses nothing: the file's, where all tensors share it. */
static dtype dtype_of(const ingot_model *m, const archive *a)
{
    dtype first = INGOT_F32;
    for (int64_t i = 0; i < m->params->params.count; i++) {
        const param *p = &m->params->params.at[i];
        if (p->adapter) continue;
        dtype d = weights_find(a, m->config.family, p->name)->dtype;
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
    return s ? s : model_copy_tokenizer(m->ctx, m->adapter_directory ? m->adapter_directory : m->directory, directory);
}

ingot_status ingot_model_convert(const ingot_model *m, const char *directory, const ingot_dtype *dtype_wanted)
{
    if (!m->directory)
        return ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT, "a fresh model has no files to convert; ingot_model_save");
    if (m->lora.rank && !m->adapter_directory)
        return ingot_fail(m->ctx, INGOT_ERROR_ARGUMENT, "fresh adapters have no files to convert; ingot_model_save");
    TRY(folder_check_output(m->ctx, directory, FOLDER_MODEL));
    TRY(directory_create(m->ctx, directory));
    source from = {.model = m};
    TRY(archive_open(m->ctx, m->directory, &from.archive));
    status s = weights_check(m, from.archive);
    if (!s && m->adapter_directory) s = adapter_open(m, &from.adapter);
    if (!s) s = write_all(m, &from, directory, dtype_wanted ? *dtype_wanted : dtype_of(m, from.archive));
    archive_close(from.adapter);
    archive_close(from.archive);
    return s;
}
