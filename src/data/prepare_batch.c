/* Some megabytes of pieces at a time, cleaned and encoded on all threads; see prepare.h. */
#include "base/threads.h"
#include "data/prepare.h"

#include <xxhash.h>

enum { BATCH_BYTES = 8 << 20, BATCH_ITEMS = 1 << 15 };

static status push(context *ctx, prepare_batch *b, const char *bytes, batch_item item)
{
    item.at = (int64_t)b->bytes.length;
    text_add(&b->bytes, bytes, (size_t)item.count);
    if (b->bytes.failed || !ARRAY_PUSH(&b->items, item))
        return fail_memory(ctx, "a batch of text", (uint64_t)item.count);
    return INGOT_OK;
}

/* Where val begins in this piece: an offset, or -1 when not in it. An offset at its end makes the next piece val. */
static int64_t cut_in(const split_plan *plan, int64_t position, const char *bytes, int64_t count)
{
    int64_t from = plan->cut - position;
    if (from > count) return -1;
    if (from < 0) from = 0;
    if (plan->exact) return from < count ? corpus_character_start(bytes, from) : from;
    if (!from && !position) return -1; /* train keeps the first line */
    if (from && bytes[from - 1] == '\n') return from;
    const char *newline = memchr(bytes + from, '\n', (size_t)(count - from));
    return newline ? newline - bytes + 1 : -1;
}

static status push_by_bytes(context *ctx, const split_plan *plan, const ingot_corpus_piece *piece, prepare_batch *b)
{
    batch_item item = {.count = piece->count, .begins = piece->begins, .ends = piece->ends};
    if (!b->in_val && (b->cut_pending || (piece->begins && b->position >= plan->cut && b->position))) {
        b->in_val = item.begins = true;
        b->cut_pending = false;
    }
    item.in_val = b->in_val;
    if (b->in_val) return push(ctx, b, piece->bytes, item);
    int64_t cut = cut_in(plan, b->position, piece->bytes, piece->count);
    if (cut < 0) return push(ctx, b, piece->bytes, item);
    if (cut > 0) {
        batch_item before = item;
        before.count = cut;
        before.ends = true;
        TRY(push(ctx, b, piece->bytes, before));
    }
    if (cut == piece->count) {
        b->cut_pending = true;
        return INGOT_OK;
    }
    b->in_val = true;
    return push(ctx, b, piece->bytes + cut,
                (batch_item){.count = piece->count - cut, .begins = true, .ends = piece->ends, .in_val = true});
}

static void clear(prepare_batch *b)
{
    for (int64_t i = 0; i < b->items.count; i++) {
        text_free(&b->items.at[i].cleaned);
        free(b->items.at[i].ids);
    }
    b->items.count = 0;
    b->bytes.length = 0;
}

void prepare_batch_free(prepare_batch *b)
{
    clear(b);
    ARRAY_FREE(&b->items);
    text_free(&b->bytes);
}

status prepare_batch_read(context *ctx, ingot_corpus *c, const split_plan *plan, prepare_batch *b)
{
    clear(b);
    while (b->bytes.length < BATCH_BYTES && b->items.count < BATCH_ITEMS) {
        ingot_corpus_piece piece;
        TRY(ingot_corpus_next(c, &piece));
        if (!piece.bytes) break;
        if (plan->by_bytes)
            TRY(push_by_bytes(ctx, plan, &piece, b));
        else
            TRY(push(ctx, b, piece.bytes,
                     (batch_item){.count = piece.count, .begins = piece.begins, .ends = piece.ends}));
        b->position += piece.count;
    }
    return INGOT_OK;
}

typedef struct encoding {
    context *ctx;
    const ingot_tokenizer *tokenizer;
    const ingot_clean_options *clean;
    prepare_batch *batch;
} encoding;

static status encode_item(const encoding *e, batch_item *item)
{
    const char *bytes = e->batch->bytes.at ? e->batch->bytes.at + item->at : "";
    int64_t count = item->count;
    if (e->clean->enabled) {
        item->counts = (clean_counts){0};
        TRY(clean_text(e->ctx, e->clean, bytes, count, &item->cleaned, &item->counts));
        bytes = item->cleaned.at ? item->cleaned.at : "";
        count = (int64_t)item->cleaned.length;
        item->broken = item->counts.broken_sequences;
    } else {
        item->broken = clean_count_broken(bytes, count);
    }
    item->text_bytes = count;
    item->hash = XXH3_64bits(bytes, (size_t)count);
    return ingot_encode(e->tokenizer, bytes, count, INGOT_ENCODE_PLAIN, &item->ids, &item->id_count);
}

static void encode_items(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const encoding *e = arg;
    for (int64_t i = first; i < last; i++) e->batch->items.at[i].failed = encode_item(e, &e->batch->items.at[i]);
}

status prepare_batch_encode(context *ctx, const ingot_tokenizer *tokenizer, const ingot_clean_options *clean,
                            prepare_batch *b)
{
    encoding e = {ctx, tokenizer, clean, b};
    struct pool *p = context_pool(ctx);
    if (!p) return fail_memory(ctx, "threads", 0);
    pool_for(p, b->items.count, 1, encode_items, &e);
    for (int64_t i = 0; i < b->items.count; i++) {
        /* A message belongs to the thread that failed; failing once more brings it here. */
        if (b->items.at[i].failed) TRY(encode_item(&e, &b->items.at[i]));
        text_free(&b->items.at[i].cleaned);
    }
    return INGOT_OK;
}
