/* ingot data show: what token files hold, and some of it as text. */
#include "base/file.h"
#include "cli/data.h"
#include "data/clean.h"
#include "data/data.h"

#include <stdio.h>

typedef struct show_options {
    const char *data, *tokenizer, *split;
    int64_t samples, tokens;
    bool raw_u16;
} show_options;

typedef struct sample {
    int64_t at, count;
    bool whole;
    text text; /* empty: there is no tokenizer. Without controls and cut characters: it goes to a terminal */
    int32_t *ids;
} sample;

/* Document `d`, of which at most `most` tokens are taken. */
static status take_sample(const ingot_data *data, const ingot_tokenizer *t, const int64_t *starts, int64_t d,
                          int64_t most, sample *out)
{
    int64_t length = starts[d + 1] - starts[d];
    *out = (sample){.at = starts[d], .count = MIN(length, most), .whole = length <= most};
    out->ids = malloc(sizeof *out->ids * (size_t)out->count);
    if (!out->ids) return fail_memory(data->ctx, "a sample", (uint64_t)out->count * 4);
    TRY(ingot_data_read(data, out->at, out->count, out->ids));
    if (!t) return INGOT_OK;
    bool eot = out->ids[0] == data->eot;
    char *decoded;
    int64_t bytes;
    TRY(ingot_decode(t, out->ids + eot, out->count - eot, &decoded, &bytes));
    clean_counts counts = {0};
    status s = clean_text(data->ctx, &(ingot_clean_options){.keep_markup = 1}, decoded, bytes, &out->text, &counts);
    text_puts(&out->text, "");
    free(decoded);
    return s;
}

static void print_sample(call *c, const sample *s)
{
    if (s->text.at) {
        print_line(c, "\n--- token %lld:", (long long)s->at);
        print_line(c, "%s%s", s->text.at, s->whole ? "" : " ...");
        return;
    }
    text ids = {0};
    for (int64_t i = 0; i < s->count; i++) text_printf(&ids, " %d", s->ids[i]);
    print_line(c, "\n--- token %lld:%s%s", (long long)s->at, ids.at ? ids.at : "", s->whole ? "" : " ...");
    text_free(&ids);
}

/* Samples spread evenly over the documents. */
static status show_samples(call *c, const show_options *o, const ingot_data *data, const ingot_tokenizer *t,
                           json_t *list)
{
    int64_t *starts, documents;
    TRY(data_documents(data, &starts, &documents));
    status s = INGOT_OK;
    int64_t count = MIN(o->samples, documents);
    for (int64_t i = 0; i < count && !s; i++) {
        sample one;
        s = take_sample(data, t, starts, documents / count * i, o->tokens, &one);
        if (!s && list)
            json_array_append_new(
                list, json_pack("{s:I, s:I, s:o}", "token", (json_int_t)one.at, "tokens", (json_int_t)one.count, "text",
                                one.text.at ? json_stringn(one.text.at, one.text.length) : json_null()));
        else if (!s)
            print_sample(c, &one);
        free(one.ids);
        text_free(&one.text);
    }
    free(starts);
    return s;
}

static void print_info(call *c, const show_options *o, const ingot_data *data, const ingot_tokenizer *t)
{
    ingot_split_info info = ingot_data_info(data);
    char size[24];
    print_line(c, "%s: %lld tokens in %lld file%s", o->data, (long long)info.tokens, (long long)data->shards.count,
               data->shards.count == 1 ? "" : "s");
    if (info.documents)
        print_line(c, "split %s: %lld documents, %s of text, %.2f bytes a token, rows by %s", o->split,
                   (long long)info.documents, format_bytes(size, (uint64_t)info.text_bytes),
                   (double)info.text_bytes / (double)info.tokens, ingot_data_rows(data));
    if (t)
        print_line(c, "tokenizer: %d entries, checksum %016llx, EOT %d", ingot_tokenizer_vocab_size(t),
                   (unsigned long long)ingot_tokenizer_checksum(t), ingot_tokenizer_eot(t));
}

static status check_tokenizer(const ingot_data *data, const ingot_tokenizer *t)
{
    uint64_t made_with = ingot_data_tokenizer_checksum(data);
    if (!made_with || made_with == ingot_tokenizer_checksum(t)) return INGOT_OK;
    return ingot_fail(data->ctx, INGOT_ERROR_ARGUMENT, "%s was made with another tokenizer (%016llx, not %016llx)",
                      data->name, (unsigned long long)made_with, (unsigned long long)ingot_tokenizer_checksum(t));
}

static status show(call *c, const show_options *o, ingot_data *data, const ingot_tokenizer *t)
{
    if (t) TRY(check_tokenizer(data, t));
    if (t && data->eot < 0) data->eot = ingot_tokenizer_eot(t);
    if (!c->json) {
        print_info(c, o, data, t);
        return show_samples(c, o, data, t, NULL);
    }
    json_t *samples = json_array();
    status s = show_samples(c, o, data, t, samples);
    if (s) {
        json_decref(samples);
        return s;
    }
    ingot_split_info info = ingot_data_info(data);
    return print_json(c, json_pack("{s:s, s:I, s:I, s:I, s:I, s:i, s:i, s:s, s:o}", "split", o->split, "files",
                                   (json_int_t)data->shards.count, "tokens", (json_int_t)info.tokens, "documents",
                                   (json_int_t)info.documents, "text_bytes", (json_int_t)info.text_bytes, "vocab_size",
                                   data->vocab_size, "eot", data->eot, "rows", data->rows, "samples", samples));
}

static status show_run(call *c, void *given)
{
    const show_options *o = given;
    ingot_data *data;
    TRY(ingot_data_open(c->ctx, o->data, o->split, &(ingot_data_options){.raw_u16 = o->raw_u16}, &data));
    ingot_tokenizer *t = NULL;
    const char *tokenizer = o->tokenizer ? o->tokenizer : directory_exists(o->data) ? o->data : NULL;
    status s = tokenizer ? ingot_tokenizer_load(c->ctx, tokenizer, &t) : INGOT_OK;
    if (!s) s = show(c, o, data, t);
    ingot_tokenizer_free(t);
    ingot_data_free(data);
    return s;
}

static const option show_table[] = {
    {"data", STRING_AT(show_options, data), "DATA", "a folder of `data prepare`, a token file, or a glob of shards",
     .positional = true, .required = true},
    {"split", STRING_AT(show_options, split), "NAME", "of a folder: train or val", .initial = "train"},
    {"samples", INT_AT(show_options, samples), "N", "documents to show, from all over the data", .initial = "3",
     .range = BETWEEN(0, 1 << 20)},
    {"tokens", INT_AT(show_options, tokens), "N", "of each at most", .initial = "100", .range = BETWEEN(1, 1 << 20)},
    {"tokenizer", STRING_AT(show_options, tokenizer), "FILE", "of files that are not in a prepared folder"},
    {"raw-u16", BOOL_AT(show_options, raw_u16), NULL, "files without header, uint16, as nanoGPT writes them"},
};

const verb data_show_verb = {.name = "show",
                             .summary = "what token files hold, with some of it as text",
                             .options = {{NULL, OPTIONS(show_table), 0}},
                             .options_bytes = sizeof(show_options),
                             .run = show_run,
                             .examples = "ingot data show data\n"
                                         "ingot data show --tokenizer gpt2/ 'fineweb_val_*.bin'\n"};
