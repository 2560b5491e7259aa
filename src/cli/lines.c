/* Reads files in blocks that end at a line end. */
#define _GNU_SOURCE
#include "cli/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define BLOCK_BYTES (4 << 20)

status lines_open(context *ctx, arena *a, const char *const *inputs, int64_t count, line_reader *out)
{
    static const char *const standard_input[] = {"-"};
    *out = (line_reader){.ctx = ctx, .current = -1, .fd = -1};
    ingot_corpus_options options = {.inputs = count ? inputs : standard_input, .input_count = count ? (int)count : 1};
    return corpus_expand(ctx, a, &options, &out->sources);
}

static bool is_standard_input(const line_reader *r)
{
    return !strcmp(r->sources.at[r->current].path, "-");
}

const char *lines_path(const line_reader *r)
{
    if (r->current < 0 || r->current >= r->sources.count) return "input";
    return is_standard_input(r) ? "standard input" : r->sources.at[r->current].path;
}

static void close_file(line_reader *r)
{
    if (r->fd > 0) close(r->fd);
    r->fd = -1;
}

static status open_next(line_reader *r)
{
    close_file(r);
    r->current++;
    r->at_end = false;
    r->line = 1;
    if (r->current >= r->sources.count) return INGOT_OK;
    r->fd = is_standard_input(r) ? 0 : open(lines_path(r), O_RDONLY | O_CLOEXEC);
    return r->fd < 0 ? fail_errno(r->ctx, "open", lines_path(r)) : INGOT_OK;
}

/* Reads until the block holds a line end, or the file ends. */
static status fill(line_reader *r)
{
    size_t looked = 0;
    for (;;) {
        bool whole = r->block.length && memrchr(r->block.at + looked, '\n', r->block.length - looked);
        if (r->at_end || (whole && r->block.length >= BLOCK_BYTES)) return INGOT_OK;
        if (!whole) looked = r->block.length;
        size_t room = BLOCK_BYTES, before = r->block.length;
        if (r->block.capacity < before + room + 1) {
            char *moved = realloc(r->block.at, before + before / 2 + room + 1);
            if (!moved) return fail_memory(r->ctx, lines_path(r), before + room);
            r->block.at = moved;
            r->block.capacity = before + before / 2 + room + 1;
        }
        ssize_t got = read(r->fd, r->block.at + before, room);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(r->ctx, "read", lines_path(r));
        r->block.length += (size_t)got;
        r->at_end = got == 0;
        if (ingot_interrupted(r->ctx)) return ingot_fail(r->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
    }
}

status lines_next(line_reader *r, const char **bytes, int64_t *count)
{
    *bytes = NULL;
    *count = -1;
    for (size_t i = 0; i < r->given; i++) r->line += r->block.at[i] == '\n';
    if (r->given) memmove(r->block.at, r->block.at + r->given, r->block.length - r->given);
    r->block.length -= r->given;
    r->given = 0;
    while (!r->block.length) {
        if (r->current < 0 || r->at_end) TRY(open_next(r));
        if (r->current >= r->sources.count) return INGOT_OK;
        TRY(fill(r));
    }
    if (!r->at_end) TRY(fill(r));
    r->given = r->block.length;
    if (!r->at_end) r->given = (size_t)((char *)memrchr(r->block.at, '\n', r->block.length) - r->block.at) + 1;
    r->done += (double)r->given;
    *bytes = r->block.at;
    *count = (int64_t)r->given;
    return INGOT_OK;
}

void lines_close(line_reader *r)
{
    close_file(r);
    text_free(&r->block);
    ARRAY_FREE(&r->sources);
}
