/* Weights from and to model.safetensors, a tensor at a time. */
#include "models/model.h"

#include "engine/store.h"
#include "formats/safetensors.h"

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && !strcmp(name + length - tail, end);
}

const archive_tensor *weights_find(const archive *a, const model_family *f, const char *name)
{
    const archive_tensor *t = archive_find(a, name);
    const char *other = f->file_name ? f->file_name(name) : NULL;
    return t || !other ? t : archive_find(a, other);
}

static status check_shape(const archive *a, const archive_tensor *t, const param *p)
{
    context *ctx = archive_context(a);
    char found[192], wanted[128];
    bool fits = t->dims == p->shape.rank;
    for (int i = 0; fits && i < t->dims; i++) fits = t->shape[i] == p->shape.dim[i];
    if (!fits)
        return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s: tensor %s is %s, by config.json it is %s", archive_path(a),
                          t->name, archive_shape_text(t, found), shape_print(wanted, p->shape));
    if (!t->readable)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "%s: tensor %s is stored as %s, which Ingot does not read",
                          archive_path(a), t->name, t->format);
    return INGOT_OK;
}

/* A tensor that no parameter takes, and that cannot be left unread: without it the model would not be the one saved. */
static bool surplus(const ingot_model *m, const archive_tensor *t)
{
    const model_family *f = m->config.family;
    for (const char *const *end = f->ignored; end && *end; end++)
        if (ends_with(t->name, *end)) return false;
    if (m->config.tied && !strcmp(t->name, "lm_head.weight")) return false; /* a copy of the embedding */
    for (int64_t i = 0; i < m->params->params.count; i++) {
        const char *name = m->params->params.at[i].name, *other = f->file_name ? f->file_name(name) : NULL;
        if (!strcmp(name, t->name) || (other && !strcmp(other, t->name))) return false;
    }
    return true;
}

status weights_check(const ingot_model *m, const archive *a)
{
    for (int64_t i = 0; i < m->params->params.count; i++) {
        const param *p = &m->params->params.at[i];
        if (p->adapter) continue;
        const archive_tensor *t = weights_find(a, m->config.family, p->name);
        char wanted[128];
        if (!t)
            return ingot_fail(m->ctx, INGOT_ERROR_FORMAT, "%s: tensor %s %s is missing; config.json asks for it",
                              archive_path(a), p->name, shape_print(wanted, p->shape));
        TRY(check_shape(a, t, p));
    }
    for (int64_t i = 0; i < archive_count(a); i++)
        if (surplus(m, archive_at(a, i)))
            return ingot_fail(m->ctx, INGOT_ERROR_FORMAT, "%s: tensor %s is none of a %s model as config.json has it",
                              archive_path(a), archive_at(a, i)->name, m->config.family->name);
    return INGOT_OK;
}

status model_check_weights(const ingot_model *m)
{
    archive *a;
    TRY(archive_open(m->ctx, m->directory, &a));
    status s = weights_check(m, a);
    archive_close(a);
    return s;
}

/* Straight from the mapped file where the dtypes agree. */
/* The store may keep a matrix narrower than its parameter. */
static dtype stored_dtype(const ingot_store *store, const param *p)
{
    const store_state *state = store_find(store, p->name);
    return state ? state->dtype : p->dtype;
}

static status read_tensor(const archive *a, const archive_tensor *t, const param *p, ingot_store *store)
{
    dtype d = stored_dtype(store, p);
    if (t->dtype == d) return ingot_store_write(store, p->name, t->bytes, (int64_t)t->byte_count);
    int64_t bytes = param_elements(p) * ingot_dtype_bytes(d);
    void *converted = malloc((size_t)bytes);
    if (!converted) return fail_memory(archive_context(a), p->name, (uint64_t)bytes);
    status s = archive_read(a, t, d, converted);
    if (!s) s = ingot_store_write(store, p->name, converted, bytes);
    free(converted);
    return s;
}

status model_read_weights(const ingot_model *m, ingot_store *store)
{
    archive *a;
    TRY(archive_open(m->ctx, m->directory, &a));
    status s = weights_check(m, a); /* the file may have changed since the model was loaded */
    for (int64_t i = 0; i < m->params->params.count && !s; i++) {
        const param *p = &m->params->params.at[i];
        if (!p->adapter) s = read_tensor(a, weights_find(a, m->config.family, p->name), p, store);
    }
    archive_close(a);
    return s;
}

status model_init_param(context *ctx, const param *p, ingot_store *store, uint64_t seed)
{
    dtype d = stored_dtype(store, p);
    int64_t count = param_elements(p), bytes = count * ingot_dtype_bytes(d);
    float *fresh = malloc((size_t)count * sizeof *fresh);
    void *stored = d == INGOT_F32 ? fresh : malloc((size_t)bytes);
    status s = INGOT_OK;
    if (!fresh || !stored) {
        s = fail_memory(ctx, p->name, (uint64_t)bytes);
    } else {
        param_fill(ctx, p, seed, fresh);
        if (stored != fresh) dtype_convert(d, stored, INGOT_F32, fresh, count);
        s = ingot_store_write(store, p->name, stored, bytes);
    }
    if (stored != fresh) free(stored);
    free(fresh);
    return s;
}

/* ---- writing ---- */

static status append_tensor(safetensors_writer *w, context *ctx, const param *p, dtype d, tensor_reader *read,
                            void *user)
{
    int64_t count = param_elements(p), bytes = count * ingot_dtype_bytes(p->dtype),
            stored = count * ingot_dtype_bytes(d);
    void *values = malloc((size_t)bytes), *converted = d == p->dtype ? values : malloc((size_t)stored);
    status s = values && converted ? read(user, p, values) : fail_memory(ctx, p->name, (uint64_t)bytes);
    if (!s && converted != values) dtype_convert(d, converted, p->dtype, values, count);
    if (!s) s = safetensors_append(w, converted, (uint64_t)stored);
    if (converted != values) free(converted);
    free(values);
    return s;
}

static status declare_tensor(safetensors_writer *w, context *ctx, const param *p, dtype d, const char *prefix)
{
    text name = {0};
    text_printf(&name, "%s%s", prefix ? prefix : "", p->name);
    if (name.failed) return fail_memory(ctx, p->name, 0);
    safetensors_declare(w, name.at, d, (int)p->shape.rank, p->shape.dim);
    text_free(&name);
    return INGOT_OK;
}

status model_write_tensors(const ingot_model *m, const char *path, const tensor_file *file, tensor_reader *read,
                           void *user)
{
    safetensors_writer *w;
    TRY(safetensors_create(m->ctx, path, &w));
    safetensors_metadata(w, "format", "pt"); /* transformers refuses files that do not say so */
    status s = INGOT_OK;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < m->params->params.count && !s; i++) {
            const param *p = &m->params->params.at[i];
            dtype d = file->as_stored ? p->dtype : file->dtype;
            if (p->adapter != file->adapters) continue;
            s = pass ? append_tensor(w, m->ctx, p, d, read, user) : declare_tensor(w, m->ctx, p, d, file->prefix);
        }
    if (!s) return safetensors_commit(w);
    safetensors_abandon(w);
    return s;
}

status model_read_store(void *store, const param *p, void *out)
{
    return ingot_store_read(store, p->name, out, param_elements(p) * ingot_dtype_bytes(p->dtype));
}
