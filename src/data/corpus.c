/* Reads documents out of a list of files, in pieces, through one buffer; see ingot/data.h and corpus.h. */
#define _GNU_SOURCE
#include "data/corpus.h"
#include "base/file.h"
#include "formats/jsonl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SLACK = 64, /* bytes behind a piece that must be seen before it is cut: a line <|endoftext|> with its ends */
    READ_AHEAD = 2 * CORPUS_PIECE_BYTES,
    SNIFF_BYTES = 1 << 16,
};

struct ingot_corpus {
    context *ctx;
    arena *arena;
    const char *field, *standard_input;
    bool allow_nul;
    corpus_sources sources;
    int64_t current; /* index of the next source to open, or one behind the open one */

    int fd; /* -1: none is open */
    const corpus_source *source;
    char *buffer;
    int64_t capacity, begin, end; /* unread bytes: buffer[begin, end) */
    int64_t consumed;             /* bytes of this file before buffer[begin] */
    bool at_eof, separated;       /* the file had a line <|endoftext|> */

    bool inside;       /* the last piece did not end its document */
    int64_t documents; /* begun so far */
    int64_t line;      /* of jsonl, from 1 */
    text value;        /* of the jsonl line; value.at[value_at ..] is still to be handed out */
    int64_t value_at;
    bool has_value, warned, silent;
    int64_t done, total;
};

static status count_total(ingot_corpus *c)
{
    for (int64_t i = 0; i < c->sources.count; i++) {
        const char *path = c->sources.at[i].path;
        if (!strcmp(path, "-")) path = c->standard_input;
        if (!path) {
            c->total = 0; /* nobody knows how much will come */
            return INGOT_OK;
        }
        c->total += (int64_t)file_bytes(path);
    }
    return INGOT_OK;
}

status corpus_open(context *ctx, const ingot_corpus_options *options, const char *standard_input, ingot_corpus **out)
{
    *out = NULL;
    ingot_corpus *c = calloc(1, sizeof *c);
    if (!c) return fail_memory(ctx, "a corpus", sizeof *c);
    *c = (ingot_corpus){.ctx = ctx, .fd = -1, .allow_nul = options->allow_nul, .capacity = READ_AHEAD};
    c->arena = arena_new();
    c->buffer = malloc((size_t)c->capacity);
    status s = c->arena && c->buffer ? INGOT_OK : fail_memory(ctx, "a corpus", (uint64_t)c->capacity);
    if (!s) {
        c->field = arena_strdup(c->arena, options->field ? options->field : "text");
        c->standard_input = standard_input ? arena_strdup(c->arena, standard_input) : NULL;
        s = corpus_expand(ctx, c->arena, options, &c->sources);
    }
    if (!s) s = count_total(c);
    if (!s && arena_failed(c->arena)) s = fail_memory(ctx, "a corpus", 4096);
    if (s) {
        ingot_corpus_free(c);
        return s;
    }
    *out = c;
    return INGOT_OK;
}

ingot_status ingot_corpus_open(ingot_context *ctx, const ingot_corpus_options *options, ingot_corpus **out)
{
    return corpus_open(ctx, options, NULL, out);
}

static void close_source(ingot_corpus *c)
{
    if (c->fd > STDIN_FILENO) close(c->fd);
    c->fd = -1;
    c->source = NULL;
}

void ingot_corpus_free(ingot_corpus *c)
{
    if (!c) return;
    close_source(c);
    text_free(&c->value);
    ARRAY_FREE(&c->sources);
    free(c->buffer);
    arena_free(c->arena);
    free(c);
}

void corpus_silence(ingot_corpus *c)
{
    c->silent = true;
}

void ingot_corpus_progress(const ingot_corpus *c, int64_t *done, int64_t *total)
{
    *done = c->done, *total = c->total;
}

/* Reads until `wanted` unread bytes are in the buffer or the file ends. */
static status fill(ingot_corpus *c, int64_t wanted)
{
    if (c->end - c->begin >= wanted || c->at_eof) return INGOT_OK;
    memmove(c->buffer, c->buffer + c->begin, (size_t)(c->end - c->begin));
    c->end -= c->begin;
    c->begin = 0;
    if (wanted > c->capacity) {
        int64_t capacity = MAX(wanted, c->capacity * 2);
        char *moved = realloc(c->buffer, (size_t)capacity);
        if (!moved) return fail_memory(c->ctx, c->source->path, (uint64_t)capacity);
        c->buffer = moved;
        c->capacity = capacity;
    }
    while (c->end < c->capacity) {
        ssize_t got = read(c->fd, c->buffer + c->end, (size_t)(c->capacity - c->end));
        if (got < 0 && errno == EINTR && !ingot_interrupted(c->ctx)) continue;
        if (got < 0 && errno == EINTR) return ingot_fail(c->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
        if (got < 0) return fail_errno(c->ctx, "read", c->source->path);
        c->at_eof = got == 0;
        if (c->at_eof) break;
        c->end += got;
        c->done += got;
        if (c->end - c->begin >= wanted) break;
    }
    return INGOT_OK;
}

static status fail_nul(ingot_corpus *c, int64_t offset)
{
    return ingot_fail(
        c->ctx, INGOT_ERROR_FORMAT,
        "%s is not plain text: byte %lld is zero. Give text in UTF-8 (UTF-16 has to be converted first: iconv "
        "-f UTF-16 -t UTF-8), or --clean to strip such bytes",
        c->source->path, (long long)offset);
}

static status open_source(ingot_corpus *c)
{
    const corpus_source *source = &c->sources.at[c->current++];
    const char *path = source->path;
    bool standard = !strcmp(path, "-");
    if (standard && c->standard_input) path = c->standard_input;
    c->fd = standard && !c->standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (c->fd < 0) return fail_errno(c->ctx, "open", path);
    c->source = source;
    c->begin = c->end = c->consumed = c->line = 0;
    c->at_eof = c->separated = c->inside = false;
    if (!source->found || c->allow_nul) return INGOT_OK;
    TRY(fill(c, SNIFF_BYTES));
    if (!memchr(c->buffer, 0, (size_t)MIN(c->end, SNIFF_BYTES))) return INGOT_OK;
    if (!c->silent) log_line(c->ctx, INGOT_LOG_WARNING, "%s looks like a binary file and is passed over", path);
    c->done += (int64_t)file_bytes(path) - c->end;
    close_source(c);
    return INGOT_OK;
}

/* ---- plain text ---- */

static void consume(ingot_corpus *c, int64_t count)
{
    c->begin += count;
    c->consumed += count;
}

/* The next line that is only <|endoftext|> in `view` of `count` bytes: *length bytes with its line end, and with the line
 * end before it, which belongs to it. -1: none. A line that ends with the view counts only when that is the `last` of the
 * file. */
static int64_t find_separator(const ingot_corpus *c, const char *view, int64_t count, bool last, int64_t *length)
{
    const int64_t mark = (int64_t)strlen(CORPUS_EOT_LINE);
    for (int64_t from = 0; from < count;) {
        const char *hit = memmem(view + from, (size_t)(count - from), CORPUS_EOT_LINE, (size_t)mark);
        if (!hit) return -1;
        int64_t at = hit - view, end = at + mark;
        from = at + 1;
        if (at ? view[at - 1] != '\n' : c->inside) continue;
        if (end < count && view[end] == '\r') end++;
        if (end < count ? view[end] != '\n' : !last) continue;
        if (end < count) end++;
        if (at && view[at - 1] == '\n') at--;
        if (at && view[at] == '\n' && view[at - 1] == '\r') at--;
        *length = end - at;
        return at;
    }
    return -1;
}

/* Where to cut the view when its document goes on behind it. */
static int64_t cut_piece(ingot_corpus *c, const char *view, int64_t count, int64_t most)
{
    int64_t cut = corpus_safe_cut(view, count, most / 2, most);
    if (cut > 0) return cut;
    if (!c->warned && !c->silent)
        log_line(
            c->ctx, INGOT_LOG_WARNING,
            "%s has no line end or space in %d KB (near byte %lld): it is cut inside, and tokens at the cut may differ",
            c->source->path, (int)(most / 2048), (long long)c->consumed);
    c->warned = true;
    cut = corpus_character_start(view, most);
    while (cut > 1 && view[cut - 1] == '\n') cut--; /* a line <|endoftext|> may follow it */
    return cut;
}

static status hand_out(ingot_corpus *c, const char *bytes, int64_t count, bool ends, ingot_corpus_piece *piece)
{
    *piece = (ingot_corpus_piece){.bytes = bytes,
                                  .count = count,
                                  .document = c->inside ? c->documents - 1 : c->documents,
                                  .begins = !c->inside,
                                  .ends = ends};
    if (!c->inside) c->documents++;
    c->inside = !ends;
    const char *nul = c->allow_nul ? NULL : memchr(bytes, 0, (size_t)count);
    if (nul && c->source->jsonl)
        return ingot_fail(c->ctx, INGOT_ERROR_FORMAT, "%s:%lld: \"%s\" holds \\u0000; --clean strips it",
                          c->source->path, (long long)c->line, c->field);
    return nul ? fail_nul(c, c->consumed + (nul - bytes)) : INGOT_OK;
}

/* The next piece of plain text; piece->bytes NULL at the end of the file. */
static status next_text(ingot_corpus *c, ingot_corpus_piece *piece)
{
    for (;;) {
        TRY(fill(c, CORPUS_PIECE_BYTES + SLACK));
        const char *view = c->buffer + c->begin;
        int64_t count = MIN(c->end - c->begin, CORPUS_PIECE_BYTES + SLACK), length = 0;
        bool last = c->at_eof && count == c->end - c->begin;
        if (!count && !c->inside) return INGOT_OK;
        int64_t at = find_separator(c, view, count, last, &length);
        if (at < 0 && !last) {
            int64_t cut = cut_piece(c, view, count, CORPUS_PIECE_BYTES);
            status s = hand_out(c, view, cut, false, piece);
            consume(c, cut);
            return s;
        }
        bool separator = at >= 0;
        if (!separator) {
            at = length = count;
            if (c->separated && at && view[at - 1] == '\n') at--; /* as before every other separator */
            length = count - at;
        }
        c->separated |= separator;
        bool empty = !at && !c->inside;
        status s = empty ? INGOT_OK : hand_out(c, view, at, true, piece);
        consume(c, at + length);
        if (s || !empty) return s;
    }
}

/* ---- jsonl ---- */

/* The next line without its end; *line NULL at the end of the file. */
static status next_line(ingot_corpus *c, const char **line, int64_t *count)
{
    *line = NULL;
    for (int64_t wanted = 1 << 16;; wanted *= 2) {
        TRY(fill(c, wanted));
        const char *view = c->buffer + c->begin;
        int64_t have = c->end - c->begin;
        const char *newline = memchr(view, '\n', (size_t)have);
        if (!newline && !c->at_eof && have <= CORPUS_LONGEST_LINE) continue;
        if ((newline ? newline - view : have) > CORPUS_LONGEST_LINE)
            return ingot_fail(c->ctx, INGOT_ERROR_FORMAT, "%s:%lld: the line is longer than 32 MB; split it",
                              c->source->path, (long long)c->line + 1);
        if (!have) return INGOT_OK;
        c->line++;
        *line = view;
        *count = newline ? newline - view : have;
        consume(c, *count + (newline != NULL));
        return INGOT_OK;
    }
}

static bool is_blank(const char *line, int64_t count)
{
    while (count && strchr(" \t\r", line[count - 1]) && line[count - 1]) count--;
    return !count;
}

static status hand_out_value(ingot_corpus *c, ingot_corpus_piece *piece)
{
    const char *view = c->value.at + c->value_at;
    int64_t count = (int64_t)c->value.length - c->value_at;
    int64_t cut = count > CORPUS_PIECE_BYTES + SLACK ? cut_piece(c, view, count, CORPUS_PIECE_BYTES) : count;
    c->value_at += cut;
    c->has_value = cut < count;
    return hand_out(c, view, cut, cut == count, piece);
}

static status next_json(ingot_corpus *c, ingot_corpus_piece *piece)
{
    while (!c->has_value) {
        const char *line;
        int64_t count;
        TRY(next_line(c, &line, &count));
        if (!line) return INGOT_OK;
        if (is_blank(line, count)) continue;
        c->value.length = 0;
        c->value_at = 0;
        TRY(jsonl_string(c->ctx, c->source->path, c->line, line, count, c->field, &c->value));
        c->has_value = c->value.length > 0;
    }
    return hand_out_value(c, piece);
}

ingot_status ingot_corpus_next(ingot_corpus *c, ingot_corpus_piece *piece)
{
    for (;;) {
        *piece = (ingot_corpus_piece){0};
        if (ingot_interrupted(c->ctx)) return ingot_fail(c->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
        if (c->source) {
            TRY(c->source->jsonl ? next_json(c, piece) : next_text(c, piece));
            if (piece->bytes) return INGOT_OK;
            if (!c->consumed && !c->source->found && !c->silent)
                log_line(c->ctx, INGOT_LOG_WARNING, "%s is empty", c->source->path);
            close_source(c);
        }
        if (c->current == c->sources.count) return INGOT_OK;
        TRY(open_source(c));
    }
}
