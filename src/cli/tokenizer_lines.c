/* ingot tokenizer encode | decode: lines of text to lines of ids, and back. */
#include "cli/lines.h"
#include "cli/tokenizer.h"
#include "text/utf8.h"

#include <stdio.h>

typedef struct lines_options {
    const char *tokenizer;
    bool specials;
    string_list inputs;
} lines_options;

/* One run over all lines of the input. */
typedef struct line_work {
    call *call;
    const lines_options *options;
    ingot_tokenizer *t;
    ingot_encoder *encoder;
    line_reader reader;
    text out;           /* what a block of lines gives */
    ARRAY(int32_t) ids; /* of a line that is decoded */
    json_t *lines;      /* with --json */
    int64_t tokens;
} line_work;

typedef status line_function(line_work *w, const char *line, int64_t length, int64_t number);

static char *decimal(char *at, uint32_t value)
{
    char digits[10];
    int count = 0;
    do digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count) *at++ = digits[--count];
    return at;
}

static status encode_line(line_work *w, const char *line, int64_t length, int64_t number)
{
    (void)number;
    const int32_t *ids;
    int64_t count;
    TRY(ingot_encoder_run(w->encoder, line, length, w->options->specials ? INGOT_ENCODE_SPECIALS : INGOT_ENCODE_PLAIN,
                          &ids, &count));
    w->tokens += count;
    if (w->lines) {
        json_t *list = json_array();
        for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_integer(ids[i]));
        return json_array_append_new(w->lines, list) ? fail_memory(w->call->ctx, "ids", (uint64_t)count) : INGOT_OK;
    }
    for (int64_t i = 0; i < count; i++) {
        char digits[12], *end = digits;
        if (i) *end++ = ' ';
        text_add(&w->out, digits, (size_t)(decimal(end, (uint32_t)ids[i]) - digits));
    }
    return INGOT_OK;
}

/* Ids apart by spaces, tabs or commas. */
static status read_ids(line_work *w, const char *line, int64_t length, int64_t number)
{
    w->ids.count = 0;
    for (int64_t i = 0; i < length;) {
        if (strchr(" ,\t\r", line[i]) && line[i]) {
            i++;
            continue;
        }
        int64_t value = 0, from = i;
        for (; i < length && line[i] >= '0' && line[i] <= '9' && value <= INT32_MAX; i++)
            value = value * 10 + (line[i] - '0');
        if (i == from || value > INT32_MAX)
            return ingot_fail(w->call->ctx, INGOT_ERROR_FORMAT,
                              "%s, line %lld, byte %lld: an id is a number, as `ingot tokenizer encode` writes them",
                              lines_path(&w->reader), (long long)number, (long long)from + 1);
        if (!ARRAY_PUSH(&w->ids, (int32_t)value)) return fail_memory(w->call->ctx, "ids", (uint64_t)length);
    }
    return INGOT_OK;
}

static status decode_line(line_work *w, const char *line, int64_t length, int64_t number)
{
    TRY(read_ids(w, line, length, number));
    char *decoded;
    int64_t bytes;
    TRY(ingot_decode(w->t, w->ids.at, w->ids.count, &decoded, &bytes));
    w->tokens += w->ids.count;
    bool failed = false;
    if (w->lines)
        failed = json_array_append_new(w->lines, json_text(decoded, (size_t)bytes));
    else
        text_add(&w->out, decoded, (size_t)bytes);
    free(decoded);
    return failed ? fail_memory(w->call->ctx, "decoded text", (uint64_t)bytes) : INGOT_OK;
}

static status each_line(line_work *w, line_function *function)
{
    for (;;) {
        const char *at;
        int64_t count;
        TRY(lines_next(&w->reader, &at, &count));
        if (count < 0) return INGOT_OK;
        int64_t number = w->reader.line;
        for (const char *end = at + count, *next; at < end; at = next, number++) {
            const char *newline = memchr(at, '\n', (size_t)(end - at));
            next = newline ? newline + 1 : end;
            TRY(function(w, at, (newline ? newline : end) - at, number));
            /* A last line without its end is given back without it, so that decode returns the very bytes. */
            if (newline && !w->lines) text_puts(&w->out, "\n");
            if (w->out.failed) return fail_memory(w->call->ctx, "a line", (uint64_t)count);
            if (w->out.length < 1 << 16 && next < end) continue;
            if (fwrite(w->out.at ? w->out.at : "", 1, w->out.length, stdout) < w->out.length) return INGOT_OK;
            w->out.length = 0;
        }
        progress(w->call->ctx, "reading", w->reader.done, 0, "bytes");
    }
}

static status run_lines(call *c, const lines_options *o, line_function *function, const char *json_key)
{
    line_work w = {.call = c, .options = o, .lines = c->json ? json_array() : NULL};
    status s = ingot_tokenizer_load(c->ctx, o->tokenizer, &w.t);
    if (!s) s = ingot_encoder_new(w.t, &w.encoder);
    if (!s) s = lines_open(c->ctx, c->arena, o->inputs.at, o->inputs.count, &w.reader);
    if (!s) s = each_line(&w, function);
    if (!s && w.lines) s = print_json(c, json_pack("{s:O, s:I}", json_key, w.lines, "tokens", (json_int_t)w.tokens));
    json_decref(w.lines);
    lines_close(&w.reader);
    text_free(&w.out);
    ARRAY_FREE(&w.ids);
    ingot_encoder_free(w.encoder);
    ingot_tokenizer_free(w.t);
    return s;
}

static status encode_run(call *c, void *given)
{
    return run_lines(c, given, encode_line, "ids");
}

static status decode_run(call *c, void *given)
{
    return run_lines(c, given, decode_line, "lines");
}

#define TOKENIZER_OPTION                                                                                               \
    {                                                                                                                  \
        "tokenizer", STRING_AT(lines_options, tokenizer), "FILE", "tokenizer.json, or a folder that holds one",        \
            .required = true                                                                                           \
    }

static const option encode_table[] = {
    {"inputs", LIST_AT(lines_options, inputs), "TEXT", "files, folders or globs; - or none is standard input",
     .positional = true},
    TOKENIZER_OPTION,
    {"specials", BOOL_AT(lines_options, specials), NULL, "special tokens in the text become their ids",
     .initial = "true"},
};

static const option decode_table[] = {
    {"inputs", LIST_AT(lines_options, inputs), "IDS", "files of ids, a line each; - or none is standard input",
     .positional = true},
    TOKENIZER_OPTION,
};

const verb tokenizer_encode_verb = {.name = "encode",
                                    .summary = "a line of ids for each line of text",
                                    .description = "Each line is encoded without its line end. decode reverses it.",
                                    .options = {{NULL, OPTIONS(encode_table), 0}},
                                    .options_bytes = sizeof(lines_options),
                                    .run = encode_run,
                                    .examples =
                                        "ingot tokenizer encode --tokenizer tok.json book.txt > ids.txt\n"
                                        "echo In the beginning | ingot tokenizer encode --tokenizer tok.json\n"};

const verb tokenizer_decode_verb = {
    .name = "decode",
    .summary = "a line of text for each line of ids",
    .description = "Ids stand apart by spaces, tabs or commas.",
    .options = {{NULL, OPTIONS(decode_table), 0}},
    .options_bytes = sizeof(lines_options),
    .run = decode_run,
    .examples = "ingot tokenizer encode --tokenizer tok.json book.txt | ingot tokenizer decode --tokenizer tok.json\n"};
