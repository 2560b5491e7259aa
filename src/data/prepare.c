/* `data prepare`: text in, a folder of token files out; see prepare.h for its parts. */
#define _GNU_SOURCE
#include "data/prepare.h"
#include "formats/folder.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

enum { DEFAULT_SHARD_TOKENS = 1000000000, DEFAULT_MIN_BYTES = 16 };

typedef struct preparation {
    context *ctx;
    const ingot_prepare_options *options;
    ingot_clean_options clean;
    ingot_tokenizer *tokenizer;
    int32_t eot;
    char *standard_input; /* a copy of it in the output folder, as it has to be read twice; NULL */
    split_plan plan;
    shard_writer train, val;
    shard_writer *into; /* of the document being written; NULL: it is dropped */
    hash_set seen;
    ingot_prepare_report report;
} preparation;

static status check_options(context *ctx, const ingot_prepare_options *o)
{
    if (!o->tokenizer || !o->output)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "data prepare needs a tokenizer and an output folder");
    if (!(o->val_fraction >= 0 && o->val_fraction < 1))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "a val fraction of %g: give 0 or more and less than 1",
                          o->val_fraction);
    if (o->rows && strcmp(o->rows, "stream") && strcmp(o->rows, "document"))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "rows \"%s\": they are stream or document", o->rows);
    if (o->shard_tokens < 0 || o->shard_tokens > TOKEN_BIN_MOST_TOKENS)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "a shard of %lld tokens: a file holds fewer than 2^31",
                          (long long)o->shard_tokens);
    return INGOT_OK;
}

/* ---- the output folder ---- */

/* train.bin, val_000012.bin, meta.json: what an earlier prepare may have left. */
static bool is_ours(const char *name)
{
    if (!strcmp(name, DATA_META)) return true;
    size_t length = strlen(name), split = !strncmp(name, "train", 5) ? 5 : !strncmp(name, "val", 3) ? 3 : 0;
    if (!split || length < 4 || strcmp(name + length - 4, ".bin")) return false;
    return name[split] == '.' || (name[split] == '_' && strspn(name + split + 1, "0123456789") == length - split - 5);
}

/* What is there is removed when `overwrite`, else refused. meta.json goes first: without it the rest is nobody's data. */
static status clear_output(context *ctx, const char *folder, bool overwrite)
{
    TRY(folder_check_output(ctx, folder, FOLDER_DATA));
    char *meta = path_join(folder, DATA_META);
    if (!meta) return fail_memory(ctx, folder, strlen(folder));
    if (overwrite) unlink(meta);
    free(meta);
    DIR *entries = opendir(folder);
    if (!entries) return fail_errno(ctx, "open folder", folder);
    status s = INGOT_OK;
    for (struct dirent *entry; !s && (entry = readdir(entries));) {
        if (!is_ours(entry->d_name)) continue;
        if (!overwrite)
            s = ingot_fail(ctx, INGOT_ERROR_FILE,
                           "%s already holds data (%s). Give another --output, or --overwrite to replace it", folder,
                           entry->d_name);
        else if (unlinkat(dirfd(entries), entry->d_name, 0))
            s = fail_errno(ctx, "remove the old data in", folder);
    }
    closedir(entries);
    return s;
}

/* The split is decided before the first token is written, so standard input is kept on disk meanwhile. */
static status spool_standard_input(preparation *p)
{
    bool named = false;
    for (int i = 0; i < p->options->input_count; i++) named |= !strcmp(p->options->inputs[i], "-");
    if (!named || p->options->val_fraction <= 0) return INGOT_OK;
    char *path = path_join(p->options->output, "standard-input.partial");
    FILE *file = path ? fopen(path, "wb") : NULL;
    status s = !path ? fail_memory(p->ctx, "a path", 64) : file ? INGOT_OK : fail_errno(p->ctx, "write", path);
    p->standard_input = path;
    char buffer[1 << 16];
    while (!s) {
        ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
        if (got == 0) break;
        if (got < 0 && errno == EINTR && !ingot_interrupted(p->ctx)) continue;
        if (ingot_interrupted(p->ctx))
            s = ingot_fail(p->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
        else if (got < 0)
            s = fail_errno(p->ctx, "read", "standard input");
        else if (fwrite(buffer, 1, (size_t)got, file) != (size_t)got)
            s = fail_errno(p->ctx, "write", path);
    }
    if (file && fclose(file) && !s) s = fail_errno(p->ctx, "write", path);
    return s;
}

/* ---- documents ---- */

/* Decided where a document begins: which split takes it, or NULL and the cause counted. */
static status place_document(preparation *p, const batch_item *item)
{
    p->into = NULL;
    bool whole = item->ends, seen = false;
    if (p->clean.enabled) {
        if (p->clean.drop_broken && item->broken) {
            p->report.dropped_broken++;
            return INGOT_OK;
        }
        if (whole && item->text_bytes < p->clean.min_bytes) {
            p->report.dropped_short++;
            return INGOT_OK;
        }
        /* Documents of several pieces are too large to be equal by chance and too costly to lose. */
        if (whole) TRY(hash_set_add(p->ctx, &p->seen, item->hash, &seen));
        if (seen) {
            p->report.dropped_duplicate++;
            return INGOT_OK;
        }
    }
    bool in_val = p->plan.by_bytes ? item->in_val : split_is_val(&p->plan, item->hash);
    p->into = in_val ? &p->val : &p->train;
    p->into->info.documents++;
    p->report.broken_documents += item->broken > 0;
    return shard_add(p->into, &p->eot, 1);
}

static status write_batch(preparation *p, const prepare_batch *batch)
{
    for (int64_t i = 0; i < batch->items.count; i++) {
        const batch_item *item = &batch->items.at[i];
        if (item->begins) TRY(place_document(p, item));
        if (!p->into) continue;
        TRY(shard_add(p->into, item->ids, item->id_count));
        p->into->info.text_bytes += item->text_bytes;
        p->report.broken_sequences += item->counts.broken_sequences;
        p->report.control_bytes += item->counts.control_bytes;
        p->report.markup_bytes += item->counts.markup_bytes;
        p->report.line_ends += item->counts.line_ends;
        p->report.nfc_documents += item->counts.composed;
    }
    return INGOT_OK;
}

static status open_corpus(const preparation *p, ingot_corpus **out)
{
    const ingot_corpus_options options = {.inputs = p->options->inputs,
                                          .input_count = p->options->input_count,
                                          .field = p->options->field,
                                          .allow_nul = p->clean.enabled};
    return corpus_open(p->ctx, &options, p->standard_input, out);
}

static status write_documents(preparation *p, ingot_corpus *corpus)
{
    prepare_batch batch = {0};
    status s;
    do {
        s = prepare_batch_read(p->ctx, corpus, &p->plan, &batch);
        if (!s) s = prepare_batch_encode(p->ctx, p->tokenizer, &p->clean, &batch);
        if (!s) s = write_batch(p, &batch);
        int64_t done, total;
        ingot_corpus_progress(corpus, &done, &total);
        progress(p->ctx, "prepare", (double)done, (double)total, "bytes");
    } while (!s && batch.items.count);
    prepare_batch_free(&batch);
    return s;
}

/* One pass over the text into the two splits, all or nothing of their files. */
static status write_splits(preparation *p, bool force_bytes)
{
    const ingot_prepare_options *o = p->options;
    const shard_writer writer = {.ctx = p->ctx,
                                 .folder = o->output,
                                 .id_bytes = ingot_tokenizer_vocab_size(p->tokenizer) <= 1 << 16 ? 2 : 4,
                                 .shard_tokens = o->shard_tokens ? o->shard_tokens : DEFAULT_SHARD_TOKENS};
    p->report = (ingot_prepare_report){0};
    p->train = p->val = writer;
    p->train.split = "train", p->val.split = "val";
    hash_set_free(&p->seen);
    ingot_corpus *corpus;
    TRY(open_corpus(p, &corpus));
    status s = split_plan_make(p->ctx, corpus, o->val_fraction, force_bytes, &p->plan);
    ingot_corpus_free(corpus);
    TRY(s);
    TRY(open_corpus(p, &corpus));
    s = write_documents(p, corpus);
    ingot_corpus_free(corpus);
    if (!s) s = shard_finish(&p->train);
    if (!s) s = shard_finish(&p->val);
    shard_abandon(&p->train);
    shard_abandon(&p->val);
    return s;
}

static status check_result(preparation *p)
{
    const ingot_prepare_report *r = &p->report;
    if (!p->train.info.tokens) {
        int64_t dropped = r->dropped_broken + r->dropped_short + r->dropped_duplicate;
        return dropped ? ingot_fail(p->ctx, INGOT_ERROR_ARGUMENT,
                                    "nothing is left to train on: --clean dropped %lld document%s (%lld short, %lld "
                                    "broken, %lld duplicate)",
                                    (long long)dropped, dropped == 1 ? "" : "s", (long long)r->dropped_short,
                                    (long long)r->dropped_broken, (long long)r->dropped_duplicate)
                       : ingot_fail(p->ctx, INGOT_ERROR_ARGUMENT, "there is no text in %s%s", p->options->inputs[0],
                                    p->options->input_count > 1 ? " and the other inputs" : "");
    }
    if (p->options->val_fraction > 0 && !p->val.info.tokens)
        log_line(p->ctx, INGOT_LOG_WARNING, "the text is too short to hold out %g of it: there is no val split",
                 p->options->val_fraction);
    if (!p->clean.enabled && r->broken_documents)
        log_line(p->ctx, INGOT_LOG_WARNING,
                 "%lld document%s broken UTF-8, which was encoded byte by byte; --clean repairs it",
                 (long long)r->broken_documents, r->broken_documents == 1 ? " holds" : "s hold");
    return INGOT_OK;
}

static status write_meta(const preparation *p)
{
    char *path = path_join(p->options->output, "tokenizer.json");
    status s = path ? ingot_tokenizer_save(p->tokenizer, path) : fail_memory(p->ctx, "a path", 64);
    free(path);
    TRY(s);
    data_meta meta = {.tokenizer_checksum = ingot_tokenizer_checksum(p->tokenizer),
                      .vocab_size = ingot_tokenizer_vocab_size(p->tokenizer),
                      .eot = p->eot,
                      .train = {p->train.shards, p->train.info},
                      .val = {p->val.shards, p->val.info}};
    strcpy(meta.rows, p->options->rows ? p->options->rows : "stream");
    return data_meta_write(p->ctx, p->options->output, &meta);
}

static status prepare(preparation *p)
{
    const ingot_prepare_options *o = p->options;
    TRY(ingot_tokenizer_load(p->ctx, o->tokenizer, &p->tokenizer));
    p->eot = ingot_tokenizer_eot(p->tokenizer);
    if (p->eot < 0)
        return ingot_fail(p->ctx, INGOT_ERROR_ARGUMENT, "%s has no token that ends a text (<|endoftext|>)",
                          o->tokenizer);
    ingot_corpus *corpus; /* opened once before anything is touched: a misspelt name must not cost the old data */
    TRY(open_corpus(p, &corpus));
    ingot_corpus_free(corpus);
    TRY(directory_create(p->ctx, o->output));
    TRY(clear_output(p->ctx, o->output, o->overwrite));
    TRY(spool_standard_input(p));
    TRY(write_splits(p, false));
    bool one_empty = !p->train.info.tokens != !p->val.info.tokens;
    if (o->val_fraction > 0 && !p->plan.by_bytes && one_empty) {
        TRY(clear_output(p->ctx, o->output, true)); /* so few documents that chance gave all to one side */
        TRY(write_splits(p, true));
    }
    TRY(check_result(p));
    return write_meta(p);
}

ingot_status ingot_data_prepare(ingot_context *ctx, const ingot_prepare_options *options, ingot_prepare_report *report)
{
    TRY(check_options(ctx, options));
    preparation p = {.ctx = ctx, .options = options, .clean = options->clean};
    if (p.clean.min_bytes <= 0) p.clean.min_bytes = DEFAULT_MIN_BYTES;
    status s = prepare(&p);
    if (p.standard_input) unlink(p.standard_input);
    p.report.train = p.train.info;
    p.report.val = p.val.info;
    if (report) *report = p.report;
    free(p.standard_input);
    hash_set_free(&p.seen);
    ingot_tokenizer_free(p.tokenizer);
    return s;
}
