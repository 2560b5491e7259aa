/* Counting words on all threads.
 *
 *     documents --> batch of lines, ~8 MB --> pieces of ~64 KB, cut at line ends --> each thread's own table
 *                                                                                     added up at the end
 */
#include "text/words.h"
#include "base/threads.h"

#include <xxhash.h>

#define BATCH_BYTES (8 << 20)
#define PIECE_BYTES (64 << 10)
#define OWN_BATCH   (1 << 20) /* documents from this size on are not copied */

typedef struct piece {
    const uint8_t *at;
    size_t length;
} piece;

typedef struct counter {
    cutter cutter;
    word_counts words;
    status failed;
} counter;

typedef struct counting {
    context *ctx;
    counter *workers;
    int worker_count;
    ARRAY(piece) pieces;
    text batch; /* small documents, each ended by a piece end */
    ARRAY(size_t) document_ends;
    double bytes_done;
} counting;

void word_counts_free(word_counts *w)
{
    free(w->slots);
    ARRAY_FREE(&w->bytes);
    *w = (word_counts){0};
}

static bool counts_grow(word_counts *w)
{
    uint64_t size = w->slots ? (w->mask + 1) * 2 : 4096;
    word_entry *bigger = calloc(size, sizeof *bigger);
    if (!bigger) return false;
    for (uint64_t i = 0; w->slots && i <= w->mask; i++) {
        if (!w->slots[i].count) continue;
        uint64_t j = w->slots[i].hash;
        while (bigger[j & (size - 1)].count) j++;
        bigger[j & (size - 1)] = w->slots[i];
    }
    free(w->slots);
    w->slots = bigger;
    w->mask = size - 1;
    return true;
}

static bool counts_add(word_counts *w, const uint8_t *word, size_t length, uint64_t hash, uint64_t times)
{
    if ((!w->slots || w->used * 2 > w->mask) && !counts_grow(w)) return false;
    for (uint64_t i = hash;; i++) {
        word_entry *entry = &w->slots[i & w->mask];
        if (!entry->count) {
            if (!ARRAY_RESERVE(&w->bytes, w->bytes.count + (int64_t)length)) return false;
            *entry = (word_entry){.hash = hash, .place = (uint64_t)w->bytes.count, .length = length, .count = times};
            memcpy(w->bytes.at + w->bytes.count, word, length);
            w->bytes.count += (int64_t)length;
            w->used++;
            return true;
        }
        if (entry->hash == hash && entry->length == length && !memcmp(w->bytes.at + entry->place, word, length)) {
            entry->count += times;
            return true;
        }
    }
}

static status count_line(context *ctx, counter *c, const uint8_t *line, size_t length)
{
    size_t ends[CUT_WORDS], at = 0;
    int words;
    cutter_start(&c->cutter, line, length);
    do {
        TRY(cutter_next(&c->cutter, ends, &words));
        for (int i = 0; i < words; at = ends[i++])
            if (!counts_add(&c->words, line + at, ends[i] - at, XXH3_64bits(line + at, ends[i] - at), 1))
                return fail_memory(ctx, "the words of the text", c->words.used * sizeof(word_entry) * 2);
    } while (words);
    return INGOT_OK;
}

static void count_pieces(void *arg, int64_t first, int64_t last, int worker)
{
    counting *all = arg;
    counter *c = &all->workers[worker];
    for (int64_t i = first; i < last && !c->failed; i++) {
        const uint8_t *at = all->pieces.at[i].at, *end = at + all->pieces.at[i].length;
        while (at < end && !c->failed) {
            const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
            const uint8_t *next = newline ? newline + 1 : end;
            c->failed = count_line(all->ctx, c, at, (size_t)(next - at));
            at = next;
        }
    }
}

/* Cuts a document at line ends; a line is never in two pieces. */
static bool cut_document(counting *all, const uint8_t *at, size_t length)
{
    while (length) {
        size_t take = length;
        if (length > PIECE_BYTES) {
            const uint8_t *newline = memchr(at + PIECE_BYTES, '\n', length - PIECE_BYTES);
            if (newline) take = (size_t)(newline - at) + 1;
        }
        if (!ARRAY_PUSH(&all->pieces, (piece){at, take})) return false;
        at += take;
        length -= take;
    }
    return true;
}

/* Counts what is waiting. A worker's message is its own thread's, so the first failure is said again here. */
static status count_batch(counting *all)
{
    const uint8_t *batch = (const uint8_t *)all->batch.at;
    size_t start = 0;
    for (int64_t i = 0; i < all->document_ends.count; start = all->document_ends.at[i++])
        if (!cut_document(all, batch + start, all->document_ends.at[i] - start))
            return fail_memory(all->ctx, "a batch of text", BATCH_BYTES);
    pool_for(context_pool(all->ctx), all->pieces.count, 1, count_pieces, all);
    for (int64_t i = 0; i < all->pieces.count; i++) all->bytes_done += (double)all->pieces.at[i].length;
    all->pieces.count = all->document_ends.count = 0;
    all->batch.length = 0;
    for (int i = 0; i < all->worker_count; i++) {
        status s = all->workers[i].failed;
        if (s == INGOT_ERROR_MEMORY) return fail_memory(all->ctx, "the words of the text", (uint64_t)all->bytes_done);
        if (s) return ingot_fail(all->ctx, s, "the pre-tokenizer's pattern gave up on a line of the text");
    }
    progress(all->ctx, "counting words", all->bytes_done, 0, "bytes");
    if (ingot_interrupted(all->ctx)) return ingot_fail(all->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
    return INGOT_OK;
}

static status take_document(counting *all, const char *bytes, int64_t count)
{
    if (count >= OWN_BATCH) {
        TRY(count_batch(all));
        if (!cut_document(all, (const uint8_t *)bytes, (size_t)count))
            return fail_memory(all->ctx, "a batch of text", (uint64_t)count);
        return count_batch(all);
    }
    text_add(&all->batch, bytes, (size_t)count);
    if (all->batch.failed || !ARRAY_PUSH(&all->document_ends, all->batch.length))
        return fail_memory(all->ctx, "a batch of text", BATCH_BYTES);
    return all->batch.length >= BATCH_BYTES ? count_batch(all) : INGOT_OK;
}

static status add_up(counting *all, word_counts *out)
{
    *out = all->workers[0].words;
    all->workers[0].words = (word_counts){0};
    for (int i = 1; i < all->worker_count; i++) {
        word_counts *w = &all->workers[i].words;
        for (uint64_t j = 0; w->slots && j <= w->mask; j++) {
            const word_entry *e = &w->slots[j];
            if (e->count && !counts_add(out, w->bytes.at + e->place, e->length, e->hash, e->count))
                return fail_memory(all->ctx, "the words of the text", out->used * sizeof *e * 2);
        }
        word_counts_free(w);
    }
    return INGOT_OK;
}

status count_words(context *ctx, const splitter *cuts, ingot_text_source *source, void *user, word_counts *out)
{
    *out = (word_counts){0};
    if (!context_pool(ctx)) return ingot_fail(ctx, INGOT_ERROR_MEMORY, "threads cannot be started");
    counting all = {.ctx = ctx, .worker_count = pool_size(context_pool(ctx))};
    all.workers = calloc((size_t)all.worker_count, sizeof *all.workers);
    if (!all.workers) return fail_memory(ctx, "word counts", sizeof *all.workers);
    status s = INGOT_OK;
    for (int i = 0; i < all.worker_count && !s; i++) s = cutter_init(&all.workers[i].cutter, ctx, cuts);
    while (!s) {
        const char *bytes = NULL;
        int64_t count = -1;
        s = source(user, &bytes, &count);
        if (s || count < 0) break;
        s = take_document(&all, bytes, count);
    }
    if (!s) s = count_batch(&all);
    if (!s) s = add_up(&all, out);
    if (s) word_counts_free(out);
    for (int i = 0; i < all.worker_count; i++) {
        cutter_free(&all.workers[i].cutter);
        word_counts_free(&all.workers[i].words);
    }
    free(all.workers);
    ARRAY_FREE(&all.pieces);
    ARRAY_FREE(&all.document_ends);
    text_free(&all.batch);
    return s;
}
