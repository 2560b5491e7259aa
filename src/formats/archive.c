/* Opening by content, shards, look-up by name, conversion. The formats are in files of their own. */
#include "formats/archive.h"

#include "formats/json.h"

#include <stdio.h>

struct archive {
    context *ctx;
    arena *memory;
    const char *path;
    json_t *metadata;
    ARRAY(file_map) maps;
    ARRAY(archive_tensor) tensors; /* in the file's order */
    int64_t *by_name;              /* their indices, sorted by name */
};

static const archive_reader *const readers[] = {&safetensors_reader};

context *archive_context(const archive *a)
{
    return a->ctx;
}

arena *archive_arena(archive *a)
{
    return a->memory;
}

json_t *archive_metadata_edit(archive *a)
{
    return a->metadata;
}

const json_t *archive_metadata(const archive *a)
{
    return a->metadata;
}

const char *archive_path(const archive *a)
{
    return a->path;
}

int64_t archive_count(const archive *a)
{
    return a->tensors.count;
}

const archive_tensor *archive_at(const archive *a, int64_t index)
{
    return &a->tensors.at[index];
}

status archive_add(archive *a, const archive_tensor *t)
{
    if (ARRAY_PUSH(&a->tensors, *t)) return INGOT_OK;
    return fail_memory(a->ctx, a->path, (uint64_t)a->tensors.count * sizeof *t);
}

const archive_tensor *archive_find(const archive *a, const char *name)
{
    int64_t low = 0, high = a->tensors.count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const archive_tensor *t = &a->tensors.at[a->by_name[middle]];
        int order = strcmp(name, t->name);
        if (!order) return t;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

typedef struct name_order {
    const char *name;
    int64_t index;
} name_order;

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const name_order *)a)->name, ((const name_order *)b)->name);
}

static status sort_names(archive *a)
{
    int64_t count = a->tensors.count;
    name_order *order = calloc((size_t)count + 1, sizeof *order);
    a->by_name = ARENA_ARRAY(a->memory, int64_t, count + 1);
    status s = order && a->by_name ? INGOT_OK : fail_memory(a->ctx, a->path, (uint64_t)count * sizeof *order);
    for (int64_t i = 0; !s && i < count; i++) order[i] = (name_order){a->tensors.at[i].name, i};
    if (!s) qsort(order, (size_t)count, sizeof *order, compare_names);
    for (int64_t i = 0; !s && i < count; i++) {
        a->by_name[i] = order[i].index;
        if (i && !strcmp(order[i - 1].name, order[i].name))
            s = ingot_fail(a->ctx, INGOT_ERROR_FORMAT, "%s: two tensors are named '%s'", a->path, order[i].name);
    }
    free(order);
    return s;
}

static status archive_new(context *ctx, const char *path, archive **out)
{
    archive *a = calloc(1, sizeof *a);
    *out = a;
    if (!a) return fail_memory(ctx, path, sizeof *a);
    a->ctx = ctx;
    a->memory = arena_new();
    a->path = a->memory ? arena_strdup(a->memory, path) : NULL;
    a->metadata = json_object();
    return a->path && a->metadata ? INGOT_OK : fail_memory(ctx, path, sizeof *a);
}

void archive_close(archive *a)
{
    if (!a) return;
    for (int64_t i = 0; i < a->maps.count; i++) file_map_close(&a->maps.at[i]);
    ARRAY_FREE(&a->maps);
    ARRAY_FREE(&a->tensors);
    json_decref(a->metadata);
    arena_free(a->memory);
    free(a);
}

static status read_bytes(archive *a, const char *path, const uint8_t *bytes, uint64_t count)
{
    for (size_t i = 0; i < COUNT(readers); i++)
        if (readers[i]->matches(bytes, count)) return readers[i]->read(a, path, bytes, count);
    return ingot_fail(a->ctx, INGOT_ERROR_FORMAT, "%s (%llu bytes) is no safetensors file: it does not begin as one",
                      path, (unsigned long long)count);
}

static status read_file(archive *a, const char *path)
{
    file_map map;
    TRY(file_map_open(a->ctx, path, &map));
    if (!ARRAY_PUSH(&a->maps, map)) {
        file_map_close(&map);
        return fail_memory(a->ctx, path, sizeof map);
    }
    return read_bytes(a, path, map.at, map.bytes);
}

/* Moves into `a` what the index says this shard holds; `shard` stays open through its map. */
static status take_shard(archive *a, archive *shard, const char *file, const json_t *weight_map)
{
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)weight_map, key, value)
    {
        if (strcmp(json_string_value(value), file)) continue;
        const archive_tensor *found = archive_find(shard, key);
        if (!found)
            return ingot_fail(a->ctx, INGOT_ERROR_FORMAT,
                              "%s: the index says that '%s' is in %s, which does not hold it", a->path, key, file);
        archive_tensor t = *found;
        t.name = arena_strdup(a->memory, found->name);
        t.format = arena_strdup(a->memory, found->format);
        if (!t.name || !t.format) return fail_memory(a->ctx, a->path, strlen(key));
        TRY(archive_add(a, &t));
    }
    const char *own;
    json_object_foreach(shard->metadata, own, value)
    {
        if (json_object_set((json_t *)a->metadata, own, (json_t *)(uintptr_t)value))
            return fail_memory(a->ctx, a->path, 0);
    }
    while (shard->maps.count) { /* the views point into them */
        if (!ARRAY_PUSH(&a->maps, shard->maps.at[shard->maps.count - 1]))
            return fail_memory(a->ctx, a->path, sizeof(file_map));
        shard->maps.count--;
    }
    return INGOT_OK;
}

static status read_shard(archive *a, const char *folder, const char *file, const json_t *weight_map)
{
    if (strchr(file, '/') || !strcmp(file, "..") || !*file)
        return ingot_fail(a->ctx, INGOT_ERROR_FORMAT, "%s: '%s' is no plain file name", a->path, file);
    char *path = path_join(folder, file);
    if (!path) return fail_memory(a->ctx, a->path, strlen(file));
    archive *shard;
    status s = archive_new(a->ctx, path, &shard);
    if (!s) s = read_file(shard, path);
    if (!s) s = sort_names(shard);
    if (!s) s = take_shard(a, shard, file, weight_map);
    archive_close(shard);
    free(path);
    return s;
}

static status read_shards(archive *a, const char *folder, const char *index_path)
{
    json_t *root, *done = NULL;
    TRY(json_read_file(a->ctx, index_path, JSON_MOST_BYTES, &root));
    json_fields f = json_fields_of(a->ctx, index_path, root);
    json_fields map = json_fields_in(&f, "weight_map");
    status s = f.error;
    if (!s && !map.object) s = ingot_fail(a->ctx, INGOT_ERROR_FORMAT, "%s: weight_map is missing", index_path);
    if (!s && !(done = json_object())) s = fail_memory(a->ctx, index_path, 0);
    const char *key;
    const json_t *value;
    if (!s) json_object_foreach((json_t *)(uintptr_t)map.object, key, value)
        {
            if (!json_is_string(value)) field_refuse(&map, key, "is not a file name");
        }
    s = s ? s : f.error;
    if (!s) json_object_foreach((json_t *)(uintptr_t)map.object, key, value)
        {
            const char *file = json_string_value(value);
            if (json_object_get(done, file)) continue;
            if (json_object_set_new(done, file, json_true())) s = fail_memory(a->ctx, index_path, 0);
            if (!s) s = read_shard(a, folder, file, map.object);
            if (s) break;
        }
    json_decref(done);
    json_decref(root);
    return s;
}

static status read_folder(archive *a, const char *folder)
{
    char *whole = path_join(folder, "model.safetensors"), *index = path_join(folder, "model.safetensors.index.json");
    status s;
    if (!whole || !index)
        s = fail_memory(a->ctx, folder, strlen(folder));
    else if (file_exists(whole))
        s = read_file(a, whole);
    else if (file_exists(index))
        s = read_shards(a, folder, index);
    else
        s = ingot_fail(a->ctx, INGOT_ERROR_FILE,
                       "%s holds no model: neither model.safetensors nor "
                       "model.safetensors.index.json is there",
                       folder);
    free(whole);
    free(index);
    return s;
}

status archive_open(context *ctx, const char *path, archive **out)
{
    archive *a;
    status s = archive_new(ctx, path, &a);
    if (!s) s = directory_exists(path) ? read_folder(a, path) : read_file(a, path);
    if (!s) s = sort_names(a);
    if (s) archive_close(a);
    *out = s ? NULL : a;
    return s;
}

status archive_open_bytes(context *ctx, const char *name, const uint8_t *bytes, uint64_t count, archive **out)
{
    archive *a;
    status s = archive_new(ctx, name, &a);
    if (!s) s = read_bytes(a, name, bytes, count);
    if (!s) s = sort_names(a);
    if (s) archive_close(a);
    *out = s ? NULL : a;
    return s;
}

char *archive_shape_text(const archive_tensor *t, char out[192])
{
    size_t used = 1;
    strcpy(out, "(");
    for (int i = 0; i < t->dims; i++)
        used += (size_t)snprintf(out + used, 192 - used, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    strcpy(out + used, ")");
    return out;
}

status archive_read(const archive *a, const archive_tensor *t, dtype to, void *out)
{
    if (!t->readable)
        return ingot_fail(a->ctx, INGOT_ERROR_UNSUPPORTED, "%s: '%s' is %s, which this version cannot compute with",
                          a->path, t->name, t->format);
    if (t->dtype == to) {
        if (t->byte_count) memcpy(out, t->bytes, (size_t)t->byte_count);
        return INGOT_OK;
    }
    enum { PIECE = 1024 };
    double aligned[PIECE]; /* room for a piece of any dtype; the file's bytes are not aligned */
    int64_t from_bytes = ingot_dtype_bytes(t->dtype), to_bytes = ingot_dtype_bytes(to);
    for (int64_t first = 0; first < t->elements; first += PIECE) {
        int64_t count = MIN((int64_t)PIECE, t->elements - first);
        memcpy(aligned, t->bytes + first * from_bytes, (size_t)(count * from_bytes));
        dtype_convert(to, (char *)out + first * to_bytes, t->dtype, aligned, count);
    }
    return INGOT_OK;
}
