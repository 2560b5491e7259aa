/* Input files, one after another, in blocks of whole lines: what `tokenizer` reads. */
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include "base/base.h"
#include "data/corpus.h"

typedef struct line_reader {
    context *ctx;
    corpus_sources sources; /* their paths live in the arena given to lines_open */
    int64_t current;        /* the source that is open, or -1 */
    int fd;
    text block;
    size_t given; /* bytes of block that the caller has had */
    bool at_end;  /* of the file */
    int64_t line; /* of the block's first byte, from 1 */
    double done;  /* bytes, all files */
} line_reader;

/* Files, folders and globs as `data` takes them; no input is standard input. */
status lines_open(context *ctx, arena *a, const char *const *inputs, int64_t count, line_reader *out);
/* *count = -1 at the end; only the last line of a file may lack its line end. The bytes stay valid until the next call. */
status lines_next(line_reader *r, const char **bytes, int64_t *count);
const char *lines_path(const line_reader *r); /* of the block, for messages */
void lines_close(line_reader *r);

#endif
