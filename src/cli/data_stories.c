/* ingot data stories: the embedded corpus written out, or any text held against its grammar. */
#include "base/file.h"
#include "cli/data.h"
#include "data/corpus.h"
#include "ingot/data.h"

#include <stdio.h>

typedef struct stories_options {
    int64_t seed, count, bytes;
    const char *output, *check;
} stories_options;

/* ---- write ---- */

typedef struct sink {
    call *c;
    file_writer *file; /* NULL: standard output, or with --json `text` */
    text *text;
} sink;

static status put(const sink *out, const char *bytes, uint64_t count)
{
    if (out->file) return file_write(out->file, bytes, count);
    if (out->text) {
        text_add(out->text, bytes, (size_t)count);
        return out->text->failed ? fail_memory(out->c->ctx, "stories", count) : INGOT_OK;
    }
    return fwrite(bytes, 1, count, stdout) == count ? INGOT_OK : fail_errno(out->c->ctx, "write", "standard output");
}

static status write_stories(call *c, const stories_options *o, const sink *out, ingot_story_check *made)
{
    static const char separator[] = "\n" CORPUS_EOT_LINE "\n";
    int64_t count = o->count ? o->count : o->bytes ? INT64_MAX : 10, written = 0;
    for (int64_t i = 0; i < count && (!o->bytes || written < o->bytes); i++) {
        if (ingot_interrupted(c->ctx)) return ingot_fail(c->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
        char story[INGOT_STORY_BYTES];
        double bits;
        int64_t length = ingot_story((uint64_t)o->seed, (uint64_t)i, story, &bits);
        TRY(put(out, story, (uint64_t)length));
        TRY(put(out, separator, sizeof separator - 1));
        written += length + (int64_t)sizeof separator - 1;
        made->documents++, made->accepted++;
        made->bytes += length;
        made->bits += bits;
        if (i % 65536 == 65535) progress(c->ctx, "stories", (double)written, (double)o->bytes, "bytes");
    }
    return INGOT_OK;
}

static status make(call *c, const stories_options *o)
{
    text whole = {0};
    sink out = {.c = c, .text = c->json ? &whole : NULL};
    ingot_story_check made = {0};
    if (o->output) TRY(file_create(c->ctx, o->output, &out.file));
    status s = write_stories(c, o, &out, &made);
    if (!o->output) {
        if (!s && c->json)
            s = print_json(c, json_pack("{s:I, s:f, s:o}", "stories", (json_int_t)made.documents, "bits_per_byte",
                                        made.bits / (double)made.bytes, "text", json_text(whole.at, whole.length)));
        text_free(&whole);
        return s;
    }
    if (s) {
        file_abandon(out.file);
        return s;
    }
    TRY(file_commit(out.file));
    if (c->json)
        return print_json(c, json_pack("{s:s, s:I, s:I, s:f, s:f}", "output", o->output, "stories",
                                       (json_int_t)made.documents, "text_bytes", (json_int_t)made.bytes,
                                       "bits_per_story", made.bits / (double)made.documents, "bits_per_byte",
                                       made.bits / (double)made.bytes));
    char size[24];
    print_line(c, "%s: %lld stories, %s; %.2f bits a story, %.4f bits per byte", o->output, (long long)made.documents,
               format_bytes(size, (uint64_t)made.bytes), made.bits / (double)made.documents,
               made.bits / (double)made.bytes);
    return INGOT_OK;
}

/* ---- check ---- */

static status check_corpus(call *c, const char *input, ingot_story_check *out)
{
    ingot_corpus *corpus;
    TRY(ingot_corpus_open(c->ctx, &(ingot_corpus_options){.inputs = &input, .input_count = 1, .allow_nul = 1},
                          &corpus));
    ingot_corpus_piece piece;
    status s;
    while (!(s = ingot_corpus_next(corpus, &piece)) && piece.bytes) {
        double bits;
        out->documents += piece.begins;
        if (!piece.begins || !piece.ends || !ingot_story_accepts(piece.bytes, piece.count, &bits)) continue;
        out->accepted++;
        out->bytes += piece.count;
        out->bits += bits;
    }
    ingot_corpus_free(corpus);
    return s;
}

static status check_data(call *c, const char *folder, ingot_story_check *out)
{
    ingot_tokenizer *t;
    TRY(ingot_tokenizer_load(c->ctx, folder, &t));
    ingot_data *data;
    status s = ingot_data_open(c->ctx, folder, "val", NULL, &data);
    if (!s) s = ingot_data_check_stories(data, t, out);
    if (!s) ingot_data_free(data);
    ingot_tokenizer_free(t);
    return s;
}

static status check(call *c, const char *input)
{
    ingot_story_check found = {0};
    bool prepared = file_exists(arena_printf(c->arena, "%s/meta.json", input));
    TRY(prepared ? check_data(c, input, &found) : check_corpus(c, input, &found));
    if (!found.documents) return ingot_fail(c->ctx, INGOT_ERROR_ARGUMENT, "there is no text in %s", input);
    double share = (double)found.accepted / (double)found.documents;
    double per_story = found.accepted ? found.bits / (double)found.accepted : 0;
    double per_byte = found.bytes ? found.bits / (double)found.bytes : 0;
    if (c->json)
        return print_json(c, json_pack("{s:I, s:I, s:f, s:f, s:f}", "stories", (json_int_t)found.documents, "accepted",
                                       (json_int_t)found.accepted, "share", share, "bits_per_story", per_story,
                                       "bits_per_byte", per_byte));
    print_line(c, "%.1f %% of %lld stories are accepted (%lld); those have %.2f bits each, %.4f bits per byte",
               100 * share, (long long)found.documents, (long long)found.accepted, per_story, per_byte);
    return INGOT_OK;
}

static status stories_run(call *c, void *given)
{
    const stories_options *o = given;
    if (o->check && (o->output || o->count || o->bytes))
        return fail_usage(c, "--check reads stories, --output, --count and --bytes write them; give one or the other");
    return o->check ? check(c, o->check) : make(c, o);
}

static const option stories_table[] = {
    {"seed", INT_AT(stories_options, seed), "N", "of the stories", .initial = "1", .range = AT_LEAST(0)},
    {"count", SIZE_AT(stories_options, count), "N", "stories to write", .initial_help = "10", .range = AT_LEAST(1)},
    {"bytes", SIZE_AT(stories_options, bytes), "N", "or: stories until the file has this size", .range = AT_LEAST(1)},
    {"output", STRING_AT(stories_options, output), "FILE", "file to write", .short_name = "o",
     .initial_help = "standard output"},
    {"check", STRING_AT(stories_options, check), "TEXT",
     "instead: the share of its documents that the grammar accepts; of a prepared folder, the val split",
     .transient = true},
};

const verb data_stories_verb = {
    .name = "stories",
    .summary = "write stories of the embedded grammar, or check text against it",
    .description =
        "The grammar is unambiguous, so the probability of each story, and with it the lowest loss that any model "
        "can reach, is known exactly. Stories are separated by lines <|endoftext|>.",
    .options = {{NULL, OPTIONS(stories_table), 0}},
    .options_bytes = sizeof(stories_options),
    .run = stories_run,
    .examples = "ingot data stories --seed 1 --bytes 10M --output stories.txt\n"
                "ingot data stories --check samples.txt\n"};
