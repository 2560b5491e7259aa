/* Any bytes as a text file and as .jsonl: an error, or documents whose pieces begin and end in order and hold no more than
 * the file. */
#define _GNU_SOURCE
#include "data/corpus.h"

#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(context *ctx, const char *path, const char *field, size_t size)
{
    const char *input = "-";
    const ingot_corpus_options options = {.inputs = &input, .input_count = 1, .field = field, .allow_nul = size % 2};
    ingot_corpus *c;
    ingot_corpus_piece piece;
    if (corpus_open(ctx, &options, path, &c)) abort();
    size_t bytes = 0;
    int inside = 0;
    status s;
    while (!(s = ingot_corpus_next(c, &piece)) && piece.bytes) {
        if (piece.begins == inside) abort();
        inside = !piece.ends;
        bytes += (size_t)piece.count;
        if (bytes && (piece.bytes[0] + piece.bytes[MAX(piece.count, 1) - 1] == 1000)) abort(); /* touches both ends */
    }
    if (!s && (inside || (!field && bytes > size))) abort();
    ingot_corpus_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    context *ctx;
    if (ingot_context_new(NULL, &ctx)) return 0;
    char path[] = "fuzz_corpus.XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    close(fd);
    read_all(ctx, path, NULL, size);
    read_all(ctx, path, "text", size);
    unlink(path);
    ingot_context_free(ctx);
    return 0;
}
