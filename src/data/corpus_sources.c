/* Which files a list of inputs means. */
#define _GNU_SOURCE
#include "base/file.h"
#include "data/corpus.h"

#include <dirent.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEEPEST_FOLDER = 64 };

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), wanted = strlen(end);
    return length >= wanted && !strcmp(name + length - wanted, end);
}

static bool is_jsonl(const char *path)
{
    return ends_with(path, ".jsonl") || ends_with(path, ".ndjson");
}

static status add_file(context *ctx, arena *a, const char *path, bool found, corpus_sources *out)
{
    corpus_source source = {.path = arena_strdup(a, path), .jsonl = is_jsonl(path), .found = found};
    return source.path && ARRAY_PUSH(out, source) ? INGOT_OK : fail_memory(ctx, path, sizeof source);
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static status add_folder(context *ctx, arena *a, const char *path, int depth, corpus_sources *out)
{
    if (depth > DEEPEST_FOLDER)
        return ingot_fail(ctx, INGOT_ERROR_FILE, "%s: folders are nested more than %d deep", path, DEEPEST_FOLDER);
    struct dirent **entries;
    int count = scandir(path, &entries, is_shown, alphasort);
    if (count < 0) return fail_errno(ctx, "open folder", path);
    status s = INGOT_OK;
    for (int i = 0; i < count; i++) {
        char *inner = s ? NULL : path_join(path, entries[i]->d_name);
        struct stat info;
        if (!s && !inner) s = fail_memory(ctx, path, strlen(path));
        if (!s && !lstat(inner, &info)) {
            bool link = S_ISLNK(info.st_mode); /* links to files are followed, to folders not: they may be loops */
            if (link && stat(inner, &info)) info.st_mode = 0;
            if (S_ISDIR(info.st_mode) && !link) s = add_folder(ctx, a, inner, depth + 1, out);
            if (S_ISREG(info.st_mode)) s = add_file(ctx, a, inner, true, out);
        }
        free(inner);
        free(entries[i]);
    }
    free(entries);
    return s;
}

static status add_glob(context *ctx, arena *a, const char *pattern, corpus_sources *out)
{
    glob_t matches = {0};
    int failed = glob(pattern, 0, NULL, &matches);
    status s = INGOT_OK;
    if (failed == GLOB_NOMATCH)
        s = ingot_fail(ctx, INGOT_ERROR_FILE, "no file matches %s", pattern);
    else if (failed)
        s = ingot_fail(ctx, INGOT_ERROR_FILE, "cannot look for files that match %s", pattern);
    for (size_t i = 0; !s && i < matches.gl_pathc; i++) {
        const char *path = matches.gl_pathv[i];
        s = directory_exists(path) ? add_folder(ctx, a, path, 0, out) : add_file(ctx, a, path, false, out);
    }
    globfree(&matches);
    return s;
}

status corpus_expand(context *ctx, arena *a, const ingot_corpus_options *options, corpus_sources *out)
{
    bool standard_input = false;
    for (int i = 0; i < options->input_count; i++) {
        const char *input = options->inputs[i];
        if (!strcmp(input, "-")) {
            if (standard_input) return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "standard input (-) is named twice");
            standard_input = true;
            TRY(add_file(ctx, a, input, false, out));
            out->at[out->count - 1].jsonl = options->field != NULL;
        } else if (directory_exists(input)) {
            int64_t before = out->count;
            TRY(add_folder(ctx, a, input, 0, out));
            if (out->count == before) return ingot_fail(ctx, INGOT_ERROR_FILE, "the folder %s holds no files", input);
        } else if (!file_exists(input) && strpbrk(input, "*?[")) {
            TRY(add_glob(ctx, a, input, out));
        } else {
            if (access(input, R_OK)) return fail_errno(ctx, "open", input);
            TRY(add_file(ctx, a, input, false, out));
        }
    }
    if (!out->count) return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "no text was named: give files, folders, globs or -");
    return INGOT_OK;
}
