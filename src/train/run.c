#define _GNU_SOURCE
#include "train/run.h"
#include "formats/folder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct run {
    context *ctx;
    file_lock *lock;
    char *path, *steps; /* "run", "run/steps" */
    char *working;      /* the checkpoint that is being written, or NULL */
    int64_t step;
};

static char *step_path(const char *steps, const char *prefix, int64_t step)
{
    char *out;
    return asprintf(&out, "%s/%s%06lld", steps, prefix, (long long)step) < 0 ? NULL : out;
}

char *run_checkpoint(const char *path, const char *link)
{
    char *name = path_join(path, link), target[256], *out = NULL;
    ssize_t length = name ? readlink(name, target, sizeof target - 1) : -1;
    free(name);
    if (length <= 0) return NULL;
    target[length] = 0;
    out = path_join(path, target);
    if (out && !directory_exists(out)) free(out), out = NULL;
    return out;
}

int64_t run_checkpoint_step(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *digits = slash ? slash + 1 : path;
    if (!isdigit((unsigned char)*digits)) return -1;
    char *end;
    errno = 0;
    long long step = strtoll(digits, &end, 10);
    return *end || errno ? -1 : step;
}

/* Removed in two moves, so that a kill never leaves half of a checkpoint under its name. */
static status remove_folder(run *r, const char *name)
{
    char *old = path_join(r->steps, name), *trash = NULL;
    status s = !old || asprintf(&trash, "%s/tmp-old-%s", r->steps, name) < 0 ? fail_memory(r->ctx, r->steps, 64) : 0;
    if (!s) s = directory_remove(r->ctx, trash);
    if (!s && rename(old, trash)) s = fail_errno(r->ctx, "remove", old);
    if (!s) s = directory_remove(r->ctx, trash);
    free(old);
    free(trash);
    return s;
}

typedef ARRAY(char *) name_list;

static void free_names(name_list *names)
{
    for (int64_t i = 0; i < names->count; i++) free(names->at[i]);
    ARRAY_FREE(names);
}

static status list_steps(run *r, name_list *names)
{
    DIR *folder = opendir(r->steps);
    if (!folder) return errno == ENOENT ? INGOT_OK : fail_errno(r->ctx, "open folder", r->steps);
    bool full = false;
    for (struct dirent *entry; !full && (entry = readdir(folder));) {
        if (*entry->d_name == '.') continue;
        char *name = strdup(entry->d_name);
        full = !name || !ARRAY_PUSH(names, name);
    }
    closedir(folder);
    return full ? fail_memory(r->ctx, r->steps, 64) : INGOT_OK;
}

static status remove_leftovers(run *r)
{
    name_list names = {0};
    status s = list_steps(r, &names);
    for (int64_t i = 0; !s && i < names.count; i++) {
        if (strncmp(names.at[i], "tmp-", 4)) continue;
        char *path = path_join(r->steps, names.at[i]);
        s = path ? directory_remove(r->ctx, path) : fail_memory(r->ctx, r->steps, 64);
        free(path);
    }
    free_names(&names);
    return s;
}

/* Links first: a run without `last` is no run, whatever else a kill leaves. */
static status remove_run(run *r)
{
    static const char *const files[] = {"last", "best", "log.jsonl", "run.yaml", "loss.png", "loss.svg"};
    for (size_t i = 0; i < COUNT(files); i++) {
        char *path = run_file(r, files[i]);
        if (!path) return fail_memory(r->ctx, r->path, 64);
        int failed = unlink(path) && errno != ENOENT;
        status s = failed ? fail_errno(r->ctx, "remove", path) : INGOT_OK;
        free(path);
        TRY(s);
    }
    return directory_remove(r->ctx, r->steps);
}

/* Checkpoints make a run: a lock, run.yaml and a log are what a start leaves that failed before its first save. */
static bool holds_run(const char *path)
{
    char *last = run_checkpoint(path, "last"), *steps = path_join(path, "steps");
    bool holds = last != NULL;
    DIR *folder = steps && !holds ? opendir(steps) : NULL;
    for (struct dirent *entry; folder && !holds && (entry = readdir(folder));)
        holds = run_checkpoint_step(entry->d_name) >= 0;
    if (folder) closedir(folder);
    free(last);
    free(steps);
    return holds;
}

status run_check_new(context *ctx, const char *path)
{
    TRY(folder_check_output(ctx, path, FOLDER_RUN));
    if (!holds_run(path)) return INGOT_OK;
    return ingot_fail(ctx, INGOT_ERROR_FILE,
                      "%s already holds a run: continue it with --resume %s, replace it with --overwrite, or choose "
                      "another --output",
                      path, path);
}

static status check_mode(run *r, run_open_mode mode)
{
    if (mode == RUN_NEW) return run_check_new(r->ctx, r->path);
    if (mode == RUN_OVERWRITE) {
        TRY(folder_check_output(r->ctx, r->path, FOLDER_RUN));
        return holds_run(r->path) ? remove_run(r) : INGOT_OK;
    }
    char *last = run_checkpoint(r->path, "last");
    bool there = last != NULL;
    free(last);
    if (there) return INGOT_OK;
    return ingot_fail(r->ctx, INGOT_ERROR_FILE,
                      "%s has no checkpoint to resume from (no %s/last): it ended before its first save, or is no run",
                      r->path, r->path);
}

static status take_lock(run *r)
{
    char *path = run_file(r, "lock");
    if (!path) return fail_memory(r->ctx, r->path, 64);
    status s = file_lock_take(r->ctx, path, &r->lock);
    if (s && !access(path, W_OK)) /* it is there and ours to open: somebody holds it */
        s = ingot_fail(r->ctx, INGOT_ERROR_FILE,
                       "another process trains in %s (it holds %s): wait for it, or use another --output", r->path,
                       path);
    free(path);
    return s;
}

status run_open(context *ctx, const char *path, run_open_mode mode, run **out)
{
    *out = NULL;
    if (mode == RUN_RESUME && !directory_exists(path))
        return ingot_fail(ctx, INGOT_ERROR_FILE, "there is no folder %s to resume", path);
    run *r = calloc(1, sizeof *r);
    if (!r) return fail_memory(ctx, path, sizeof *r);
    r->ctx = ctx;
    r->path = strdup(path);
    r->steps = path_join(path, "steps");
    status s = r->path && r->steps ? directory_create(ctx, path) : fail_memory(ctx, path, strlen(path));
    if (!s) s = take_lock(r);
    if (!s) s = check_mode(r, mode);
    if (!s) s = directory_create(ctx, r->steps);
    if (!s) s = remove_leftovers(r);
    if (s) {
        run_close(r);
        return s;
    }
    *out = r;
    return INGOT_OK;
}

void run_close(run *r)
{
    if (!r) return;
    run_checkpoint_abandon(r);
    file_lock_release(r->lock);
    free(r->path);
    free(r->steps);
    free(r);
}

const char *run_path(const run *r)
{
    return r->path;
}

char *run_file(const run *r, const char *name)
{
    return path_join(r->path, name);
}

status run_checkpoint_begin(run *r, int64_t step, const char **folder)
{
    run_checkpoint_abandon(r);
    r->step = step;
    r->working = step_path(r->steps, "tmp-", step);
    if (!r->working) return fail_memory(r->ctx, r->path, 64);
    *folder = r->working;
    TRY(directory_remove(r->ctx, r->working));
    return directory_create(r->ctx, r->working);
}

void run_checkpoint_abandon(run *r)
{
    if (!r->working) return;
    text kept = {0}; /* the message of what failed is worth more than that of the removal */
    text_puts(&kept, ingot_message(r->ctx));
    if (directory_remove(r->ctx, r->working) && kept.at) ingot_fail(r->ctx, INGOT_ERROR_FILE, "%s", kept.at);
    text_free(&kept);
    free(r->working);
    r->working = NULL;
}

static status sync_files(context *ctx, const char *path)
{
    DIR *folder = opendir(path);
    if (!folder) return fail_errno(ctx, "open folder", path);
    status s = INGOT_OK;
    for (struct dirent *entry; !s && (entry = readdir(folder));) {
        if (*entry->d_name == '.') continue;
        int fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fsync(fd)) s = fail_errno(ctx, "sync", path);
        if (fd >= 0) close(fd);
    }
    closedir(folder);
    return s ? s : directory_sync(ctx, path);
}

static status link_step(run *r, const char *link)
{
    char *path = run_file(r, link), target[64];
    if (!path) return fail_memory(r->ctx, r->path, 64);
    snprintf(target, sizeof target, "steps/%06lld", (long long)r->step);
    status s = symlink_replace(r->ctx, target, path);
    free(path);
    return s;
}

/* A checkpoint of this step is there when a killed process had saved it but not yet linked it. */
static status make_room(run *r, const char *final)
{
    return directory_exists(final) ? remove_folder(r, strrchr(final, '/') + 1) : INGOT_OK;
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = run_checkpoint_step(*(char *const *)a), y = run_checkpoint_step(*(char *const *)b);
    return x < y ? 1 : -(x > y);
}

static bool is_link_target(run *r, const char *link, const char *name)
{
    char *target = run_checkpoint(r->path, link);
    bool same = target && !strcmp(strrchr(target, '/') + 1, name);
    free(target);
    return same;
}

/* steps/000200.spared names the adapters that were trained on steps/000200. */
static bool is_spared(run *r, const char *name)
{
    char *mark = NULL;
    bool spared = asprintf(&mark, "%s/%s.spared", r->steps, name) < 0 || file_exists(mark);
    free(mark);
    return spared;
}

status run_spare_checkpoint(context *ctx, const char *checkpoint, const char *adapter)
{
    char *real = realpath(checkpoint, NULL), *mark = NULL;
    if (!real || run_checkpoint_step(real) < 0 || asprintf(&mark, "%s.spared", real) < 0) {
        free(real);
        return INGOT_OK;
    }
    status s = file_write_whole(ctx, mark, adapter, strlen(adapter));
    free(mark);
    free(real);
    return s;
}

static status keep_newest(run *r, int keep)
{
    if (keep <= 0) return INGOT_OK;
    name_list names = {0};
    status s = list_steps(r, &names);
    if (!s && names.count) qsort(names.at, (size_t)names.count, sizeof *names.at, newest_first);
    int kept = 0;
    for (int64_t i = 0; !s && i < names.count; i++) {
        if (run_checkpoint_step(names.at[i]) < 0 || kept++ < keep) continue;
        if (!is_link_target(r, "last", names.at[i]) && !is_link_target(r, "best", names.at[i]) &&
            !is_spared(r, names.at[i]))
            s = remove_folder(r, names.at[i]);
    }
    free_names(&names);
    return s;
}

status run_checkpoint_commit(run *r, bool best, int keep)
{
    char *final = step_path(r->steps, "", r->step);
    if (!final) return fail_memory(r->ctx, r->path, 64);
    status s = sync_files(r->ctx, r->working);
    if (!s) s = make_room(r, final);
    if (!s && rename(r->working, final)) s = fail_errno(r->ctx, "write", final);
    free(final);
    if (s) {
        run_checkpoint_abandon(r);
        return s;
    }
    free(r->working);
    r->working = NULL;
    TRY(directory_sync(r->ctx, r->steps));
    TRY(link_step(r, "last"));
    if (best) TRY(link_step(r, "best"));
    return keep_newest(r, keep);
}
