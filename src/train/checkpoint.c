#define _GNU_SOURCE
#include "train/checkpoint.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "models/model.h"

#include <math.h>

#define LOSS_SCALE_TENSOR "loss_scale"
#define STATE_VERSION     1

/* ---- moments ---- */

typedef status moment_function(void *user, ingot_stepper *s, const trained *t, const char *moment, const char *state);

static status each_moment(ingot_stepper *s, moment_function *function, void *user)
{
    const char *moments[2];
    int count = optimizer_moments(&s->optimizer, moments);
    for (int64_t i = 0; i < s->trained.count; i++) {
        for (int j = 0; j < count; j++) {
            text state = {0};
            text_printf(&state, "%s.%s", moments[j], s->trained.at[i].name);
            status failed = state.failed ? fail_memory(s->ctx, "a checkpoint", 64)
                                         : function(user, s, &s->trained.at[i], moments[j], state.at);
            text_free(&state);
            TRY(failed);
        }
    }
    return INGOT_OK;
}

static status declare_moment(void *user, ingot_stepper *s, const trained *t, const char *moment, const char *state)
{
    (void)state;
    text name = {0};
    text_printf(&name, "%s.%s", t->name, moment);
    if (!name.failed) safetensors_declare(user, name.at, INGOT_F32, (int)t->shape.rank, t->shape.dim);
    status failed = name.failed ? fail_memory(s->ctx, "a checkpoint", 64) : INGOT_OK;
    text_free(&name);
    return failed;
}

/* In pieces: a whole embedding would be a copy that the plan does not know of. */
static status append_moment(void *user, ingot_stepper *s, const trained *t, const char *moment, const char *state)
{
    enum { PIECE = 1 << 18 };
    (void)moment;
    store_state *from = store_find(s->store, state);
    float *values = malloc(PIECE * sizeof *values);
    if (!from || !values) {
        free(values);
        return fail_memory(s->ctx, "a checkpoint", PIECE * sizeof *values);
    }
    int64_t total = shape_count(t->shape), size = ingot_dtype_bytes(from->storage);
    status failed = store_allocate(s->store, from); /* finds its place in the group */
    for (int64_t done = 0; !failed && done < total; done += PIECE) {
        int64_t count = MIN(PIECE, total - done);
        failed = device_read_as(s->device, from->memory, from->offset + done * size, from->storage, values, INGOT_F32,
                                count);
        if (!failed) failed = safetensors_append(user, values, (uint64_t)count * sizeof *values);
    }
    free(values);
    return failed;
}

static status append_scale(ingot_stepper *s, safetensors_writer *w)
{
    float scale[2];
    TRY(ingot_store_read(s->store, LOSS_SCALE_STATE, scale, sizeof scale));
    return safetensors_append(w, scale, sizeof scale);
}

/* A run in another dtype had none: then it begins anew. */
static status read_scale(ingot_stepper *s, archive *a)
{
    float scale[2];
    const archive_tensor *t = s->task.loss_scaling ? archive_find(a, LOSS_SCALE_TENSOR) : NULL;
    if (!t || !t->readable || t->elements != 2) return INGOT_OK;
    TRY(archive_read(a, t, INGOT_F32, scale));
    return ingot_store_write(s->store, LOSS_SCALE_STATE, scale, sizeof scale);
}

static status write_moments(const char *folder, ingot_stepper *s)
{
    char *path = path_join(folder, OPTIMIZER_FILE);
    if (!path) return fail_memory(s->ctx, folder, 64);
    safetensors_writer *w;
    status failed = safetensors_create(s->ctx, path, &w);
    free(path);
    TRY(failed);
    safetensors_metadata(w, "format", "ingot");
    safetensors_metadata(w, "optimizer", ingot_optimizer_names()[s->optimizer.kind]);
    failed = each_moment(s, declare_moment, w);
    if (s->task.loss_scaling) safetensors_declare(w, LOSS_SCALE_TENSOR, INGOT_F32, 1, (int64_t[]){2});
    if (!failed) failed = each_moment(s, append_moment, w);
    if (!failed && s->task.loss_scaling) failed = append_scale(s, w);
    if (!failed) return safetensors_commit(w);
    safetensors_abandon(w);
    return failed;
}

static status read_moment(void *user, ingot_stepper *s, const trained *t, const char *moment, const char *state)
{
    archive *a = user;
    text name = {0};
    text_printf(&name, "%s.%s", t->name, moment);
    const archive_tensor *tensor = name.failed ? NULL : archive_find(a, name.at);
    uint64_t bytes = (uint64_t)shape_count(t->shape) * sizeof(float);
    float *values = malloc(bytes);
    status failed = INGOT_OK;
    if (name.failed || !values)
        failed = fail_memory(s->ctx, "a checkpoint", bytes);
    else if (!tensor || !tensor->readable || tensor->elements != shape_count(t->shape))
        failed = ingot_fail(s->ctx, INGOT_ERROR_FORMAT,
                            "%s has no %s of %lld numbers: was it saved with another --optimizer?", archive_path(a),
                            name.at, (long long)shape_count(t->shape));
    if (!failed) failed = archive_read(a, tensor, INGOT_F32, values);
    if (!failed) failed = ingot_store_write(s->store, state, values, (int64_t)bytes);
    free(values);
    text_free(&name);
    return failed;
}

status checkpoint_read_optimizer(const char *folder, ingot_stepper *s, const training_state *state)
{
    char *path = path_join(folder, OPTIMIZER_FILE);
    if (!path) return fail_memory(s->ctx, folder, 64);
    archive *a;
    status failed = archive_open(s->ctx, path, &a);
    free(path);
    TRY(failed);
    failed = each_moment(s, read_moment, a);
    if (!failed) failed = read_scale(s, a);
    archive_close(a);
    return failed ? failed : ingot_stepper_seek(s, state->seed, state->step);
}

/* ---- training_state.json ---- */

static json_t *window_json(const zscore *z)
{
    json_t *list = json_array();
    for (int i = 0; i < z->count; i++) json_array_append_new(list, json_real(z->last[i]));
    return list;
}

/* Of a checkpoint from before windows were saved: empty. */
static void read_window(json_fields *f, const char *key, zscore *out)
{
    const json_t *list = json_object_get(f->object, key);
    if (!list) return;
    if (!json_is_array(list) || json_array_size(list) > ZSCORE_WINDOW) {
        field_refuse(f, key, "is no list of at most 128 numbers");
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) zscore_add(out, json_number_value(json_array_get(list, i)));
}

static json_t *state_json(const training_state *t, json_t *files)
{
    json_t *root =
        json_pack("{s:i, s:I, s:I, s:I, s:{s:I, s:I, s:I}, s:O, s:O}", "version", STATE_VERSION, "step",
                  (json_int_t)t->step, "schedule_steps", (json_int_t)t->schedule_steps, "seed", (json_int_t)t->seed,
                  "data", "epoch", (json_int_t)t->data.epoch, "group", (json_int_t)t->data.group, "row",
                  (json_int_t)t->data.row, "settings", t->settings, "files", files);
    if (root && isfinite(t->val_loss)) json_object_set_new(root, "val_loss", json_real(t->val_loss));
    if (root) json_object_set_new(root, "recent_losses", window_json(&t->loss_z));
    if (root) json_object_set_new(root, "recent_norms", window_json(&t->norm_z));
    char sum[CHECKSUM_SIZE];
    if (root && checksum_of_object(root, sum)) json_object_set_new(root, "checksum", json_string(sum));
    return root;
}

status checkpoint_write(const char *folder, ingot_stepper *s, const training_state *state)
{
    TRY(write_moments(folder, s));
    json_t *files = json_object();
    status failed = files ? checksums_of_folder(s->ctx, folder, files) : fail_memory(s->ctx, folder, 64);
    json_t *root = failed ? NULL : state_json(state, files);
    char *path = path_join(folder, TRAINING_STATE_FILE);
    if (!failed) failed = root && path ? json_write_file(s->ctx, path, root) : fail_memory(s->ctx, folder, 64);
    json_decref(root);
    json_decref(files);
    free(path);
    return failed;
}

status checkpoint_read_state(context *ctx, const char *folder, training_state *out)
{
    *out = (training_state){.val_loss = NAN};
    char *path = path_join(folder, TRAINING_STATE_FILE);
    if (!path) return fail_memory(ctx, folder, 64);
    json_t *root = NULL;
    status s = json_read_file(ctx, path, 1 << 20, &root);
    if (!s) {
        json_fields f = json_fields_of(ctx, path, root), data = json_fields_in(&f, "data");
        if (!f.error && field_int(&f, "version", 1, INT64_MAX) > STATE_VERSION)
            field_refuse(&f, "version", "is newer than this program; use a newer ingot");
        out->step = field_int(&f, "step", 0, (1 << 24) - 1);
        out->schedule_steps = field_int(&f, "schedule_steps", 0, (1 << 24) - 1);
        out->seed = (uint64_t)field_int(&f, "seed", INT64_MIN, INT64_MAX);
        out->data.epoch = (uint64_t)field_int(&data, "epoch", 0, INT64_MAX);
        out->data.group = (uint64_t)field_int(&data, "group", 0, INT64_MAX);
        out->data.row = (uint64_t)field_int(&data, "row", 0, INT64_MAX);
        out->val_loss = field_double_or(&f, "val_loss", NAN);
        read_window(&f, "recent_losses", &out->loss_z);
        read_window(&f, "recent_norms", &out->norm_z);
        const json_t *settings = json_object_get(root, "settings");
        if (!f.error && !json_is_object(settings)) field_refuse(&f, "settings", "are missing");
        s = f.error;
        if (!s) s = checkpoint_check(ctx, folder, true);
        if (!s) out->settings = json_incref((json_t *)(uintptr_t)settings);
    }
    json_decref(root);
    free(path);
    return s;
}

double checkpoint_val_loss(context *ctx, const char *folder)
{
    char *path = path_join(folder, TRAINING_STATE_FILE);
    json_t *root = NULL;
    double loss = NAN;
    if (path && !json_read_file(ctx, path, 1 << 20, &root)) {
        const json_t *value = json_object_get(root, "val_loss");
        if (json_is_number(value)) loss = json_number_value(value);
    }
    json_decref(root);
    free(path);
    return loss;
}
