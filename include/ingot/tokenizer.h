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
 * Text is bytes: any byte sequence encodes, and decodes to itself (without special tokens; a tokenizer whose file asks
 * for Unicode normalisation gives back the normalised text). A tokenizer is not changed after it was made and may be
 * used from many threads at once; an encoder or a decoder belongs to one thread. The context must outlive them all.
 */
#ifndef INGOT_TOKENIZER_H
#define INGOT_TOKENIZER_H

#include "ingot/context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ingot_tokenizer ingot_tokenizer;

/* `path`: a tokenizer.json, or a folder that holds one. Errors: INGOT_ERROR_FILE when it cannot be read, _FORMAT when it
 * is broken, _UNSUPPORTED when it is no byte-level BPE or cuts text in a way that cannot be followed exactly. */
INGOT_API ingot_status ingot_tokenizer_load(ingot_context *ctx, const char *path, ingot_tokenizer **out);
/* The same from memory; `name` is what messages call it. */
INGOT_API ingot_status ingot_tokenizer_parse(ingot_context *ctx, const char *json, int64_t bytes, const char *name,
                                             ingot_tokenizer **out);
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

/* Words are counted line by line, as `tokenizers` reads files, so a word never crosses a line end. When the text gives
 * fewer entries than vocab_size a warning is logged and the tokenizer is smaller. */
INGOT_API ingot_status ingot_tokenizer_train(ingot_context *ctx, const ingot_tokenizer_training *options,
                                             ingot_text_source *source, void *user, ingot_tokenizer **out);

INGOT_API int ingot_tokenizer_vocab_size(const ingot_tokenizer *t); /* highest id + 1 */
INGOT_API int ingot_tokenizer_merge_count(const ingot_tokenizer *t);
/* How text is cut into words: "gpt-2", "llama-bpe", "qwen2", "smollm" (as GGUF names them), else "custom". */
INGOT_API const char *ingot_tokenizer_pattern(const ingot_tokenizer *t);
/* The id of an entry, "<|endoftext|>" or "Ġthe" in byte-level spelling, or -1. */
INGOT_API int ingot_token_id(const ingot_tokenizer *t, const char *token);
/* The spelling of an id, as in tokenizer.json, or NULL when there is no such id. Owned by t. */
INGOT_API const char *ingot_token_spelling(const ingot_tokenizer *t, int id);
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

/* Many texts, one after another, in one thread: an encoder remembers the words it has met, which makes it several times
 * faster than ingot_encode on short texts. */
typedef struct ingot_encoder ingot_encoder;
INGOT_API ingot_status ingot_encoder_new(const ingot_tokenizer *t, ingot_encoder **out);
INGOT_API void ingot_encoder_free(ingot_encoder *e);
/* *ids belongs to the encoder and stays valid until its next call. */
INGOT_API ingot_status ingot_encoder_run(ingot_encoder *e, const char *text, int64_t bytes, ingot_encode_mode mode,
                                         const int32_t **ids, int64_t *count);

/* Text while it is generated: ids go in one by one, and out come bytes that never end within a UTF-8 sequence. Bytes
 * that no continuation can make valid are passed on as they are.
 *
 *     while (sample(&id)) {
 *         if (ingot_decoder_next(d, id, &bytes, &count)) return puts(ingot_message(ctx));
 *         fwrite(bytes, 1, (size_t)count, stdout);
 *     }
 *     ingot_decoder_end(d, &bytes, &count);    // an unfinished sequence, if the text stopped within one
 */
typedef struct ingot_decoder ingot_decoder;
INGOT_API ingot_status ingot_decoder_new(const ingot_tokenizer *t, ingot_decoder **out);
INGOT_API void ingot_decoder_free(ingot_decoder *d);
/* *bytes belongs to the decoder, stays valid until its next call; *count may be 0. An unknown id is an error. */
INGOT_API ingot_status ingot_decoder_next(ingot_decoder *d, int id, const char **bytes, int64_t *count);
/* What was held back; the decoder is then ready for another text. */
INGOT_API void ingot_decoder_end(ingot_decoder *d, const char **bytes, int64_t *count);

#ifdef __cplusplus
}
#endif
#endif
