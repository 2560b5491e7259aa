/* Token batches: filled ahead by a thread in training, read in order in evaluation. A step's batches stay as they are
 * until it has been looked at, so that a bad step can be run again from them.
 */
#define _GNU_SOURCE
#include "train/feed.h"
#include "base/file.h"
#include "ingot/tokenizer.h"

#include <stdio.h>

enum { BATCHES_AHEAD = 2, BATCH_INPUTS = 4 };

/* The batches of a step, as they were taken and as its inputs. */
typedef struct held_step {
    ingot_batch **batches;
    int count;
    ingot_feed *inputs;
} held_step;

typedef struct token_feed {
    feed base;
    int micros, buffers;
    int64_t batch;
    ingot_data *data;
    ingot_batches *batches;
    ingot_prefetch *prefetch; /* NULL: batches are read when they are asked for */
    ingot_batch *buffer;      /* `buffers` of them */
    ingot_batch **pointers;
    held_step *held; /* a ring of `steps`; the current one's is at `now` */
    int steps, now;
    int32_t *memory, *token_bytes;
} token_feed;

static int add_input(ingot_feed *out, const char *name, const int32_t *data, int64_t bytes)
{
    *out = (ingot_feed){name, data, bytes};
    return 1;
}

static void set_inputs(token_feed *f, held_step *h)
{
    int64_t bytes = f->batch * f->base.length * (int64_t)sizeof(int32_t);
    int n = 0;
    for (int i = 0; i < h->count; i++) {
        const ingot_batch *b = h->batches[i];
        n += add_input(&h->inputs[n], "tokens", b->tokens, bytes);
        n += add_input(&h->inputs[n], "targets", b->targets, bytes);
        if (!f->base.segments) continue;
        n += add_input(&h->inputs[n], "positions", b->positions, bytes);
        n += add_input(&h->inputs[n], "segment_start", b->segment_start, bytes);
    }
    f->base.inputs = h->inputs;
}

static status take(token_feed *f, const held_step *h, ingot_batch **out)
{
    if (f->prefetch) return ingot_prefetch_take(f->prefetch, out);
    *out = &f->buffer[f->now * f->micros + h->count];
    return ingot_batches_next(f->batches, *out);
}

static status advance(feed *base)
{
    token_feed *f = (token_feed *)base;
    f->now = (f->now + 1) % f->steps;
    held_step *h = &f->held[f->now];
    if (f->prefetch)
        for (int i = 0; i < h->count; i++) ingot_prefetch_give(f->prefetch, h->batches[i]);
    h->count = 0;
    base->targets = base->text_bytes = 0;
    while (h->count < f->micros) {
        ingot_batch *b;
        TRY(take(f, h, &b));
        h->batches[h->count++] = b;
        base->targets += b->target_count;
        base->text_bytes += b->text_bytes;
        base->next = b->next;
    }
    set_inputs(f, h);
    return INGOT_OK;
}

static status start_prefetch(token_feed *f)
{
    return ingot_prefetch_start(f->batches, f->pointers, f->buffers, &f->prefetch);
}

static status seek(feed *base, ingot_batch_state state)
{
    token_feed *f = (token_feed *)base;
    bool ahead = f->prefetch != NULL;
    ingot_prefetch_stop(f->prefetch);
    f->prefetch = NULL;
    for (int i = 0; i < f->steps; i++) f->held[i].count = 0;
    base->next = state;
    TRY(ingot_batches_seek(f->batches, state));
    return ahead ? start_prefetch(f) : INGOT_OK;
}

static void close_tokens(feed *base)
{
    token_feed *f = (token_feed *)base;
    ingot_prefetch_stop(f->prefetch);
    ingot_batches_free(f->batches);
    ingot_data_free(f->data);
    free(f->buffer);
    free(f->pointers);
    for (int i = 0; f->held && i < f->steps; i++) {
        free(f->held[i].batches);
        free(f->held[i].inputs);
    }
    free(f->held);
    free(f->memory);
    free(f->token_bytes);
    free(f);
}

static status make_buffers(token_feed *f)
{
    int64_t size = f->batch * f->base.length;
    size_t count = (size_t)f->buffers, bytes;
    if (__builtin_mul_overflow((size_t)size, count * BATCH_INPUTS * sizeof(int32_t), &bytes))
        return fail_memory(f->base.ctx, "batches", UINT64_MAX);
    f->memory = calloc(1, bytes);
    f->buffer = calloc(count, sizeof *f->buffer);
    f->pointers = calloc(count, sizeof(ingot_batch *));
    f->held = calloc((size_t)f->steps, sizeof *f->held);
    bool there = f->memory && f->buffer && f->pointers && f->held;
    for (int i = 0; there && i < f->steps; i++) {
        f->held[i] = (held_step){.batches = calloc((size_t)f->micros, sizeof(ingot_batch *)),
                                 .inputs = calloc((size_t)f->micros * BATCH_INPUTS, sizeof(ingot_feed))};
        there = f->held[i].batches && f->held[i].inputs;
    }
    if (!there) return fail_memory(f->base.ctx, "batches", bytes);
    for (int i = 0; i < f->buffers; i++) {
        int32_t *at = f->memory + (int64_t)i * size * BATCH_INPUTS;
        f->buffer[i] = (ingot_batch){.tokens = at, .targets = at + size};
        if (f->base.segments) f->buffer[i].positions = at + 2 * size, f->buffer[i].segment_start = at + 3 * size;
        f->pointers[i] = &f->buffer[i];
    }
    return INGOT_OK;
}

/* The tokenizer in `folder`, or NULL when it holds none. */
static status find_tokenizer(context *ctx, const char *folder, ingot_tokenizer **out)
{
    *out = NULL;
    char *path = folder ? path_join(folder, "tokenizer.json") : NULL;
    status s = path && file_exists(path) ? ingot_tokenizer_load(ctx, path, out) : INGOT_OK;
    free(path);
    return s;
}

static status load_token_bytes(token_feed *f, const char *data, const char *model, int64_t vocab_size)
{
    ingot_tokenizer *t;
    TRY(find_tokenizer(f->base.ctx, data, &t));
    if (!t) TRY(find_tokenizer(f->base.ctx, model, &t));
    if (!t) return INGOT_OK; /* bits per byte are not known then */
    f->token_bytes = calloc((size_t)vocab_size, sizeof *f->token_bytes);
    int known = (int)MIN(vocab_size, ingot_tokenizer_vocab_size(t));
    for (int id = 0; f->token_bytes && id < known; id++) {
        int64_t bytes = 0;
        if (!ingot_token_is_special(t, id) && ingot_token_bytes(t, id, &bytes)) f->token_bytes[id] = (int32_t)bytes;
    }
    ingot_tokenizer_free(t);
    return f->token_bytes ? INGOT_OK : fail_memory(f->base.ctx, "the tokenizer", (uint64_t)vocab_size * 4);
}

static status check_tokenizer(token_feed *f, const char *model, const char *data)
{
    uint64_t made_with = ingot_data_tokenizer_checksum(f->data);
    ingot_tokenizer *t;
    TRY(find_tokenizer(f->base.ctx, model, &t));
    uint64_t knows = t ? ingot_tokenizer_checksum(t) : 0;
    ingot_tokenizer_free(t);
    if (!knows || !made_with || knows == made_with) return INGOT_OK;
    return ingot_fail(f->base.ctx, INGOT_ERROR_ARGUMENT,
                      "%s was encoded with another tokenizer than the model's: prepare the text again with --tokenizer "
                      "%s/tokenizer.json, or train a new model",
                      data, model);
}

static status check_fit(token_feed *f, const ingot_model_info *m, const feed_options *o)
{
    context *ctx = f->base.ctx;
    int vocab_size = ingot_data_vocab_size(f->data);
    if (vocab_size > m->vocab_size)
        return ingot_fail(
            ctx, INGOT_ERROR_ARGUMENT,
            "%s was encoded with a vocabulary of %d entries, the model has %lld: encode it with the model's "
            "tokenizer, or train a model with --vocab-size %d",
            o->data, vocab_size, (long long)m->vocab_size, vocab_size);
    if (f->base.length > m->context && !m->rotary)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                          "--context %lld is more than the %lld positions of %s (%s, learned positions); use --context "
                          "%lld or less, or train a family with rotary positions (--family llama)",
                          (long long)f->base.length, (long long)m->context, m->directory ? m->directory : "the model",
                          m->family, (long long)m->context);
    if (f->base.length > m->context && !o->quiet)
        log_line(ctx, INGOT_LOG_WARNING, "--context %lld is more than the %lld positions that %s was trained with",
                 (long long)f->base.length, (long long)m->context, m->directory ? m->directory : "the model");
    return m->directory ? check_tokenizer(f, m->directory, o->data) : INGOT_OK;
}

static status row_kind(token_feed *f, const char *rows, ingot_row_kind *out)
{
    const char *kind = rows ? rows : ingot_data_rows(f->data);
    if (strcmp(kind, "stream") && strcmp(kind, "document"))
        return ingot_fail(f->base.ctx, INGOT_ERROR_ARGUMENT, "rows are \"stream\" or \"document\", not \"%s\"", kind);
    *out = strcmp(kind, "document") ? INGOT_ROWS_STREAM : INGOT_ROWS_DOCUMENT;
    f->base.segments = *out == INGOT_ROWS_DOCUMENT;
    return INGOT_OK;
}

static status open_tokens(token_feed *f, const ingot_model_info *m, const feed_options *o)
{
    ingot_row_kind kind = INGOT_ROWS_STREAM;
    TRY(ingot_data_open(f->base.ctx, o->data, o->split, &(ingot_data_options){.raw_u16 = o->raw_u16}, &f->data));
    TRY(row_kind(f, o->rows, &kind));
    f->base.length = o->length ? o->length : m->context;
    TRY(check_fit(f, m, o));
    f->base.info = ingot_data_info(f->data);
    f->base.tokenizer_checksum = ingot_data_tokenizer_checksum(f->data);
    f->base.positions = f->micros * f->batch * f->base.length;
    f->base.count = f->base.segments ? 4 : 2;
    if (o->count_bytes) TRY(load_token_bytes(f, o->data, m->directory, m->vocab_size));
    ingot_batch_options options = {.rows = (int)f->batch,
                                   .length = (int)f->base.length,
                                   .kind = kind,
                                   .shuffle = o->shuffle,
                                   .seed = o->seed,
                                   .vocab_size = (int)m->vocab_size,
                                   .token_bytes = f->token_bytes};
    TRY(ingot_batches_new(f->data, &options, &f->batches));
    TRY(make_buffers(f));
    return o->shuffle ? start_prefetch(f) : INGOT_OK;
}

status feed_open(const ingot_model *model, context *ctx, const feed_options *o, feed **out)
{
    *out = NULL;
    ingot_model_info m = ingot_model_describe(model);
    if (!o->data) return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "no data is given: use --data");
    if (o->batch < 1 || o->batch > 1 << 20 || o->length < 0 || o->length > 1 << 24 || o->micros < 1)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "a batch of %lld rows of %lld positions cannot be made",
                          (long long)o->batch, (long long)o->length);
    if (m.image) return feed_open_images(&m, ctx, o, out);
    token_feed *f = calloc(1, sizeof *f);
    if (!f) return fail_memory(ctx, "batches", sizeof *f);
    *f = (token_feed){.base = {.ctx = ctx, .unit = "tok", .advance = advance, .seek = seek, .close = close_tokens},
                      .micros = o->micros,
                      .steps = 1 + o->ahead,
                      .buffers = o->micros * (1 + o->ahead) + (o->shuffle ? BATCHES_AHEAD : 0),
                      .batch = o->batch};
    status s = open_tokens(f, &m, o);
    if (s) {
        close_tokens(&f->base);
        return s;
    }
    *out = &f->base;
    return INGOT_OK;
}

void feed_close(feed *f)
{
    if (f) f->close(f);
}
