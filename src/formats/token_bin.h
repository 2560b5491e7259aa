/* Files of token ids: llm.c's .bin (a header of 256 int32, then uint16 or uint32 ids) and nanoGPT's, uint16 without any
 * header. All little-endian. Fewer than 2^31 tokens a file; more are shards.
 */
#ifndef FORMATS_TOKEN_BIN_H
#define FORMATS_TOKEN_BIN_H

#include "base/base.h"
#include "base/file.h"

enum { TOKEN_BIN_HEADER_BYTES = 1024, TOKEN_BIN_MOST_TOKENS = INT32_MAX };

typedef struct token_bin {
    file_map map;      /* empty for token_bin_parse, whose bytes are the caller's */
    const uint8_t *at; /* the first id; aligned to nothing */
    int64_t count;
    int id_bytes; /* 2 or 4 */
} token_bin;

status token_bin_open(context *ctx, const char *path, bool raw_u16, token_bin *out);
/* The same over bytes in memory; `name` is for messages. */
status token_bin_parse(context *ctx, const char *name, const uint8_t *bytes, uint64_t count, bool raw_u16,
                       token_bin *out);
void token_bin_close(token_bin *t);

/* ids [first, first + count), which must be there. Ids above INT32_MAX come out negative: callers check the range. */
void token_bin_read(const token_bin *t, int64_t first, int64_t count, int32_t *ids);

typedef struct token_bin_writer token_bin_writer;
/* id_bytes 2: GPT-2's header, for ids below 65,536; 4: Llama 3's. */
status token_bin_create(context *ctx, const char *path, int id_bytes, token_bin_writer **out);
status token_bin_add(token_bin_writer *w, const int32_t *ids, int64_t count);
int64_t token_bin_written(const token_bin_writer *w);
status token_bin_commit(token_bin_writer *w); /* frees w, whatever it returns */
void token_bin_abandon(token_bin_writer *w);  /* frees w; NULL is fine */

#endif
