/* Opens token files and gives ranges of ids; see data.h. */
#define _GNU_SOURCE
#include "data/data.h"
#include "data/prepare.h"

#include <glob.h>
#include <stdio.h>

static status add_shard(ingot_data *data, const char *path, bool raw_u16)
{
    token_bin shard;
    TRY(token_bin_open(data->ctx, path, raw_u16, &shard));
    if (!ARRAY_PUSH(&data->shards, shard)) {
        token_bin_close(&shard);
        return fail_memory(data->ctx, path, sizeof shard);
    }
    data->tokens += shard.count; /* of at most 2^20 shards below 2^31 each: far from wrapping */
    return ARRAY_PUSH(&data->ends, data->tokens) ? INGOT_OK : fail_memory(data->ctx, path, sizeof data->tokens);
}

static status open_folder(ingot_data *data, const char *folder, const char *split)
{
    data_meta meta;
    TRY(data_meta_read(data->ctx, folder, &meta));
    bool train = !strcmp(split, "train");
    if (!train && strcmp(split, "val"))
        return ingot_fail(data->ctx, INGOT_ERROR_ARGUMENT, "no split \"%s\": there are train and val", split);
    int shards = train ? meta.train.shards : meta.val.shards;
    data->info = train ? meta.train.info : meta.val.info;
    data->tokenizer_checksum = meta.tokenizer_checksum;
    data->vocab_size = meta.vocab_size;
    data->eot = meta.eot;
    snprintf(data->rows, sizeof data->rows, "%s", meta.rows);
    if (!shards)
        return ingot_fail(data->ctx, INGOT_ERROR_FILE, "%s has no %s split; prepare it with --val-fraction", folder,
                          split);
    for (int i = 0; i < shards; i++) {
        char name[64];
        shard_name(split, i, name);
        char *path = path_join(folder, name);
        status s = path ? add_shard(data, path, false) : fail_memory(data->ctx, name, strlen(folder));
        free(path);
        TRY(s);
    }
    if (data->tokens != data->info.tokens)
        return ingot_fail(data->ctx, INGOT_ERROR_FORMAT,
                          "%s: meta.json promises %lld tokens of %s, its files hold %lld; prepare it again", folder,
                          (long long)data->info.tokens, split, (long long)data->tokens);
    return INGOT_OK;
}

static status open_glob(ingot_data *data, const char *pattern, bool raw_u16)
{
    glob_t matches = {0};
    status s = INGOT_OK;
    if (glob(pattern, 0, NULL, &matches)) s = ingot_fail(data->ctx, INGOT_ERROR_FILE, "no file matches %s", pattern);
    for (size_t i = 0; !s && i < matches.gl_pathc; i++) s = add_shard(data, matches.gl_pathv[i], raw_u16);
    globfree(&matches);
    return s;
}

ingot_status ingot_data_open(ingot_context *ctx, const char *path, const char *split, const ingot_data_options *options,
                             ingot_data **out)
{
    *out = NULL;
    ingot_data *data = calloc(1, sizeof *data);
    if (!data) return fail_memory(ctx, path, sizeof *data);
    *data = (ingot_data){.ctx = ctx, .eot = options && options->has_eot ? options->eot : -1, .rows = "stream"};
    bool raw = options && options->raw_u16, folder = directory_exists(path);
    status s;
    if (asprintf(&data->name, folder ? "%s, %s" : "%s", path, split) < 0) {
        data->name = NULL;
        s = fail_memory(ctx, path, strlen(path));
    } else if (folder) {
        s = open_folder(data, path, split);
    } else if (!file_exists(path) && !strpbrk(path, "*?[")) {
        s = ingot_fail(ctx, INGOT_ERROR_FILE,
                       "%s: there is no such folder or file; `ingot data prepare` makes one from text", path);
    } else {
        s = file_exists(path) ? add_shard(data, path, raw) : open_glob(data, path, raw);
        data->info.tokens = data->tokens;
    }
    if (!s && !data->tokens) s = ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s holds no tokens", data->name);
    if (s) {
        ingot_data_free(data);
        return s;
    }
    *out = data;
    return INGOT_OK;
}

void ingot_data_free(ingot_data *data)
{
    if (!data) return;
    for (int64_t i = 0; i < data->shards.count; i++) token_bin_close(&data->shards.at[i]);
    ARRAY_FREE(&data->shards);
    ARRAY_FREE(&data->ends);
    free(data->name);
    free(data);
}

ingot_split_info ingot_data_info(const ingot_data *data)
{
    return data->info;
}

uint64_t ingot_data_tokenizer_checksum(const ingot_data *data)
{
    return data->tokenizer_checksum;
}

int ingot_data_vocab_size(const ingot_data *data)
{
    return data->vocab_size;
}

int ingot_data_eot(const ingot_data *data)
{
    return data->eot;
}

const char *ingot_data_rows(const ingot_data *data)
{
    return data->rows;
}

/* The shard that holds token `at`. */
static int64_t shard_of(const ingot_data *data, int64_t at)
{
    int64_t low = 0, high = data->shards.count - 1;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (data->ends.at[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

ingot_status ingot_data_read(const ingot_data *data, int64_t first, int64_t count, int32_t *tokens)
{
    if (first < 0 || count < 0 || count > data->tokens - first)
        return ingot_fail(data->ctx, INGOT_ERROR_ARGUMENT, "%s: tokens %lld to %lld of %lld were asked for", data->name,
                          (long long)first, (long long)first + count, (long long)data->tokens);
    for (int64_t i = count ? shard_of(data, first) : 0; count > 0; i++) {
        const token_bin *shard = &data->shards.at[i];
        int64_t inside = first - (data->ends.at[i] - shard->count), now = MIN(count, shard->count - inside);
        token_bin_read(shard, inside, now, tokens);
        first += now, tokens += now, count -= now;
    }
    return INGOT_OK;
}

status data_documents(const ingot_data *data, int64_t **index, int64_t *count)
{
    ARRAY(int64_t) starts = {0};
    status s = INGOT_OK;
    for (int64_t at = 0; at < data->tokens && !s;) {
        int32_t ids[4096];
        int64_t now = MIN(data->tokens - at, (int64_t)COUNT(ids));
        s = ingot_data_read(data, at, now, ids);
        for (int64_t i = 0; i < now && !s; i++)
            if ((ids[i] == data->eot || at + i == 0) && !ARRAY_PUSH(&starts, at + i))
                s = fail_memory(data->ctx, "the documents' places", (uint64_t)starts.count * 8);
        at += now;
    }
    *count = starts.count;
    if (!s && !ARRAY_PUSH(&starts, data->tokens)) s = fail_memory(data->ctx, "the documents' places", 8);
    if (s) ARRAY_FREE(&starts);
    *index = starts.at;
    return s;
}
