/* Files on POSIX systems: maps, atomic writers, folders, links, locks. */
#define _GNU_SOURCE
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

status file_map_open(context *ctx, const char *path, file_map *out)
{
    *out = (file_map){.at = (const uint8_t *)""};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(ctx, "open", path);
    struct stat info;
    status s = INGOT_OK;
    if (fstat(fd, &info)) {
        s = fail_errno(ctx, "read", path);
    } else if (!S_ISREG(info.st_mode)) {
        s = ingot_fail(ctx, INGOT_ERROR_FILE, "%s is not a plain file", path);
    } else if (info.st_size > 0) {
        void *at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (at == MAP_FAILED)
            s = fail_errno(ctx, "map", path);
        else
            *out = (file_map){.at = at, .bytes = (uint64_t)info.st_size};
    }
    close(fd);
    return s;
}

void file_map_close(file_map *map)
{
    if (map->bytes) munmap((void *)(uintptr_t)map->at, (size_t)map->bytes);
    *map = (file_map){0};
}

struct file_writer {
    context *ctx;
    FILE *file;
    char *path, *temporary;
    bool failed;
};

/* The folder that holds `path`, freed by the caller. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static void writer_free(file_writer *w)
{
    free(w->path);
    free(w->temporary);
    free(w);
}

/* A new file beside w->path, with the rights that the user's umask gives. What is no plain file (/dev/null, a pipe) cannot
 * be replaced and is opened itself. */
static int open_temporary(file_writer *w)
{
    struct stat info;
    if (!stat(w->path, &info) && !S_ISREG(info.st_mode)) return open(w->path, O_WRONLY | O_CLOEXEC);
    for (int attempt = 0; attempt < 1000; attempt++) { /* a killed process of the same number may have left its own */
        char *name;
        if (asprintf(&name, "%s.%ld-%d.tmp", w->path, (long)getpid(), attempt) < 0) return -1;
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        int number = errno;
        if (fd >= 0) {
            w->temporary = name;
            return fd;
        }
        free(name);
        errno = number;
        if (number != EEXIST) return -1;
    }
    return -1;
}

status file_create(context *ctx, const char *path, file_writer **out)
{
    *out = NULL;
    file_writer *w = calloc(1, sizeof *w);
    if (!w) return fail_memory(ctx, path, sizeof *w);
    w->ctx = ctx;
    w->path = strdup(path);
    if (!w->path) {
        writer_free(w);
        return fail_memory(ctx, path, strlen(path));
    }
    int fd = open_temporary(w);
    if (fd >= 0) w->file = fdopen(fd, "wb");
    if (!w->file) {
        status s = fail_errno(ctx, "write", path);
        if (fd >= 0) {
            close(fd);
            if (w->temporary) unlink(w->temporary);
        }
        writer_free(w);
        return s;
    }
    *out = w;
    return INGOT_OK;
}

static status write_failed(file_writer *w)
{
    w->failed = true;
    return fail_errno(w->ctx, "write", w->path);
}

status file_write(file_writer *w, const void *bytes, uint64_t count)
{
    if (count && fwrite(bytes, 1, (size_t)count, w->file) != count) return write_failed(w);
    return INGOT_OK;
}

status file_rewrite(file_writer *w, uint64_t offset, const void *bytes, uint64_t count)
{
    if (fseeko(w->file, (off_t)offset, SEEK_SET)) return write_failed(w);
    TRY(file_write(w, bytes, count));
    return fseeko(w->file, 0, SEEK_END) ? write_failed(w) : INGOT_OK;
}

status file_printf(file_writer *w, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int written = vfprintf(w->file, format, arguments);
    va_end(arguments);
    return written < 0 ? write_failed(w) : INGOT_OK;
}

void file_abandon(file_writer *w)
{
    if (!w) return;
    if (w->file) fclose(w->file);
    if (w->temporary) unlink(w->temporary);
    writer_free(w);
}

status file_commit(file_writer *w)
{
    context *ctx = w->ctx;
    status s = INGOT_OK;
    if (w->failed) {
        s = ingot_fail(ctx, INGOT_ERROR_FILE, "%s was not written: an earlier write failed", w->path);
    } else if (fflush(w->file) || (w->temporary && fsync(fileno(w->file)))) {
        s = write_failed(w);
    }
    if (s) {
        file_abandon(w);
        return s;
    }
    int closed = fclose(w->file);
    w->file = NULL;
    if (closed || (w->temporary && rename(w->temporary, w->path))) {
        s = fail_errno(ctx, "write", w->path);
        file_abandon(w);
        return s;
    }
    char *folder = w->temporary ? parent_of(w->path) : NULL;
    if (folder) s = directory_sync(ctx, folder);
    free(folder);
    writer_free(w);
    return s;
}

status file_write_whole(context *ctx, const char *path, const void *bytes, uint64_t count)
{
    file_writer *w;
    TRY(file_create(ctx, path, &w));
    status s = file_write(w, bytes, count);
    if (!s) return file_commit(w);
    file_abandon(w);
    return s;
}

status file_read_whole(context *ctx, const char *path, uint64_t most_bytes, text *out)
{
    file_map map;
    TRY(file_map_open(ctx, path, &map));
    status s = INGOT_OK;
    if (map.bytes > most_bytes) {
        char have[24], most[24];
        s = ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s has %s; at most %s are read here", path,
                       format_bytes(have, map.bytes), format_bytes(most, most_bytes));
    } else {
        text_add(out, (const char *)map.at, (size_t)map.bytes);
        if (out->failed) s = fail_memory(ctx, path, map.bytes);
    }
    file_map_close(&map);
    return s;
}

status directory_create(context *ctx, const char *path)
{
    char *partial = strdup(path);
    if (!partial) return fail_memory(ctx, path, strlen(path));
    status s = INGOT_OK;
    for (char *slash = partial + 1; *partial && !s; slash++) {
        if (*slash != '/' && *slash) continue;
        char kept = *slash;
        *slash = 0;
        if (mkdir(partial, 0777) && !(errno == EEXIST && directory_exists(partial)))
            s = fail_errno(ctx, "create folder", partial);
        *slash = kept;
        if (!kept) break;
    }
    free(partial);
    return s;
}

status directory_sync(context *ctx, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_errno(ctx, "open folder", path);
    /* Some file systems cannot sync a folder and say EINVAL; there is nothing better to do there. */
    int failed = fsync(fd) && errno != EINVAL;
    close(fd);
    return failed ? fail_errno(ctx, "sync folder", path) : INGOT_OK;
}

status directory_remove(context *ctx, const char *path)
{
    DIR *folder = opendir(path);
    if (!folder) return errno == ENOENT ? INGOT_OK : fail_errno(ctx, "open folder", path);
    status s = INGOT_OK;
    for (struct dirent *entry; !s && (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *inner = path_join(path, entry->d_name);
        struct stat info;
        if (!inner)
            s = fail_memory(ctx, path, strlen(path));
        else if (!lstat(inner, &info) && S_ISDIR(info.st_mode))
            s = directory_remove(ctx, inner);
        else if (unlink(inner))
            s = fail_errno(ctx, "remove", inner);
        free(inner);
    }
    closedir(folder);
    if (!s && rmdir(path)) s = fail_errno(ctx, "remove folder", path);
    return s;
}

status symlink_replace(context *ctx, const char *target, const char *path)
{
    char *temporary;
    if (asprintf(&temporary, "%s.new-%ld", path, (long)getpid()) < 0) return fail_memory(ctx, path, strlen(path));
    status s = INGOT_OK;
    unlink(temporary);
    if (symlink(target, temporary) || rename(temporary, path)) {
        s = fail_errno(ctx, "link", path);
        unlink(temporary);
    }
    free(temporary);
    char *folder = s ? NULL : parent_of(path);
    if (folder) s = directory_sync(ctx, folder);
    free(folder);
    return s;
}

bool file_exists(const char *path)
{
    struct stat info;
    return !stat(path, &info);
}

bool file_same(const char *one, const char *other)
{
    struct stat a, b;
    return !stat(one, &a) && !stat(other, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool directory_exists(const char *path)
{
    struct stat info;
    return !stat(path, &info) && S_ISDIR(info.st_mode);
}

uint64_t file_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) ? 0 : (uint64_t)info.st_size;
}

char *path_join(const char *folder, const char *name)
{
    size_t length = strlen(folder);
    bool slash = length && folder[length - 1] == '/';
    char *joined;
    return asprintf(&joined, "%s%s%s", folder, slash || !length ? "" : "/", name) < 0 ? NULL : joined;
}

struct file_lock {
    int fd;
};

status file_lock_take(context *ctx, const char *path, file_lock **out)
{
    *out = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return fail_errno(ctx, "open", path);
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        bool held = errno == EWOULDBLOCK;
        status s = held ? ingot_fail(ctx, INGOT_ERROR_FILE, "%s is held by another process", path)
                        : fail_errno(ctx, "lock", path);
        close(fd);
        return s;
    }
    file_lock *lock = malloc(sizeof *lock);
    if (!lock) {
        close(fd);
        return fail_memory(ctx, path, sizeof *lock);
    }
    lock->fd = fd;
    *out = lock;
    return INGOT_OK;
}

void file_lock_release(file_lock *lock)
{
    if (!lock) return;
    close(lock->fd); /* the file stays: removing it would let two processes lock two files of one name */
    free(lock);
}
