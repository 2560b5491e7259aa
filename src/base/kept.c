/* Files of what is kept: a header of 32 bytes, then the bytes. */
#include "base/kept.h"

#include "base/file.h"

#include <stdio.h>
#include <xxhash.h>

#define MAGIC      "ingot-kept-01\n\0" /* 16 bytes with the closing one */
#define MOST_BYTES ((uint64_t)64 << 20)

typedef struct header {
    char magic[16];
    uint64_t count, sum;
} header;

static char *path_of(const char *folder, const kept_key *key)
{
    char name[128];
    XXH128_hash_t maker = XXH3_128bits(key->maker, strlen(key->maker));
    XXH128_hash_t sum = XXH3_128bits_withSeed(key->source, strlen(key->source), maker.low64 ^ maker.high64);
    snprintf(name, sizeof name, "%.80s/%016llx%016llx", key->kind, (unsigned long long)sum.high64,
             (unsigned long long)sum.low64);
    return path_join(folder, name);
}

bool kept_read(context *ctx, const char *folder, const kept_key *key, text *out)
{
    header h;
    *out = (text){0};
    char *path = path_of(folder, key);
    bool there = path && file_exists(path) && !file_read_whole(ctx, path, MOST_BYTES, out);
    free(path);
    bool whole = there && (uint64_t)out->length > sizeof h;
    if (whole) {
        memcpy(&h, out->at, sizeof h);
        uint64_t count = (uint64_t)out->length - sizeof h;
        whole = !memcmp(h.magic, MAGIC, sizeof h.magic) && h.count == count &&
                h.sum == XXH3_64bits(out->at + sizeof h, (size_t)count);
    }
    if (!whole) {
        text_free(out);
        *out = (text){0};
        return false;
    }
    memmove(out->at, out->at + sizeof h, (size_t)h.count);
    out->length = (size_t)h.count;
    return true;
}

void kept_write(context *ctx, const char *folder, const kept_key *key, const void *bytes, uint64_t count)
{
    header h = {.count = count, .sum = XXH3_64bits(bytes, (size_t)count)};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    char *path = path_of(folder, key), *kind = path_join(folder, key->kind);
    file_writer *w = NULL;
    bool good = path && kind && !directory_create(ctx, kind) && !file_create(ctx, path, &w) &&
                !file_write(w, &h, sizeof h) && !file_write(w, bytes, count);
    if (good)
        (void)file_commit(w);
    else
        file_abandon(w);
    free(path);
    free(kind);
}
