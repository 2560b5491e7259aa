/* What a checkpoint of a run says of its own files: training_state.json holds the XXH3 of each, and one of itself. */
#define _GNU_SOURCE
#include "models/model.h"
#include "base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <xxhash.h>

#define MOST_STATE_BYTES (1u << 20)

static void print_checksum(char out[CHECKSUM_SIZE], uint64_t sum)
{
    snprintf(out, CHECKSUM_SIZE, "xxh3:%016llx", (unsigned long long)sum);
}

/* Read in pieces: a map of the whole file would count as this process's memory. */
static status checksum_of_file(context *ctx, const char *folder, const char *name, char out[CHECKSUM_SIZE])
{
    enum { PIECE = 1 << 20 };
    char *path = path_join(folder, name);
    FILE *f = path ? fopen(path, "rbe") : NULL;
    status s = path && !f ? fail_errno(ctx, "open", path) : INGOT_OK;
    void *piece = malloc(PIECE);
    XXH3_state_t *hash = XXH3_createState();
    if (!path || !piece || !hash) s = fail_memory(ctx, folder, PIECE);
    if (!s) XXH3_64bits_reset(hash);
    for (size_t count; !s && (count = fread(piece, 1, PIECE, f));) XXH3_64bits_update(hash, piece, count);
    if (!s && ferror(f)) s = fail_errno(ctx, "read", path);
    if (!s) print_checksum(out, XXH3_64bits_digest(hash));
    if (f) fclose(f);
    XXH3_freeState(hash);
    free(piece);
    free(path);
    return s;
}

bool checksum_of_object(const json_t *root, char out[CHECKSUM_SIZE])
{
    json_t *rest = json_copy((json_t *)(uintptr_t)root);
    if (rest) json_object_del(rest, "checksum");
    char *bytes = rest ? json_dumps(rest, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(rest);
    if (!bytes) return false;
    print_checksum(out, XXH3_64bits(bytes, strlen(bytes)));
    free(bytes);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

status checksums_of_folder(context *ctx, const char *folder, json_t *out)
{
    ARRAY(char *) names = {0};
    DIR *d = opendir(folder);
    if (!d) return fail_errno(ctx, "open folder", folder);
    status s = INGOT_OK;
    for (struct dirent *entry; !s && (entry = readdir(d));) {
        if (*entry->d_name == '.') continue;
        char *name = strdup(entry->d_name);
        if (!name || !ARRAY_PUSH(&names, name)) s = fail_memory(ctx, folder, 64);
    }
    closedir(d);
    if (names.count) qsort(names.at, (size_t)names.count, sizeof *names.at, by_name);
    for (int64_t i = 0; i < names.count; i++) {
        char sum[CHECKSUM_SIZE];
        if (!s) s = checksum_of_file(ctx, folder, names.at[i], sum);
        if (!s && json_object_set_new(out, names.at[i], json_string(sum))) s = fail_memory(ctx, folder, 64);
        free(names.at[i]);
    }
    ARRAY_FREE(&names);
    return s;
}

static status check_file(context *ctx, const char *folder, const char *name, const char *wanted)
{
    char have[CHECKSUM_SIZE];
    if (!wanted || strchr(name, '/'))
        return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s/" TRAINING_STATE_FILE ": files: %s is no checksum", folder,
                          name);
    TRY(checksum_of_file(ctx, folder, name, have));
    if (!strcmp(have, wanted)) return INGOT_OK;
    return ingot_fail(ctx, INGOT_ERROR_FORMAT,
                      "%s/%s is damaged or was changed: its checksum is %s, the checkpoint says %s. Use an older "
                      "checkpoint of the run (steps/); if it was changed on purpose, remove " TRAINING_STATE_FILE
                      ": the folder is a model without a training state then",
                      folder, name, have, wanted);
}

static status check_files(context *ctx, const char *folder, const json_t *files, bool optimizer)
{
    const char *name;
    json_t *sum;
    json_object_foreach((json_t *)(uintptr_t)files, name, sum) if (optimizer || strcmp(name, OPTIMIZER_FILE))
        TRY(check_file(ctx, folder, name, json_string_value(sum)));
    return INGOT_OK;
}

status checkpoint_check(context *ctx, const char *folder, bool optimizer)
{
    char *path = path_join(folder, TRAINING_STATE_FILE);
    if (!path) return fail_memory(ctx, folder, 64);
    json_t *root = NULL;
    status s = file_exists(path) ? json_read_file(ctx, path, MOST_STATE_BYTES, &root) : INGOT_OK;
    if (root) {
        json_fields f = json_fields_of(ctx, path, root);
        const char *wanted = field_string(&f, "checksum");
        const json_t *files = json_object_get(root, "files");
        char have[CHECKSUM_SIZE];
        if (!f.error && (!checksum_of_object(root, have) || strcmp(wanted, have)))
            field_refuse(&f, "checksum", "does not fit: the file is damaged or was edited");
        if (!f.error && !json_is_object(files)) field_refuse(&f, "files", "are missing");
        s = f.error ? f.error : check_files(ctx, folder, files, optimizer);
    }
    json_decref(root);
    free(path);
    return s;
}
