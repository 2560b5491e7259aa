/* Fills batches row by row; see ingot/data.h and batches.h. */
#include "data/batches.h"
#include "base/rng.h"

enum {
    GROUP_DOCUMENTS = 1024, /* packed together: enough to fill rows well, few enough to repack on resume */
    MOST_ROWS = 1 << 20,
    MOST_LENGTH = 1 << 24,
    STREAM_SHIFT = 0x5348, /* random streams: of the windows' shift, of the order of rows in a group */
    STREAM_ROWS = 0x524f,
};

struct ingot_batches {
    context *ctx;
    const ingot_data *data;
    ingot_batch_options options;
    int32_t *ids;            /* (T + 1) of the row being filled */
    ingot_batch_state state; /* of the next row */
    bool ended;              /* an evaluation that gave its last row */
    /* documents: */
    int64_t *starts, documents;
    packed_rows packed;
    uint64_t packed_epoch, packed_group;
    bool is_packed;
};

context *batches_context(const ingot_batches *b)
{
    return b->ctx;
}

static status check_options(const ingot_data *data, const ingot_batch_options *o)
{
    if (o->rows < 1 || o->rows > MOST_ROWS || o->length < 1 || o->length > MOST_LENGTH)
        return ingot_fail(data->ctx, INGOT_ERROR_ARGUMENT, "batches of %d rows of %d tokens: give at least 1 of each",
                          o->rows, o->length);
    if (o->token_bytes && o->vocab_size < 1)
        return ingot_fail(data->ctx, INGOT_ERROR_ARGUMENT, "token_bytes needs vocab_size");
    if (o->kind == INGOT_ROWS_DOCUMENT && data->eot < 0)
        return ingot_fail(
            data->ctx, INGOT_ERROR_ARGUMENT,
            "%s: which token begins a document is not known, so rows cannot follow documents; use --rows stream",
            data->name);
    if (o->kind == INGOT_ROWS_STREAM && data->tokens < 2)
        return ingot_fail(data->ctx, INGOT_ERROR_ARGUMENT, "%s holds %lld tokens; at least 2 are needed", data->name,
                          (long long)data->tokens);
    return INGOT_OK;
}

ingot_status ingot_batches_new(const ingot_data *data, const ingot_batch_options *options, ingot_batches **out)
{
    *out = NULL;
    TRY(check_options(data, options));
    ingot_batches *b = calloc(1, sizeof *b);
    int32_t *ids = calloc((size_t)options->length + 1, sizeof *ids);
    status s = b && ids ? INGOT_OK : fail_memory(data->ctx, "batches", sizeof *b);
    if (!s) {
        *b = (ingot_batches){.ctx = data->ctx, .data = data, .options = *options, .ids = ids};
        ids = NULL;
        if (options->kind == INGOT_ROWS_DOCUMENT) s = data_documents(data, &b->starts, &b->documents);
    }
    free(ids);
    if (s) {
        ingot_batches_free(b);
        return s;
    }
    *out = b;
    return INGOT_OK;
}

void ingot_batches_free(ingot_batches *b)
{
    if (!b) return;
    packed_rows_free(&b->packed);
    free(b->starts);
    free(b->ids);
    free(b);
}

/* ---- one row ---- */

typedef struct row_out {
    int32_t *tokens, *targets, *segment_start, *positions;
    int64_t filled;
} row_out;

static row_out row_of(const ingot_batch *batch, int64_t row, int64_t length)
{
    int64_t at = row * length;
    return (row_out){batch->tokens + at, batch->targets + at, batch->segment_start ? batch->segment_start + at : NULL,
                     batch->positions ? batch->positions + at : NULL, 0};
}

static void add_segment(row_out *out, const int32_t *tokens, const int32_t *targets, int64_t count, int32_t pad)
{
    int64_t start = out->filled;
    for (int64_t i = 0; i < count; i++) {
        out->tokens[start + i] = tokens ? tokens[i] : pad;
        out->targets[start + i] = targets ? targets[i] : -1;
        if (out->segment_start) out->segment_start[start + i] = (int32_t)start;
        if (out->positions) out->positions[start + i] = (int32_t)i;
    }
    out->filled += count;
}

/* What is left of a row: one segment of EOT (or token 0), of which nothing is predicted. */
static void pad_row(const ingot_batches *b, row_out *out)
{
    add_segment(out, NULL, NULL, b->options.length - out->filled, MAX(b->data->eot, 0));
}

static status read_ids(ingot_batches *b, int64_t first, int64_t count)
{
    TRY(ingot_data_read(b->data, first, count, b->ids));
    int32_t end = b->options.vocab_size > 0 ? b->options.vocab_size : INT32_MAX;
    for (int64_t i = 0; i < count; i++)
        if (b->ids[i] < 0 || b->ids[i] >= end)
            return ingot_fail(
                b->ctx, INGOT_ERROR_FORMAT,
                "%s: token %lld has id %u, but the vocabulary has %d entries: the data was made with another "
                "tokenizer",
                b->data->name, (long long)(first + i), (uint32_t)b->ids[i], end);
    return INGOT_OK;
}

/* ---- stream ---- */

typedef struct windows {
    int64_t shift, count;
} windows;

/* Training shifts the windows of each epoch, so that none sees the same cuts again, and drops the incomplete last one. */
static windows windows_of(const ingot_batches *b, uint64_t epoch)
{
    int64_t length = b->options.length, predictions = b->data->tokens - 1;
    if (!b->options.shuffle || predictions < 2 * length) return (windows){0, (predictions + length - 1) / length};
    int64_t shift = (int64_t)(rng_bits(b->options.seed, (uint32_t)epoch, 0, STREAM_SHIFT, 0) % (uint32_t)length);
    return (windows){shift, (predictions - shift) / length};
}

static status fill_window(ingot_batches *b, row_out *out)
{
    windows w = windows_of(b, b->state.epoch);
    uint64_t window = b->state.group, count = (uint64_t)w.count;
    if (b->options.shuffle) window = permute(b->options.seed, (uint32_t)b->state.epoch, window, count);
    int64_t first = w.shift + (int64_t)window * b->options.length;
    int64_t predictions = MIN(b->options.length, b->data->tokens - 1 - first);
    TRY(read_ids(b, first, predictions + 1));
    add_segment(out, b->ids, b->ids + 1, predictions, 0);
    if (++b->state.group == count) b->state = (ingot_batch_state){.epoch = b->state.epoch + 1};
    return INGOT_OK;
}

/* ---- documents ---- */

static uint64_t groups_of(const ingot_batches *b)
{
    return ((uint64_t)b->documents + GROUP_DOCUMENTS - 1) / GROUP_DOCUMENTS;
}

static status add_document(ingot_batches *b, int64_t document)
{
    for (int64_t at = b->starts[document], end = b->starts[document + 1]; at < end;) {
        int64_t count = MIN(end - at, b->options.length);
        if (!ARRAY_PUSH(&b->packed.pieces, (row_piece){at, count, at + count == end}))
            return fail_memory(b->ctx, "packed rows", sizeof(row_piece));
        at += count;
    }
    return INGOT_OK;
}

static status pack_group(ingot_batches *b)
{
    if (b->is_packed && b->packed_epoch == b->state.epoch && b->packed_group == b->state.group) return INGOT_OK;
    b->is_packed = false;
    b->packed.pieces.count = 0;
    uint64_t documents = (uint64_t)b->documents, first = b->state.group * GROUP_DOCUMENTS;
    for (uint64_t i = first; i < MIN(first + GROUP_DOCUMENTS, documents); i++) {
        uint64_t document = i;
        if (b->options.shuffle) document = permute(b->options.seed, (uint32_t)b->state.epoch, i, documents);
        TRY(add_document(b, (int64_t)document));
    }
    TRY(pack_rows(b->ctx, &b->packed, b->options.length));
    b->packed_epoch = b->state.epoch;
    b->packed_group = b->state.group;
    b->is_packed = true;
    return INGOT_OK;
}

static status fill_packed(ingot_batches *b, row_out *out)
{
    TRY(pack_group(b));
    uint64_t row = b->state.row, rows = (uint64_t)b->packed.rows;
    if (b->options.shuffle)
        row = permute(b->options.seed + STREAM_ROWS + b->state.group, (uint32_t)b->state.epoch, row, rows);
    for (int64_t i = b->packed.row_start.at[row]; i < b->packed.row_start.at[row + 1]; i++) {
        row_piece piece = b->packed.pieces.at[i];
        TRY(read_ids(b, piece.first, piece.count + !piece.ends));
        if (piece.ends) b->ids[piece.count] = b->data->eot;
        add_segment(out, b->ids, b->ids + 1, piece.count, 0);
    }
    if (++b->state.row < rows) return INGOT_OK;
    b->state = (ingot_batch_state){.epoch = b->state.epoch, .group = b->state.group + 1};
    if (b->state.group == groups_of(b)) b->state = (ingot_batch_state){.epoch = b->state.epoch + 1};
    return INGOT_OK;
}

/* ---- batches ---- */

ingot_status ingot_batches_seek(ingot_batches *b, ingot_batch_state state)
{
    bool stream = b->options.kind == INGOT_ROWS_STREAM;
    uint64_t groups = stream ? (uint64_t)windows_of(b, state.epoch).count : groups_of(b);
    bool fits = state.group < groups && (!stream || !state.row) && state.epoch <= UINT32_MAX;
    b->state = state;
    b->ended = !b->options.shuffle && state.epoch > 0;
    if (fits && !stream) {
        TRY(pack_group(b));
        fits = state.row < (uint64_t)b->packed.rows;
    }
    if (fits) return INGOT_OK;
    b->state = (ingot_batch_state){0};
    return ingot_fail(
        b->ctx, INGOT_ERROR_ARGUMENT,
        "%s has no place for epoch %llu, group %llu, row %llu: the data or the shape of the batches changed",
        b->data->name, (unsigned long long)state.epoch, (unsigned long long)state.group, (unsigned long long)state.row);
}

static void count_targets(const ingot_batches *b, ingot_batch *batch)
{
    batch->target_count = batch->text_bytes = 0;
    for (int64_t i = 0; i < (int64_t)b->options.rows * b->options.length; i++) {
        if (batch->targets[i] < 0) continue;
        batch->target_count++;
        if (b->options.token_bytes) batch->text_bytes += b->options.token_bytes[batch->targets[i]];
    }
}

ingot_status ingot_batches_next(ingot_batches *b, ingot_batch *batch)
{
    for (int64_t r = 0; r < b->options.rows; r++) {
        row_out out = row_of(batch, r, b->options.length);
        if (!b->ended) TRY(b->options.kind == INGOT_ROWS_STREAM ? fill_window(b, &out) : fill_packed(b, &out));
        pad_row(b, &out);
        b->ended = !b->options.shuffle && b->state.epoch > 0;
    }
    count_targets(b, batch);
    batch->next = b->state;
    return INGOT_OK;
}
