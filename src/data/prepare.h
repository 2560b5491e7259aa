/* The parts of `data prepare`: how documents are split, encoded on all threads, and written in shards.
 *
 *     corpus -> pieces -> (clean, encode: all threads) -> train.bin, val.bin -> meta.json, written last
 */
#ifndef DATA_PREPARE_H
#define DATA_PREPARE_H

#include "data/clean.h"
#include "data/corpus.h"
#include "formats/token_bin.h"

#define DATA_META "meta.json"

/* ---- prepare_split.c ---- */

/* Which documents, or from which byte of the text on, are val. */
typedef struct split_plan {
    double val_fraction;
    bool by_bytes; /* fewer than SPLIT_DOCUMENTS documents: what stands behind the cut is val */
    int64_t cut;   /* bytes of text; val begins at the next line, or right there when `exact` */
    bool exact;
} split_plan;
enum { SPLIT_DOCUMENTS = 20 };

/* Reads the corpus until it knows: 20 documents, or all of it. `force_bytes` makes a plan by bytes. */
status split_plan_make(context *ctx, ingot_corpus *c, double val_fraction, bool force_bytes, split_plan *out);
/* By the hash of what a document begins with, so that equal documents fall on the same side. */
bool split_is_val(const split_plan *plan, uint64_t hash);

/* ---- prepare_batch.c ---- */

typedef struct batch_item {
    int64_t at, count;         /* the piece in the batch's bytes */
    bool begins, ends, in_val; /* in_val: of a plan by bytes */
    /* filled by prepare_batch_encode: */
    text cleaned;
    clean_counts counts;
    int64_t broken; /* sequences of UTF-8, also when they are not cleaned */
    uint64_t hash;
    int64_t text_bytes;
    int32_t *ids;
    int64_t id_count;
    bool failed;
} batch_item;

typedef struct prepare_batch {
    text bytes;
    ARRAY(batch_item) items;
    int64_t position; /* bytes of text before the batch */
    bool in_val;      /* of a plan by bytes: the cut is behind us */
    bool cut_pending; /* the cut fell on the end of a piece: the next one begins val */
} prepare_batch;

/* Reads pieces until the batch is full or the corpus ends; no items: the end. */
status prepare_batch_read(context *ctx, ingot_corpus *c, const split_plan *plan, prepare_batch *b);
status prepare_batch_encode(context *ctx, const ingot_tokenizer *tokenizer, const ingot_clean_options *clean,
                            prepare_batch *b);
void prepare_batch_free(prepare_batch *b);

/* ---- prepare_shards.c ---- */

/* train.bin, train_000001.bin, ...: one split's files. */
typedef struct shard_writer {
    context *ctx;
    const char *folder, *split;
    int id_bytes;
    int64_t shard_tokens;
    token_bin_writer *file; /* NULL before the first token */
    int shards;
    ingot_split_info info;
} shard_writer;
status shard_add(shard_writer *w, const int32_t *ids, int64_t count);
status shard_finish(shard_writer *w);
void shard_abandon(shard_writer *w);
void shard_name(const char *split, int index, char out[64]);

/* ---- prepare_meta.c ---- */

typedef struct data_meta {
    uint64_t tokenizer_checksum;
    int vocab_size, eot;
    char rows[16];
    struct {
        int shards;
        ingot_split_info info;
    } train, val;
} data_meta;
status data_meta_write(context *ctx, const char *folder, const data_meta *meta);
status data_meta_read(context *ctx, const char *folder, data_meta *meta);

#endif
