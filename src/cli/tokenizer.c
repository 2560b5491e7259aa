/* ingot tokenizer train | info; encode and decode are in tokenizer_lines.c. */
#include "base/file.h"
#include "cli/lines.h"
#include "cli/tokenizer.h"
#include "text/split.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- train ---- */

typedef struct train_options {
    int64_t vocab_size, min_frequency;
    const char *output, *field;
    int pattern;
    bool separators;
    string_list specials, inputs;
} train_options;

/* Text as `tokenizers` reads it: every line of a file; of .jsonl files the lines of each document's text. */
typedef struct training_text {
    context *ctx;
    const train_options *options;
    line_reader lines;
    ingot_corpus *corpus; /* of the .jsonl source that is being read */
    double documents_bytes;
} training_text;

static bool is_jsonl(const training_text *t)
{
    return t->lines.current >= 0 && t->lines.current < t->lines.sources.count &&
           t->lines.sources.at[t->lines.current].jsonl;
}

/* Takes lines that hold only <|endoftext|> out of the block; returns what is left of it. */
static int64_t drop_separators(char *bytes, int64_t count)
{
    const size_t mark = sizeof CORPUS_EOT_LINE - 1;
    char *out = bytes;
    for (char *at = bytes, *end = bytes + count, *next; at < end; at = next) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        next = newline ? newline + 1 : end;
        size_t length = (size_t)((newline ? newline : end) - at);
        if (length && at[length - 1] == '\r') length--;
        if (length == mark && !memcmp(at, CORPUS_EOT_LINE, mark)) continue;
        memmove(out, at, (size_t)(next - at));
        out += next - at;
    }
    return out - bytes;
}

static status next_of_corpus(training_text *t, const char **bytes, int64_t *count)
{
    ingot_corpus_piece piece;
    TRY(ingot_corpus_next(t->corpus, &piece));
    *bytes = piece.bytes;
    *count = piece.bytes ? piece.count : -1;
    if (piece.bytes) return INGOT_OK;
    ingot_corpus_free(t->corpus);
    t->corpus = NULL;
    return INGOT_OK;
}

static status next_text(void *user, const char **bytes, int64_t *count)
{
    training_text *t = user;
    for (;;) {
        if (t->corpus) {
            TRY(next_of_corpus(t, bytes, count));
            if (*count >= 0) return INGOT_OK;
        }
        TRY(lines_next(&t->lines, bytes, count));
        if (*count < 0) return INGOT_OK;
        if (is_jsonl(t)) {
            ingot_corpus_options one = {
                .inputs = &t->lines.sources.at[t->lines.current].path, .input_count = 1, .field = t->options->field};
            t->lines.at_end = true; /* the corpus reads the file itself */
            t->lines.given = t->lines.block.length;
            TRY(ingot_corpus_open(t->ctx, &one, &t->corpus));
            continue;
        }
        if (memchr(*bytes, 0, (size_t)*count)) {
            if (!t->lines.sources.at[t->lines.current].found)
                return ingot_fail(t->ctx, INGOT_ERROR_FORMAT, "%s holds zero bytes, so it is not text; leave it out",
                                  lines_path(&t->lines));
            log_line(t->ctx, INGOT_LOG_INFO, "%s is not text and was passed over", lines_path(&t->lines));
            t->lines.at_end = true;
            t->lines.given = t->lines.block.length;
            continue;
        }
        if (!t->options->separators) *count = drop_separators(t->lines.block.at, *count);
        return INGOT_OK;
    }
}

static status report_training(call *c, const train_options *o, const ingot_tokenizer *t, double bytes)
{
    char size[24];
    if (c->json)
        return print_json(c, json_pack("{s:s, s:i, s:i, s:s, s:s#}", "output", o->output, "vocab_size",
                                       ingot_tokenizer_vocab_size(t), "merges", ingot_tokenizer_merge_count(t),
                                       "pattern", ingot_tokenizer_pattern(t), "checksum", checksum_text(t).digits, 16));
    print_line(c, "%s: %d entries from %s of text", o->output, ingot_tokenizer_vocab_size(t),
               format_bytes(size, (uint64_t)bytes));
    return INGOT_OK;
}

/* A slip of the hand must not cost a text: only a tokenizer is replaced. */
static status check_output(call *c, const train_options *o)
{
    for (int64_t i = 0; i < o->inputs.count; i++)
        if (file_same(o->inputs.at[i], o->output))
            return fail_usage(c, "--output %s is one of the texts; the tokenizer would replace it", o->output);
    ingot_tokenizer *old = NULL;
    bool replaces = file_exists(o->output) && ingot_tokenizer_load(c->ctx, o->output, &old);
    ingot_tokenizer_free(old);
    return replaces
               ? fail_usage(c, "--output %s is there and is no tokenizer; give another name, or remove it", o->output)
               : INGOT_OK;
}

static status train_run(call *c, void *given)
{
    train_options *o = given;
    TRY(check_output(c, o));
    training_text input = {.ctx = c->ctx, .options = o};
    ingot_tokenizer_training training = {.vocab_size = (int)o->vocab_size,
                                         .min_frequency = (int)o->min_frequency,
                                         .pattern = split_known_names()[o->pattern]};
    if (o->specials.count) {
        training.specials = o->specials.at;
        training.special_count = (int)o->specials.count;
    }
    ingot_tokenizer *t = NULL;
    status s = lines_open(c->ctx, c->arena, o->inputs.at, o->inputs.count, &input.lines);
    if (!s) s = ingot_tokenizer_train(c->ctx, &training, next_text, &input, &t);
    if (!s && input.lines.done == 0) {
        s = ingot_fail(c->ctx, INGOT_ERROR_ARGUMENT, "there is no text in %s; a tokenizer is trained on some",
                       o->inputs.count ? o->inputs.at[0] : "standard input");
    }
    if (!s) s = ingot_tokenizer_save(t, o->output);
    if (!s) s = write_run_yaml(c, arena_printf(c->arena, "%s.yaml", o->output));
    if (!s) s = report_training(c, o, t, input.lines.done);
    ingot_tokenizer_free(t);
    ingot_corpus_free(input.corpus);
    lines_close(&input.lines);
    return s;
}

static const char *const patterns[] = {"gpt-2", "llama-bpe", "qwen2", "smollm", NULL}; /* as split_known_names */

static const option train_table[] = {
    {"inputs", LIST_AT(train_options, inputs), "TEXT", "files, folders or globs; - or none is standard input",
     .positional = true},
    {"vocab-size", INT_AT(train_options, vocab_size), "N", "entries, with the 256 bytes and the special tokens",
     .range = BETWEEN(257, TOKENIZER_MOST_IDS), .required = true},
    {"output", STRING_AT(train_options, output), "FILE", "tokenizer.json to write", .short_name = "o",
     .required = true},
    {"pattern", CHOICE_AT(train_options, pattern), NULL, "how text is cut into words", .initial = "gpt-2",
     .choices = patterns},
    {"special", LIST_AT(train_options, specials), "TOKEN", "a special token; ids in their order",
     .initial_help = "<|endoftext|>"},
    {"min-frequency", INT_AT(train_options, min_frequency), "N", "pairs seen less often are not merged", .initial = "0",
     .range = BETWEEN(0, INT32_MAX)},
    {"field", STRING_AT(train_options, field), "NAME", "of .jsonl objects: where their text is", .initial = "text"},
    {"separators", BOOL_AT(train_options, separators), NULL,
     "lines that hold only <|endoftext|> count as text, as in `tokenizers`", .initial = "true"},
};

static const verb train_verb = {
    .name = "train",
    .summary = "learn a byte-level BPE from text",
    .description = "Merges and ids equal those of Hugging Face tokenizers' BpeTrainer with ByteLevel and its alphabet. "
                   "The options are written beside the output, as FILE.yaml.",
    .options = {{NULL, OPTIONS(train_table), 0}},
    .options_bytes = sizeof(train_options),
    .run = train_run,
    .examples = "ingot tokenizer train --vocab-size 1776 --output tok.json book.txt\n"
                "ingot tokenizer train --vocab-size 32768 --pattern llama-bpe --output tok.json corpus/\n"};

/* ---- info ---- */

typedef struct info_options {
    const char *tokenizer;
    int64_t sample;
} info_options;

struct checksum_digits checksum_text(const ingot_tokenizer *t)
{
    struct checksum_digits out;
    snprintf(out.digits, sizeof out.digits, "%016" PRIx64, ingot_tokenizer_checksum(t));
    return out;
}

/* Ids spread evenly over the vocabulary behind the bytes, where the words are. */
static int sample_id(const ingot_tokenizer *t, int64_t index, int64_t count)
{
    int size = ingot_tokenizer_vocab_size(t), first = size > 512 ? 256 : 0;
    return first + (int)((size - first) * index / count);
}

static status info_json(call *c, const ingot_tokenizer *t, int64_t count)
{
    json_t *specials = json_array(), *sample = json_array();
    int size = ingot_tokenizer_vocab_size(t);
    for (int id = 0; id < size; id++)
        if (ingot_token_is_special(t, id))
            json_array_append_new(specials, json_pack("{s:i, s:s}", "id", id, "token", ingot_token_spelling(t, id)));
    for (int64_t i = 0; i < MIN(count, size); i++) {
        int id = sample_id(t, i, MIN(count, size));
        json_array_append_new(sample, json_pack("{s:i, s:s}", "id", id, "token", ingot_token_spelling(t, id)));
    }
    return print_json(c, json_pack("{s:i, s:i, s:s, s:i, s:s, s:o, s:o}", "vocab_size", size, "merges",
                                   ingot_tokenizer_merge_count(t), "pattern", ingot_tokenizer_pattern(t), "eot",
                                   ingot_tokenizer_eot(t), "checksum", checksum_text(t).digits, "specials", specials,
                                   "sample", sample));
}

static void info_print(const ingot_tokenizer *t, int64_t count)
{
    int size = ingot_tokenizer_vocab_size(t), specials = 0;
    printf("entries   %d (%d merges)\npattern   %s\nchecksum  %s\nspecials  ", size, ingot_tokenizer_merge_count(t),
           ingot_tokenizer_pattern(t), checksum_text(t).digits);
    for (int id = 0; id < size; id++) {
        if (!ingot_token_is_special(t, id)) continue;
        if (specials++ < 12)
            printf("%s%d %s%s", specials > 1 ? ", " : "", id, ingot_token_spelling(t, id),
                   id == ingot_tokenizer_eot(t) ? " (ends a text)" : "");
    }
    if (specials > 12) printf(", and %d more", specials - 12);
    printf("%s\nsample    ", specials ? "" : "none");
    for (int64_t i = 0; i < MIN(count, size); i++) {
        int id = sample_id(t, i, MIN(count, size));
        printf("%s%d %s", i ? ", " : "", id, ingot_token_spelling(t, id));
    }
    putchar('\n');
}

static status info_run(call *c, void *given)
{
    const info_options *o = given;
    ingot_tokenizer *t;
    TRY(ingot_tokenizer_load(c->ctx, o->tokenizer, &t));
    status s = INGOT_OK;
    if (c->json)
        s = info_json(c, t, o->sample);
    else
        info_print(t, o->sample);
    ingot_tokenizer_free(t);
    return s;
}

static const option info_table[] = {
    {"tokenizer", STRING_AT(info_options, tokenizer), "FILE", "tokenizer.json, or a folder that holds one",
     .positional = true, .required = true},
    {"sample", INT_AT(info_options, sample), "N", "entries to show", .initial = "16", .range = BETWEEN(0, 1 << 24)},
};

static const verb info_verb = {.name = "info",
                               .summary = "what a tokenizer holds",
                               .options = {{NULL, OPTIONS(info_table), 0}},
                               .options_bytes = sizeof(info_options),
                               .run = info_run,
                               .examples = "ingot tokenizer info tok.json\n"};

const verb verb_tokenizer = {.name = "tokenizer",
                             .summary = "train a tokenizer, and turn text into token ids and back",
                             .verbs = {&train_verb, &tokenizer_encode_verb, &tokenizer_decode_verb, &info_verb}};
