/* From text to batches: prepare token files once, then read them as rows of token ids for training and evaluation.
 *
 *     const char *inputs[] = {"book.txt"};
 *     ingot_prepare_options prepare = {.inputs = inputs, .input_count = 1, .tokenizer = "tok.json", .output = "data",
 *                                      .val_fraction = 0.1};
 *     if (ingot_data_prepare(ctx, &prepare, NULL)) return puts(ingot_message(ctx));
 *
 *     ingot_data *data;
 *     if (ingot_data_open(ctx, "data", "train", NULL, &data)) return puts(ingot_message(ctx));
 *     ingot_batches *batches;
 *     if (ingot_batches_new(data, &(ingot_batch_options){.rows = 8, .length = 128, .shuffle = 1, .seed = 1}, &batches))
 *         return puts(ingot_message(ctx));
 *     ingot_batch batch = {.tokens = tokens, .targets = targets};            // int32 (8, 128) each, yours
 *     while (!ingot_batches_next(batches, &batch)) train_on(&batch);
 *     ingot_batches_free(batches); ingot_data_free(data);
 *
 * Letters: B rows of a batch, T positions of a row. Everything here is deterministic: the same files, options and seed
 * give the same batches on every machine, and a saved ingot_batch_state continues as if it had never stopped.
 */
#ifndef INGOT_DATA_H
#define INGOT_DATA_H

#include "ingot/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- text ---- */

/* Documents of files, folders, globs ("-": standard input), in order. A document is a line of a .jsonl file (its string
 * `field`), any other file, or what stands between lines that hold only <|endoftext|>. */
typedef struct ingot_corpus ingot_corpus;

typedef struct ingot_corpus_options {
    const char *const *inputs;
    int input_count;
    const char *field; /* of jsonl objects; NULL: "text" */
    int allow_nul;     /* 1: zero bytes are text; 0: they are refused as a sign of a binary file */
} ingot_corpus_options;

/* A document or, when it is longer than about a megabyte, a piece of one. Pieces are cut where every known pre-tokenizer
 * starts a word anyway, so that their tokens joined are the document's. */
typedef struct ingot_corpus_piece {
    const char *bytes; /* valid until the next call; NULL at the end */
    int64_t count;
    int64_t document; /* 0, 1, ... */
    int begins, ends; /* the first, the last piece of its document */
} ingot_corpus_piece;

INGOT_API ingot_status ingot_corpus_open(ingot_context *ctx, const ingot_corpus_options *options, ingot_corpus **out);
INGOT_API ingot_status ingot_corpus_next(ingot_corpus *c, ingot_corpus_piece *piece);
/* Input bytes read so far and in all (0: unknown, standard input), for progress. */
INGOT_API void ingot_corpus_progress(const ingot_corpus *c, int64_t *done, int64_t *total);
INGOT_API void ingot_corpus_free(ingot_corpus *c);

/* As ingot_tokenizer_train, from such documents. */
INGOT_API ingot_status ingot_tokenizer_train_corpus(ingot_context *ctx, const ingot_tokenizer_training *options,
                                                    const ingot_corpus_options *text, ingot_tokenizer **out);

/* ---- prepare ---- */

typedef struct ingot_clean_options {
    int enabled;
    int drop_broken;   /* 1: drop documents with broken UTF-8; 0: put U+FFFD in its place */
    int nfc;           /* 1: normalise to NFC */
    int keep_markup;   /* 1: leave HTML tags and entities alone */
    int64_t min_bytes; /* drop shorter documents; 0: 16 */
} ingot_clean_options;

typedef struct ingot_prepare_options {
    const char *const *inputs; /* as in ingot_corpus_options */
    int input_count;
    const char *field;
    const char *tokenizer; /* tokenizer.json, copied into the output */
    const char *output;    /* a folder: train.bin, val.bin, tokenizer.json, meta.json */
    double val_fraction;   /* share of the documents (of fewer than 20: of the bytes) held out; 0: none */
    const char *rows;      /* "stream" (default, NULL) or "document": what training takes when it is not told */
    int64_t shard_tokens;  /* tokens a file at most; 0: 1e9 */
    int overwrite;         /* 1: replace data that is there; 0: refuse */
    ingot_clean_options clean;
} ingot_prepare_options;

typedef struct ingot_split_info {
    int64_t tokens, documents, text_bytes;
} ingot_split_info;

typedef struct ingot_prepare_report {
    ingot_split_info train, val;
    int64_t broken_sequences, control_bytes, markup_bytes, line_ends, nfc_documents; /* what --clean changed */
    int64_t dropped_broken, dropped_short, dropped_duplicate;                        /* documents it dropped */
    int64_t broken_documents; /* not cleaned: with broken UTF-8 */
} ingot_prepare_report;

/* Memory stays below 300 MB whatever the input (16 bytes a document more with clean). report may be NULL. Nothing of an
 * output appears before it is whole: meta.json is written last. */
INGOT_API ingot_status ingot_data_prepare(ingot_context *ctx, const ingot_prepare_options *options,
                                          ingot_prepare_report *report);

/* ---- token files ---- */

typedef struct ingot_data ingot_data;

typedef struct ingot_data_options {
    int raw_u16; /* 1: files without header, uint16 (nanoGPT) */
    int has_eot; /* 1: `eot` begins documents, in files without meta.json, which says it otherwise */
    int eot;
} ingot_data_options;

/* `path`: a folder made by prepare, a token file, or a glob of shards ("fineweb_train_*.bin"; llm.c's headers for 16 and
 * 32 bits). split: "train" or "val", used with folders. Files are mapped, not read. options may be NULL. */
INGOT_API ingot_status ingot_data_open(ingot_context *ctx, const char *path, const char *split,
                                       const ingot_data_options *options, ingot_data **out);
INGOT_API void ingot_data_free(ingot_data *data);
/* documents and text_bytes are 0 for files without meta.json. */
INGOT_API ingot_split_info ingot_data_info(const ingot_data *data);
/* Of meta.json: the tokenizer's checksum (0: unknown), vocabulary size (0), EOT (-1), row kind ("stream"). */
INGOT_API uint64_t ingot_data_tokenizer_checksum(const ingot_data *data);
INGOT_API int ingot_data_vocab_size(const ingot_data *data);
INGOT_API int ingot_data_eot(const ingot_data *data);
INGOT_API const char *ingot_data_rows(const ingot_data *data);
/* Copies tokens [first, first + count) as int32; all must be there. */
INGOT_API ingot_status ingot_data_read(const ingot_data *data, int64_t first, int64_t count, int32_t *tokens);

/* ---- batches ---- */

typedef enum ingot_row_kind {
    INGOT_ROWS_STREAM,  /* windows of T predictions that cross documents */
    INGOT_ROWS_DOCUMENT /* whole documents packed into rows; longer ones are cut. Segments keep them apart */
} ingot_row_kind;

typedef struct ingot_batch_options {
    int rows, length; /* B, T */
    ingot_row_kind kind;
    int shuffle; /* 1: a new order each epoch, without end; 0: file order, once (evaluation) */
    uint64_t seed;
    int vocab_size;             /* > 0: a token id at or beyond it is an error */
    const int32_t *token_bytes; /* bytes of text of each of vocab_size ids, to fill text_bytes; NULL: not wanted */
} ingot_batch_options;

/* Where a run of batches is; plain numbers to save and restore. Zeroed: the beginning. */
typedef struct ingot_batch_state {
    uint64_t epoch, group, row;
} ingot_batch_state;

typedef struct ingot_batch {
    int32_t *tokens;  /* (B, T), the caller's, as the next three; all but tokens and targets may be NULL */
    int32_t *targets; /* (B, T) the token that follows, -1 where nothing is to be predicted */
    int32_t
        *segment_start;   /* (B, T) index in the row where the position's document starts: attention looks no further */
    int32_t *positions;   /* (B, T) index - segment_start */
    int64_t target_count; /* targets that are not -1; 0: the end of an evaluation */
    int64_t text_bytes;   /* bytes of text that the targets stand for, when token_bytes was given */
    ingot_batch_state next; /* continue behind this batch with ingot_batches_seek */
} ingot_batch;

typedef struct ingot_batches ingot_batches;
/* `data` must outlive it. INGOT_ROWS_DOCUMENT needs data with a known EOT. */
INGOT_API ingot_status ingot_batches_new(const ingot_data *data, const ingot_batch_options *options,
                                         ingot_batches **out);
INGOT_API void ingot_batches_free(ingot_batches *b);
INGOT_API ingot_status ingot_batches_seek(ingot_batches *b, ingot_batch_state state);
INGOT_API ingot_status ingot_batches_next(ingot_batches *b, ingot_batch *batch);

/* A thread that fills batches ahead of their use: give it `count` batches with their buffers, take them in order, give
 * each back. While it runs, `b` belongs to it; batch->next is the state to save. */
typedef struct ingot_prefetch ingot_prefetch;
INGOT_API ingot_status ingot_prefetch_start(ingot_batches *b, ingot_batch *const *batches, int count,
                                            ingot_prefetch **out);
INGOT_API ingot_status ingot_prefetch_take(ingot_prefetch *p, ingot_batch **batch); /* waits for the next one */
INGOT_API void ingot_prefetch_give(ingot_prefetch *p, ingot_batch *batch);
INGOT_API void ingot_prefetch_stop(ingot_prefetch *p);

/* ---- pictures: labelled 3 x 32 x 32, CIFAR-10's binary format ---- */

/* Ten kinds of shapes, drawn from the seed, into data_batch_1.bin ... (train) and test_batch.bin (val) of `folder`. */
INGOT_API ingot_status ingot_images_make(ingot_context *ctx, const char *folder, uint64_t seed, int64_t train,
                                         int64_t val);

typedef struct ingot_images ingot_images;
/* `path`: such a folder, CIFAR-10's own, or one file (split is then ignored). split: "train" or "val". */
INGOT_API ingot_status ingot_images_open(ingot_context *ctx, const char *path, const char *split, ingot_images **out);
INGOT_API void ingot_images_free(ingot_images *images);
INGOT_API int64_t ingot_images_count(const ingot_images *images);

typedef struct ingot_image_order {
    int shuffle; /* 1: positions run on through epochs, each in a new order; 0: position is the index in the files */
    uint64_t seed;
} ingot_image_order;
/* Pictures at [position, position + B): pixels (B, 32, 32, 3), about -2 .. 2; labels (B), 0 .. 9. */
INGOT_API ingot_status ingot_images_batch(const ingot_images *images, const ingot_image_order *order, int64_t position,
                                          int64_t rows, float *pixels, int32_t *labels);

/* ---- n-grams: what a model has to beat ---- */

/* Interpolated Kneser-Ney (Chen & Goodman 1998), one discount an order. A history begins at EOT, where that is known. */
typedef struct ingot_ngram ingot_ngram;
INGOT_API ingot_status ingot_ngram_train(const ingot_data *data, int order, int vocab_size, ingot_ngram **out);
INGOT_API void ingot_ngram_free(ingot_ngram *n);
/* The sum of -ln P of the tokens of `data` but the first, and of a last EOT where that is known; their count. */
INGOT_API ingot_status ingot_ngram_evaluate(const ingot_ngram *n, const ingot_data *data, double *nats,
                                            int64_t *tokens);

/* ---- stories: the embedded corpus, whose entropy is known ---- */

#define INGOT_STORY_BYTES 1024
/* Story `index` of `seed`, NUL-terminated; returns its bytes. *bits (may be NULL): -log2 of its probability. */
INGOT_API int64_t ingot_story(uint64_t seed, uint64_t index, char out[INGOT_STORY_BYTES], double *bits);
/* Stories 0, 1, ... of `seed` as a text file of at least `bytes`, a line of <|endoftext|> behind each. */
INGOT_API ingot_status ingot_stories_make(ingot_context *ctx, const char *path, uint64_t seed, int64_t bytes);
/* 1 when the grammar can tell this text (spaces around it aside), with its -log2 probability in *bits (may be NULL). */
INGOT_API int ingot_story_accepts(const char *text, int64_t bytes, double *bits);
/* Mean bits of a story, exact. */
INGOT_API double ingot_story_entropy(void);

/* How a set of documents does as stories: bits / bytes is the floor that no model's bits per byte can be below. */
typedef struct ingot_story_check {
    int64_t documents, accepted;
    int64_t bytes; /* of the accepted ones */
    double bits;   /* of the accepted ones: the sum of -log2 of their probabilities */
} ingot_story_check;
/* The documents of a split, decoded with its tokenizer. */
INGOT_API ingot_status ingot_data_check_stories(const ingot_data *data, const ingot_tokenizer *t,
                                                ingot_story_check *out);

#ifdef __cplusplus
}
#endif
#endif
