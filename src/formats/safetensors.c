/* safetensors: u64 header length (little-endian), JSON header, data.
 *
 *     {"__metadata__": {"format": "pt"}, "name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
 *
 * Offsets count from the end of the header. Accepted is what the format's own reader accepts: data without holes or
 * overlaps that ends with the file, any alignment, scalars and empty tensors.
 */
#define _GNU_SOURCE
#include "formats/safetensors.h"

#include "formats/json.h"

#include <stdio.h>

#define MOST_HEADER_BYTES 100000000u /* the format's own limit */
#define METADATA          "__metadata__"

static const struct {
    const char *name;
    int bytes; /* 0: less than a byte an element */
    int dtype; /* -1: none of ours */
} formats[] = {
    {"F32", 4, INGOT_F32},  {"BF16", 2, INGOT_BF16}, {"F16", 2, INGOT_F16}, {"F64", 8, INGOT_F64},
    {"I32", 4, INGOT_I32},  {"I64", 8, INGOT_I64},   {"I8", 1, INGOT_I8},   {"U8", 1, INGOT_U8},
    {"BOOL", 1, INGOT_U8},  {"I16", 2, -1},          {"U16", 2, -1},        {"U32", 4, -1},
    {"U64", 8, -1},         {"F8_E4M3", 1, -1},      {"F8_E5M2", 1, -1},    {"F8_E8M0", 1, -1},
    {"F8_E4M3FNUZ", 1, -1}, {"F8_E5M2FNUZ", 1, -1},  {"C64", 8, -1},        {"F4", 0, -1},
    {"F6_E2M3", 0, -1},     {"F6_E3M2", 0, -1},
};

const char *safetensors_dtype_name(dtype d)
{
    for (size_t i = 0; i < COUNT(formats); i++)
        if (formats[i].dtype == (int)d) return formats[i].name;
    return NULL;
}

static uint64_t header_bytes(const uint8_t *bytes)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | bytes[i];
    return n;
}

static bool matches(const uint8_t *bytes, uint64_t count)
{
    return count > 8 && bytes[8] == '{';
}

static status refuse(archive *a, const char *path, const char *name, const char *what)
{
    return ingot_fail(archive_context(a), INGOT_ERROR_FORMAT, "%s: tensor '%s': %s", path, name, what);
}

/* The view of a tensor before its place is known to be inside the file. */
typedef struct entry {
    archive_tensor tensor;
    uint64_t begin, end;
} entry;

static status read_shape(archive *a, const char *path, const json_t *shape, archive_tensor *t)
{
    size_t dims = json_array_size(shape);
    if (!json_is_array(shape)) return refuse(a, path, t->name, "shape is not a list");
    if (dims > ARCHIVE_MOST_DIMS) return refuse(a, path, t->name, "more than 8 dimensions");
    uint64_t elements = 1;
    for (size_t i = 0; i < dims; i++) {
        const json_t *value = json_array_get(shape, i);
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return refuse(a, path, t->name, "a dimension is not a whole number");
        t->shape[t->dims++] = json_integer_value(value);
        if (!checked_mul(elements, (uint64_t)json_integer_value(value), &elements) || elements > INT64_MAX)
            return refuse(a, path, t->name, "the shape's product does not fit in 64 bits");
    }
    t->elements = (int64_t)elements;
    return INGOT_OK;
}

static status read_format(archive *a, const char *path, const json_t *value, archive_tensor *t, uint64_t *element_bytes)
{
    const char *word = json_string_value(value);
    if (!word) return refuse(a, path, t->name, "dtype is missing");
    for (size_t i = 0; i < COUNT(formats); i++) {
        if (strcmp(formats[i].name, word)) continue;
        if (!formats[i].bytes)
            return ingot_fail(archive_context(a), INGOT_ERROR_UNSUPPORTED,
                              "%s: tensor '%s' is %s: elements of less than a byte are not supported", path, t->name,
                              word);
        t->format = formats[i].name;
        t->readable = formats[i].dtype >= 0;
        t->dtype = t->readable ? (dtype)formats[i].dtype : INGOT_U8;
        *element_bytes = (uint64_t)formats[i].bytes;
        return INGOT_OK;
    }
    return ingot_fail(archive_context(a), INGOT_ERROR_UNSUPPORTED, "%s: tensor '%s' is of the unknown dtype '%.40s'",
                      path, t->name, word);
}

static status read_entry(archive *a, const char *path, const char *name, const json_t *value, entry *out)
{
    archive_tensor *t = &out->tensor;
    t->name = arena_strdup(archive_arena(a), name);
    if (!t->name) return fail_memory(archive_context(a), path, strlen(name));
    if (!json_is_object(value)) return refuse(a, path, name, "its entry is not an object");
    uint64_t element_bytes = 0;
    TRY(read_format(a, path, json_object_get(value, "dtype"), t, &element_bytes));
    TRY(read_shape(a, path, json_object_get(value, "shape"), t));
    const json_t *offsets = json_object_get(value, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return refuse(a, path, name, "data_offsets is not [begin, end]");
    out->begin = (uint64_t)json_integer_value(begin);
    out->end = (uint64_t)json_integer_value(end);
    t->byte_count = out->end - out->begin;
    uint64_t expected;
    if (!checked_mul((uint64_t)t->elements, element_bytes, &expected) || expected != t->byte_count) {
        char shape[192];
        return ingot_fail(archive_context(a), INGOT_ERROR_FORMAT, "%s: tensor '%s': %s %s does not take %llu bytes",
                          path, name, t->format, archive_shape_text(t, shape), (unsigned long long)t->byte_count);
    }
    return INGOT_OK;
}

static status read_metadata(archive *a, const char *path, const json_t *metadata)
{
    const char *key;
    const json_t *value;
    if (!json_is_object(metadata))
        return ingot_fail(archive_context(a), INGOT_ERROR_FORMAT, "%s: " METADATA " is not an object", path);
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value))
            return ingot_fail(archive_context(a), INGOT_ERROR_FORMAT, "%s: " METADATA ": '%s' is not a string", path,
                              key);
        if (json_object_set(archive_metadata_edit(a), key, (json_t *)(uintptr_t)value))
            return fail_memory(archive_context(a), path, strlen(key));
    }
    return INGOT_OK;
}

static int by_place(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* One after the other from 0 to the end of the file: then each is inside it. */
static status place_all(archive *a, const char *path, entry *entries, size_t count, const uint8_t *data, uint64_t bytes)
{
    qsort(entries, count, sizeof *entries, by_place);
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        entry *e = &entries[i];
        if (e->begin < at) return refuse(a, path, e->tensor.name, "its data overlaps another tensor's");
        if (e->begin > at) return refuse(a, path, e->tensor.name, "there is a hole before its data");
        if (e->end > bytes)
            return ingot_fail(archive_context(a), INGOT_ERROR_FORMAT,
                              "%s: tensor '%s' ends at byte %llu of data, of which the file has %llu: it was cut short",
                              path, e->tensor.name, (unsigned long long)e->end, (unsigned long long)bytes);
        e->tensor.bytes = data + e->begin;
        at = e->end;
        TRY(archive_add(a, &e->tensor));
    }
    if (at != bytes)
        return ingot_fail(archive_context(a), INGOT_ERROR_FORMAT, "%s: %llu bytes after the last tensor belong to none",
                          path, (unsigned long long)(bytes - at));
    return INGOT_OK;
}

static status read_header(archive *a, const char *path, const json_t *root, const uint8_t *data, uint64_t bytes)
{
    if (!json_is_object(root))
        return ingot_fail(archive_context(a), INGOT_ERROR_FORMAT, "%s: the header is not an object", path);
    size_t count = 0;
    entry *entries = calloc(json_object_size(root) + 1, sizeof *entries);
    if (!entries) return fail_memory(archive_context(a), path, json_object_size(root) * sizeof *entries);
    const char *key;
    const json_t *value;
    status s = INGOT_OK;
    json_object_foreach((json_t *)(uintptr_t)root, key, value)
    {
        s = strcmp(key, METADATA) ? read_entry(a, path, key, value, &entries[count++]) : read_metadata(a, path, value);
        if (s) break;
    }
    if (!s) s = place_all(a, path, entries, count, data, bytes);
    free(entries);
    return s;
}

static status read(archive *a, const char *path, const uint8_t *bytes, uint64_t count)
{
    uint64_t header = header_bytes(bytes);
    if (header > MOST_HEADER_BYTES || header > count - 8)
        return ingot_fail(archive_context(a), INGOT_ERROR_FORMAT,
                          "%s: its header says %llu bytes, the file has %llu: cut short, or no safetensors file", path,
                          (unsigned long long)header, (unsigned long long)count);
    json_t *root;
    TRY(json_read(archive_context(a), path, (const char *)bytes + 8, header, &root));
    status s = read_header(a, path, root, bytes + 8 + header, count - 8 - header);
    json_decref(root);
    return s;
}

const archive_reader safetensors_reader = {.name = "safetensors", .matches = matches, .read = read};

struct safetensors_writer {
    context *ctx;
    file_writer *file;
    char *path;
    json_t *header;
    uint64_t declared, written;
    bool began;
    status error; /* the first one: what is declared after it does nothing */
};

status safetensors_create(context *ctx, const char *path, safetensors_writer **out)
{
    *out = NULL;
    safetensors_writer *w = calloc(1, sizeof *w);
    if (!w) return fail_memory(ctx, path, sizeof *w);
    w->ctx = ctx;
    w->path = strdup(path);
    w->header = json_object();
    status s = w->path && w->header ? file_create(ctx, path, &w->file) : fail_memory(ctx, path, sizeof *w);
    if (s)
        safetensors_abandon(w);
    else
        *out = w;
    return s;
}

void safetensors_abandon(safetensors_writer *w)
{
    if (!w) return;
    file_abandon(w->file);
    json_decref(w->header);
    free(w->path);
    free(w);
}

static void keep_error(safetensors_writer *w, status s)
{
    if (!w->error) w->error = s;
}

static void refuse_late(safetensors_writer *w, const char *name)
{
    keep_error(w,
               ingot_fail(w->ctx, INGOT_ERROR_INTERNAL, "%s: '%s' was declared after data was written", w->path, name));
}

void safetensors_metadata(safetensors_writer *w, const char *key, const char *value)
{
    if (w->error) return;
    if (w->began) return refuse_late(w, key);
    json_t *all = json_object_get(w->header, METADATA);
    if (!all && !json_object_set_new(w->header, METADATA, json_object())) all = json_object_get(w->header, METADATA);
    if (!all || json_object_set_new(all, key, json_string(value)))
        keep_error(w, ingot_fail(w->ctx, INGOT_ERROR_ARGUMENT, "%s: metadata '%s' is not UTF-8", w->path, key));
}

void safetensors_declare(safetensors_writer *w, const char *name, dtype d, int dims, const int64_t *shape)
{
    if (w->error) return;
    if (w->began) return refuse_late(w, name);
    uint64_t bytes = (uint64_t)ingot_dtype_bytes(d), end;
    json_t *sizes = json_array();
    bool fits = true;
    for (int i = 0; i < dims; i++) {
        fits = fits && shape[i] >= 0 && checked_mul(bytes, (uint64_t)shape[i], &bytes);
        fits = fits && !json_array_append_new(sizes, json_integer(shape[i]));
    }
    fits = fits && checked_add(w->declared, bytes, &end) && end <= INT64_MAX;
    bool twice = json_object_get(w->header, name) || !strcmp(name, METADATA);
    json_t *line = NULL;
    if (fits && !twice)
        line = json_pack("{s:s, s:O, s:[I,I]}", "dtype", safetensors_dtype_name(d), "shape", sizes, "data_offsets",
                         (json_int_t)w->declared, (json_int_t)end);
    json_decref(sizes);
    if (!line || json_object_set_new(w->header, name, line))
        keep_error(w, ingot_fail(w->ctx, INGOT_ERROR_ARGUMENT, "%s: tensor '%s' cannot be written: %s", w->path, name,
                                 twice ? "its name is taken" : "its shape is too large or its name is not UTF-8"));
    else
        w->declared = end;
}

static status begin(safetensors_writer *w)
{
    w->began = true;
    char *header = json_dumps(w->header, JSON_COMPACT);
    if (!header) return fail_memory(w->ctx, w->path, 0);
    size_t length = strlen(header);
    size_t padded = ((8 + length + 63) & ~(size_t)63) - 8; /* data begins at a multiple of 64 */
    uint8_t count[8];
    for (int i = 0; i < 8; i++) count[i] = (uint8_t)((uint64_t)padded >> (8 * i));
    status s =
        length > MOST_HEADER_BYTES - 64
            ? ingot_fail(w->ctx, INGOT_ERROR_ARGUMENT, "%s: a header of 100 MB or more is not safetensors", w->path)
            : file_write(w->file, count, 8);
    if (!s) s = file_write(w->file, header, length);
    char spaces[64];
    memset(spaces, ' ', sizeof spaces);
    if (!s) s = file_write(w->file, spaces, padded - length);
    free(header);
    return s;
}

status safetensors_append(safetensors_writer *w, const void *bytes, uint64_t count)
{
    if (!w->error && !w->began) keep_error(w, begin(w));
    uint64_t end;
    if (!w->error && (!checked_add(w->written, count, &end) || end > w->declared))
        keep_error(w, ingot_fail(w->ctx, INGOT_ERROR_INTERNAL, "%s: more data than was declared", w->path));
    if (!w->error) keep_error(w, file_write(w->file, bytes, count));
    if (!w->error) w->written = end;
    return w->error;
}

status safetensors_commit(safetensors_writer *w)
{
    safetensors_append(w, NULL, 0);
    if (!w->error && w->written != w->declared)
        keep_error(w, ingot_fail(w->ctx, INGOT_ERROR_INTERNAL, "%s: %llu bytes were declared and %llu written", w->path,
                                 (unsigned long long)w->declared, (unsigned long long)w->written));
    status s = w->error;
    if (!s) {
        s = file_commit(w->file);
        w->file = NULL;
    }
    safetensors_abandon(w);
    return s;
}
