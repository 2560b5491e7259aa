/* Tokens to text while they come: whole UTF-8 sequences only (bytes that never become one are U+FFFD), and nothing that may be the beginning of a stop string.
 *
 * What is held back is the longest end of the text that begins some stop string; a stop string that spans tokens is found
 * all the same, and none of it is ever given out.
 */
#ifndef INFER_STREAM_H
#define INFER_STREAM_H

#include "base/base.h"
#include "ingot/tokenizer.h"

typedef struct stream {
    context *ctx;
    ingot_decoder *decoder; /* NULL: no tokenizer, no text */
    const ingot_tokenizer *tokenizer;
    const char *const *stops;
    int64_t stop_count;
    text held;    /* decoded, not given out */
    size_t given; /* bytes of `held` that the last call gave out: dropped by the next one */
} stream;

/* Stop strings must be UTF-8 and not empty: INGOT_ERROR_ARGUMENT. They stay the caller's. */
status stops_check(context *ctx, const char *const *stops, int64_t count);
status stream_init(context *ctx, stream *s, const ingot_tokenizer *t, const char *const *stops, int64_t stop_count);
void stream_free(stream *s);
/* Special tokens add no text. *stopped: a stop string was found; *bytes are then the text before it. */
status stream_next(stream *s, int32_t token, const char **bytes, int64_t *count, bool *stopped);
/* What was held back: the text is over. */
status stream_end(stream *s, const char **bytes, int64_t *count);

#endif
