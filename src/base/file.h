/* Files: mapped for reading, written whole or not at all. Paths are UTF-8 as the system takes them. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/base.h"
#include <stdio.h>

/* A read-only view of a whole file. An empty file gives bytes = 0 and a valid, empty view. */
typedef struct file_map {
    const uint8_t *at;
    uint64_t bytes;
} file_map;
status file_map_open(context *ctx, const char *path, file_map *out);
void file_map_close(file_map *map);

/* Written under a temporary name beside `path`; file_commit syncs and renames it there, file_abandon removes it.
 * A kill at any moment leaves either the old file or the new one. Write errors (a full disk) are returned by each call;
 * after one the writer must be abandoned. */
typedef struct file_writer file_writer;
status file_create(context *ctx, const char *path, file_writer **out);
status file_write(file_writer *w, const void *bytes, uint64_t count);
status file_printf(file_writer *w, const char *format, ...) INGOT_PRINTF(2, 3);
status file_rewrite(file_writer *w, uint64_t offset, const void *bytes, uint64_t count); /* a header, at the end */
status file_commit(file_writer *w); /* frees w, whatever it returns */
void file_abandon(file_writer *w);  /* frees w; NULL is fine */

status file_write_whole(context *ctx, const char *path, const void *bytes, uint64_t count);
status file_read_whole(context *ctx, const char *path, uint64_t most_bytes, text *out);

status directory_create(context *ctx, const char *path); /* with parents; fine when it is there */
status directory_sync(context *ctx, const char *path);
status directory_remove(context *ctx, const char *path);                    /* a tree of plain files and folders */
status symlink_replace(context *ctx, const char *target, const char *path); /* relative target, by rename */
bool file_exists(const char *path);
bool file_same(const char *one, const char *other); /* both there, and one file */
bool directory_exists(const char *path);
uint64_t file_bytes(const char *path); /* 0 when it is not there */

/* Joins with one slash; freed by the caller. NULL when memory is out. */
char *path_join(const char *folder, const char *name);

/* A lock file that two processes cannot hold at once; released by the system when a process dies. */
typedef struct file_lock file_lock;
status file_lock_take(context *ctx, const char *path, file_lock **out); /* fails when another process holds it */
void file_lock_release(file_lock *lock);

#endif
