/* One split's token files, a new one when the last is full; see prepare.h. */
#include "data/prepare.h"

#include <stdio.h>

void shard_name(const char *split, int index, char out[64])
{
    if (index)
        snprintf(out, 64, "%s_%06d.bin", split, index);
    else
        snprintf(out, 64, "%s.bin", split);
}

static status open_next(shard_writer *w)
{
    char name[64];
    shard_name(w->split, w->shards, name);
    char *path = path_join(w->folder, name);
    if (!path) return fail_memory(w->ctx, name, strlen(w->folder));
    status s = token_bin_create(w->ctx, path, w->id_bytes, &w->file);
    free(path);
    w->shards += !s;
    return s;
}

static status close_current(shard_writer *w)
{
    token_bin_writer *file = w->file;
    w->file = NULL;
    return file ? token_bin_commit(file) : INGOT_OK;
}

status shard_add(shard_writer *w, const int32_t *ids, int64_t count)
{
    while (count > 0) {
        if (!w->file) TRY(open_next(w));
        int64_t now = MIN(count, w->shard_tokens - token_bin_written(w->file));
        TRY(token_bin_add(w->file, ids, now));
        w->info.tokens += now;
        ids += now, count -= now;
        if (token_bin_written(w->file) == w->shard_tokens) TRY(close_current(w));
    }
    return INGOT_OK;
}

status shard_finish(shard_writer *w)
{
    return close_current(w);
}

void shard_abandon(shard_writer *w)
{
    token_bin_abandon(w->file);
    w->file = NULL;
}
