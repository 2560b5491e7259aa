/* Byte-level BPE: train, load, encode, decode. Ids and merges equal those of Hugging Face `tokenizers`.
 *
 *     ingot_tokenizer *t;
 *     if (ingot_tokenizer_load(ctx, "tokenizer.json", &t)) return puts(ingot_message(ctx));
 *     int32_t *ids; int64_t count;
 *     if (ingot_encode(t, "In the beginning", 16, INGOT_ENCODE_PLAIN, &ids, &count)) return puts(ingot_message(ctx));
 *     char *text; int64_t bytes;
 *     if (ingot_decode(t, ids, count, &text, &bytes)) return puts(ingot_message(ctx));
 *     free(ids); free(text); ingot_tokenizer_free(t);
 *
 * Text is bytes: any byte sequence encodes, and decodes to itself (without special tokens). A tokenizer is not changed
 * after it was made and may be used from many threads at once.
 */
#ifndef INGOT_TOKENIZER_H
#define INGOT_TOKENIZER_H

#include "ingot/context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ingot_tokenizer ingot_tokenizer;

/* `path`: a tokenizer.json, or a folder that holds one. */
INGOT_API ingot_status ingot_tokenizer_load(ingot_context *ctx, const char *path, ingot_tokenizer **out);
/* Writes a tokenizer.json that Hugging Face `tokenizers` reads, whole or not at all. */
INGOT_API ingot_status ingot_tokenizer_save(const ingot_tokenizer *t, const char *path);
INGOT_API void ingot_tokenizer_free(ingot_tokenizer *t);

/* Where training text comes from: fills *bytes and *count with the next document, *count = -1 at the end. The bytes stay
 * valid until the next call. Called from one thread at a time. */
typedef ingot_status ingot_text_source(void *user, const char **bytes, int64_t *count);

typedef struct ingot_tokenizer_training {
    int vocab_size;    /* entries, with the 256 bytes and the special tokens; fewer when the text gives fewer */
    int min_frequency; /* a pair seen less often is not merged; 0 as in `tokenizers` */
    const char *const *specials; /* ids 0, 1, ...; NULL: {"<|endoftext|>"} */
    int special_count;
    const char *pattern; /* "gpt-2" (default, NULL), "llama-bpe", "qwen2", "smollm": how text is cut into words */
} ingot_tokenizer_training;

INGOT_API ingot_status ingot_tokenizer_train(ingot_context *ctx, const ingot_tokenizer_training *options,
                                             ingot_text_source *source, void *user, ingot_tokenizer **out);

INGOT_API int ingot_tokenizer_vocab_size(const ingot_tokenizer *t); /* highest id + 1 */
/* The id of an entry, "<|endoftext|>" or "Ġthe" in byte-level spelling, or -1. */
INGOT_API int ingot_token_id(const ingot_tokenizer *t, const char *token);
/* The bytes that an id stands for (special tokens: their text), or NULL when there is no such id. Owned by t. */
INGOT_API const char *ingot_token_bytes(const ingot_tokenizer *t, int id, int64_t *bytes);
INGOT_API int ingot_token_is_special(const ingot_tokenizer *t, int id);
/* The token that ends a text: <|endoftext|>, <|end_of_text|>, </s>, or what the files name; -1 when there is none. */
INGOT_API int ingot_tokenizer_eot(const ingot_tokenizer *t);
/* A checksum of vocabulary, merges and pattern: data and models made with another tokenizer are recognised by it. */
INGOT_API uint64_t ingot_tokenizer_checksum(const ingot_tokenizer *t);

typedef enum ingot_encode_mode {
    INGOT_ENCODE_PLAIN,   /* the text of special tokens is ordinary text */
    INGOT_ENCODE_SPECIALS /* special tokens in the text become their ids */
} ingot_encode_mode;

/* *ids is allocated with malloc and belongs to the caller. */
INGOT_API ingot_status ingot_encode(const ingot_tokenizer *t, const char *text, int64_t bytes, ingot_encode_mode mode,
                                    int32_t **ids, int64_t *count);
/* *text is allocated with malloc, NUL-terminated beyond *bytes, and belongs to the caller. An unknown id is an error. */
INGOT_API ingot_status ingot_decode(const ingot_tokenizer *t, const int32_t *ids, int64_t count, char **text,
                                    int64_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
