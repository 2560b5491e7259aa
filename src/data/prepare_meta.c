/* meta.json of a data folder: what the token files are, written when they are whole. */
#include "data/prepare.h"
#include "formats/json.h"

#include <stdio.h>

enum { MOST_META_BYTES = 1 << 20, META_VERSION = 1, MOST_SHARDS = 1 << 20 };

static json_t *split_to_json(int shards, const ingot_split_info *info)
{
    return json_pack("{s:i, s:I, s:I, s:I}", "shards", shards, "tokens", (json_int_t)info->tokens, "documents",
                     (json_int_t)info->documents, "text_bytes", (json_int_t)info->text_bytes);
}

status data_meta_write(context *ctx, const char *folder, const data_meta *meta)
{
    char checksum[24];
    snprintf(checksum, sizeof checksum, "%016llx", (unsigned long long)meta->tokenizer_checksum);
    json_t *root = json_pack(
        "{s:s, s:i, s:{s:s, s:i, s:i}, s:s, s:o, s:o}", "format", "ingot-data", "version", META_VERSION, "tokenizer",
        "checksum", checksum, "vocab_size", meta->vocab_size, "eot", meta->eot, "rows", meta->rows, "train",
        split_to_json(meta->train.shards, &meta->train.info), "val", split_to_json(meta->val.shards, &meta->val.info));
    char *path = path_join(folder, DATA_META);
    status s = root && path ? json_write_file(ctx, path, root) : fail_memory(ctx, DATA_META, 4096);
    free(path);
    json_decref(root);
    return s;
}

static void split_from_json(json_fields *outer, const char *key, int *shards, ingot_split_info *info)
{
    json_fields f = json_fields_in(outer, key);
    *shards = (int)field_int(&f, "shards", 0, MOST_SHARDS);
    info->tokens = field_int(&f, "tokens", 0, INT64_MAX);
    info->documents = field_int(&f, "documents", 0, INT64_MAX);
    info->text_bytes = field_int(&f, "text_bytes", 0, INT64_MAX);
}

static status meta_from_json(context *ctx, const char *path, const json_t *root, data_meta *meta)
{
    json_fields f = json_fields_of(ctx, path, root);
    const char *format = field_string(&f, "format");
    if (format && strcmp(format, "ingot-data")) field_refuse(&f, "format", "is \"%s\", not ingot-data", format);
    field_int(&f, "version", META_VERSION, META_VERSION);
    json_fields t = json_fields_in(&f, "tokenizer");
    const char *checksum = field_string(&t, "checksum"), *rows = field_string(&f, "rows");
    meta->vocab_size = (int)field_int(&t, "vocab_size", 1, INT32_MAX);
    meta->eot = (int)field_int(&t, "eot", -1, INT32_MAX);
    split_from_json(&f, "train", &meta->train.shards, &meta->train.info);
    split_from_json(&f, "val", &meta->val.shards, &meta->val.info);
    if (!f.error && strcmp(rows, "stream") && strcmp(rows, "document"))
        field_refuse(&f, "rows", "is \"%s\", neither stream nor document", rows);
    if (f.error) return f.error;
    char *end;
    meta->tokenizer_checksum = strtoull(checksum, &end, 16);
    if (*end || !*checksum)
        return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s: the tokenizer's checksum is no number", path);
    snprintf(meta->rows, sizeof meta->rows, "%s", rows);
    return INGOT_OK;
}

status data_meta_read(context *ctx, const char *folder, data_meta *meta)
{
    *meta = (data_meta){0};
    char *path = path_join(folder, DATA_META);
    if (!path) return fail_memory(ctx, folder, strlen(folder));
    json_t *root = NULL;
    status s = INGOT_OK;
    if (!file_exists(path))
        s = ingot_fail(ctx, INGOT_ERROR_FILE,
                       "%s has no meta.json: it is not a folder of `ingot data prepare`, or that was not finished",
                       folder);
    if (!s) s = json_read_file(ctx, path, MOST_META_BYTES, &root);
    if (!s) s = meta_from_json(ctx, path, root, meta);
    json_decref(root);
    free(path);
    return s;
}
