/* Which directory a --model argument means, and the tokenizer's files in it. */
#define _XOPEN_SOURCE 700 /* strdup */
#include "models/model.h"
#include "formats/folder.h"

#include <stdio.h>

static bool has(const char *directory, const char *name)
{
    char *path = path_join(directory, name);
    bool there = path && file_exists(path);
    free(path);
    return there;
}

static bool is_model(const char *directory)
{
    return has(directory, "config.json") || has(directory, "adapter_config.json");
}

status model_resolve(context *ctx, const char *path, char **out)
{
    *out = NULL;
    if (!directory_exists(path)) {
        if (file_exists(path))
            return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                              "%s is a file; a model is a directory: a run, a checkpoint in it, or a Hugging Face "
                              "directory with config.json and model.safetensors",
                              path);
        return ingot_fail(ctx, INGOT_ERROR_FILE,
                          "%s: there is no such directory; a model is a run of ingot train or a "
                          "Hugging Face directory on this machine",
                          path);
    }
    char *last = path_join(path, "last");
    if (!last) return fail_memory(ctx, "a path", 0);
    bool run = is_model(last) && folder_holds(path) == FOLDER_RUN;
    if (is_model(path) && !run) {
        free(last);
        *out = path_join(path, ".");
        if (!*out) return fail_memory(ctx, "a path", 0);
        (*out)[strlen(*out) - 2] = 0; /* without "/." */
        return INGOT_OK;
    }
    if (is_model(last)) {
        *out = last;
        return INGOT_OK;
    }
    bool is_data = folder_holds(path) == FOLDER_DATA, begun = has(path, "run.yaml");
    free(last);
    if (is_data)
        return ingot_fail(ctx, INGOT_ERROR_FILE,
                          "%s is a folder of data; a model is what `ingot train --data %s --output run` makes of it",
                          path, path);
    if (begun) return ingot_fail(ctx, INGOT_ERROR_FILE, "%s is a run without a checkpoint yet (no `last`)", path);
    return ingot_fail(ctx, INGOT_ERROR_FILE, "%s holds no model: neither config.json nor a checkpoint `last`", path);
}

static const char *const tokenizer_files[] = {"tokenizer.json",      "tokenizer_config.json",
                                              "chat_template.jinja", "special_tokens_map.json",
                                              "added_tokens.json",   "vocab.json",
                                              "merges.txt"};

static status copy_file(context *ctx, const char *from, const char *to)
{
    if (file_same(from, to)) return INGOT_OK;
    file_map map;
    TRY(file_map_open(ctx, from, &map));
    status s = file_write_whole(ctx, to, map.at, map.bytes);
    file_map_close(&map);
    return s;
}

status model_copy_tokenizer(context *ctx, const char *from, const char *directory)
{
    status s = INGOT_OK;
    bool one_file = !directory_exists(from);
    for (size_t i = 0; i < (one_file ? 1 : COUNT(tokenizer_files)) && !s; i++) {
        char *source = one_file ? strdup(from) : path_join(from, tokenizer_files[i]);
        char *target = path_join(directory, tokenizer_files[i]);
        if (!source || !target)
            s = fail_memory(ctx, "a path", 0);
        else if (one_file || file_exists(source))
            s = copy_file(ctx, source, target);
        free(source);
        free(target);
    }
    return s;
}
