/* ingot data prepare; show and stories have files of their own. */
#include "cli/data.h"
#include "base/file.h"
#include "ingot/data.h"

#include <stdio.h>

typedef struct prepare_options {
    string_list inputs;
    const char *tokenizer, *output, *field;
    double val_fraction;
    int rows;
    int64_t shard_tokens, min_bytes;
    bool overwrite, clean, drop_broken, nfc, keep_markup;
} prepare_options;

static json_t *split_json(const ingot_split_info *info)
{
    return json_pack("{s:I, s:I, s:I}", "tokens", (json_int_t)info->tokens, "documents", (json_int_t)info->documents,
                     "text_bytes", (json_int_t)info->text_bytes);
}

static json_t *report_json(const prepare_options *o, const ingot_prepare_report *r)
{
    json_t *root =
        json_pack("{s:s, s:o, s:o}", "output", o->output, "train", split_json(&r->train), "val", split_json(&r->val));
    if (root && o->clean)
        json_object_set_new(
            root, "cleaned",
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "broken_sequences", (json_int_t)r->broken_sequences,
                      "control_bytes", (json_int_t)r->control_bytes, "markup_bytes", (json_int_t)r->markup_bytes,
                      "line_ends", (json_int_t)r->line_ends, "nfc_pieces", (json_int_t)r->nfc_documents,
                      "dropped_broken", (json_int_t)r->dropped_broken, "dropped_short", (json_int_t)r->dropped_short,
                      "dropped_duplicate", (json_int_t)r->dropped_duplicate));
    return root;
}

static void print_split(call *c, const char *name, const ingot_split_info *info)
{
    char size[24];
    print_line(c, "  %-6s %12lld tokens %10lld documents %10s of text", name, (long long)info->tokens,
               (long long)info->documents, format_bytes(size, (uint64_t)info->text_bytes));
}

static void print_cause(call *c, int64_t count, const char *what)
{
    int noun = (int)strcspn(what, " "); /* plural */
    if (count) print_line(c, "  %12lld %.*s%s", (long long)count, noun - (count == 1), what, what + noun);
}

static void print_cleaned(call *c, const prepare_options *o, const ingot_prepare_report *r)
{
    print_line(c, "cleaned:");
    print_cause(c, r->broken_sequences, "sequences of broken UTF-8 replaced by U+FFFD");
    print_cause(c, r->control_bytes, "bytes of control characters stripped");
    print_cause(c, r->markup_bytes, "bytes of markup stripped");
    print_cause(c, r->line_ends, "ends of lines made \\n");
    print_cause(c, r->nfc_documents, "documents normalised to NFC");
    print_cause(c, r->dropped_broken, "documents dropped: broken UTF-8");
    text cause = {0};
    text_printf(&cause, "documents dropped: shorter than %lld bytes", (long long)o->min_bytes);
    print_cause(c, r->dropped_short, cause.at ? cause.at : "documents dropped: short");
    text_free(&cause);
    print_cause(c, r->dropped_duplicate, "documents dropped: duplicates");
}

static const char *const row_kinds[] = {"stream", "document", NULL};

static status prepare_run(call *c, void *given)
{
    const prepare_options *o = given;
    const ingot_prepare_options prepare = {
        .inputs = o->inputs.at,
        .input_count = (int)o->inputs.count,
        .field = o->field, /* given, it says that standard input is jsonl */
        .tokenizer = o->tokenizer,
        .output = o->output,
        .val_fraction = o->val_fraction,
        .rows = row_kinds[o->rows],
        .shard_tokens = o->shard_tokens,
        .overwrite = o->overwrite,
        .clean = {.enabled = o->clean,
                  .drop_broken = o->drop_broken,
                  .nfc = o->nfc,
                  .keep_markup = o->keep_markup,
                  .min_bytes = o->min_bytes},
    };
    if (!o->clean && (o->nfc || o->drop_broken || o->keep_markup))
        return fail_usage(c, "--nfc, --drop-broken and --keep-markup say how --clean works; give --clean too");
    ingot_prepare_report report;
    TRY(ingot_data_prepare(c->ctx, &prepare, &report));
    TRY(write_run_yaml(c, arena_printf(c->arena, "%s/run.yaml", o->output)));
    if (c->json) return print_json(c, report_json(o, &report));
    print_line(c, "%s:", o->output);
    print_split(c, "train", &report.train);
    print_split(c, "val", &report.val);
    if (o->clean) print_cleaned(c, o, &report);
    return INGOT_OK;
}

static const option prepare_table[] = {
    {"inputs", LIST_AT(prepare_options, inputs), "TEXT",
     "files, folders or globs of text or .jsonl; - is standard input", .positional = true, .required = true},
    {"tokenizer", STRING_AT(prepare_options, tokenizer), "FILE", "tokenizer.json, or a folder that holds one",
     .required = true},
    {"output", STRING_AT(prepare_options, output), "DIR", "folder to make", .short_name = "o", .required = true},
    {"val-fraction", DOUBLE_AT(prepare_options, val_fraction), "SHARE",
     "share of the documents to hold out; of fewer than 20, of the bytes", .initial = "0.1", .range = BETWEEN(0, 0.99)},
    {"rows", CHOICE_AT(prepare_options, rows), NULL,
     "what training takes when it is not told: windows over all documents, or rows of whole ones", .initial = "stream",
     .choices = row_kinds},
    {"field", STRING_AT(prepare_options, field), "NAME", "of .jsonl objects: where their text is",
     .initial_help = "text"},
    {"shard-tokens", SIZE_AT(prepare_options, shard_tokens), "N", "tokens a file at most", .initial = "1G",
     .range = BETWEEN(1, 2147483647.)},
    {"overwrite", BOOL_AT(prepare_options, overwrite), NULL, "replace data that is there", .transient = true},
};

static const option clean_table[] = {
    {"clean", BOOL_AT(prepare_options, clean), NULL,
     "repair UTF-8 and line ends, strip controls and markup, drop short and duplicate documents"},
    {"min-bytes", SIZE_AT(prepare_options, min_bytes), "N", "drop documents shorter than this", .initial = "16",
     .range = AT_LEAST(1)},
    {"nfc", BOOL_AT(prepare_options, nfc), NULL, "normalise to Unicode NFC too"},
    {"drop-broken", BOOL_AT(prepare_options, drop_broken), NULL,
     "drop documents with broken UTF-8 instead of repairing"},
    {"keep-markup", BOOL_AT(prepare_options, keep_markup), NULL, "leave HTML tags and entities as they are"},
};

static const verb prepare_verb = {
    .name = "prepare",
    .summary = "turn text into files of token ids, split into train and val",
    .description =
        "A document is a .jsonl line, another file, or what stands between lines that hold only <|endoftext|>. Each is "
        "stored as EOT and its tokens, in llm.c's .bin format. Which side a document falls on depends on its bytes "
        "only.",
    .options = {{NULL, OPTIONS(prepare_table), 0}, {"Cleaning", OPTIONS(clean_table), 0}},
    .options_bytes = sizeof(prepare_options),
    .run = prepare_run,
    .examples = "ingot data prepare --tokenizer tok.json --val-fraction 0.1 --output data book.txt\n"
                "ingot data prepare --tokenizer tok.json --clean --rows document --output data 'crawl/*.jsonl'\n"
                "curl -s https://example.org/book.txt | ingot data prepare --tokenizer tok.json --output data -\n"};

const verb verb_data = {.name = "data",
                        .summary = "prepare text for training, look at it, make stories and pictures",
                        .verbs = {&prepare_verb, &data_show_verb, &data_stories_verb, &data_images_verb}};
