/* Writing tokenizer.json, so that Hugging Face `tokenizers` (0.13 and later) reads it and gives the same ids. */
#include "base/file.h"
#include "text/tokenizer.h"

#define INDENT "\n    "

static void write_string(text *out, const char *string, size_t length)
{
    text_puts(out, "\"");
    for (size_t i = 0; i < length; i++) {
        uint8_t c = (uint8_t)string[i];
        if (c == '"' || c == '\\')
            text_printf(out, "\\%c", c);
        else if (c < 0x20)
            text_printf(out, "\\u%04x", (unsigned)c);
        else
            text_add(out, string + i, 1);
    }
    text_puts(out, "\"");
}

static const char *boolean(bool b)
{
    return b ? "true" : "false";
}

static void write_added(text *out, const tokenizer *t)
{
    text_puts(out, "  \"added_tokens\": [");
    for (int i = 0; i < t->added_count; i++) {
        const added_token *token = &t->added[i];
        text_printf(out, "%s" INDENT "{\"id\": %d, \"content\": ", i ? "," : "", token->id);
        write_string(out, token->content, token->length);
        text_printf(out, ", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, \"normalized\": %s, \"special\": %s}",
                    boolean(token->single_word), boolean(token->lstrip), boolean(token->rstrip),
                    boolean(token->normalized), boolean(token->special));
    }
    text_puts(out, "\n  ],\n");
}

static void write_step(text *out, const split_step *step)
{
    if (step->kind == STEP_DIGITS_ALONE || step->kind == STEP_DIGITS_TOGETHER) {
        text_printf(out, "{\"type\": \"Digits\", \"individual_digits\": %s}", boolean(step->kind == STEP_DIGITS_ALONE));
        return;
    }
    text_printf(out, "{\"type\": \"Split\", \"pattern\": {\"%s\": ", step->kind == STEP_REGEX ? "Regex" : "String");
    write_string(out, step->pattern, step->length);
    text_puts(out, "}, \"behavior\": \"Isolated\", \"invert\": false}");
}

static void write_byte_level(text *out, bool use_regex)
{
    text_printf(out,
                "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": %s}",
                boolean(use_regex));
}

static void write_pre_tokenizer(text *out, const tokenizer *t)
{
    split_step gpt2[SPLIT_STEPS];
    split_known_steps("gpt-2", gpt2);
    const split_step *last = t->step_count ? &t->steps[t->step_count - 1] : NULL;
    bool use_regex = last && last->kind == STEP_REGEX && last->length == gpt2[0].length &&
                     !memcmp(last->pattern, gpt2[0].pattern, last->length);
    int before = t->step_count - use_regex;
    if (before) text_puts(out, "{\"type\": \"Sequence\", \"pretokenizers\": [");
    for (int i = 0; i < before; i++) {
        write_step(out, &t->steps[i]);
        text_puts(out, ", ");
    }
    write_byte_level(out, use_regex);
    if (before) text_puts(out, "]}");
}

static void write_normalizer(text *out, const tokenizer *t)
{
    static const char *const forms[] = {"null", "{\"type\": \"NFC\"}", "{\"type\": \"NFD\"}", "{\"type\": \"NFKC\"}",
                                        "{\"type\": \"NFKD\"}"};
    text_puts(out, forms[t->normal]);
}

static void write_vocab(text *out, const tokenizer *t)
{
    text_puts(out, "    \"vocab\": {");
    const char *separator = "";
    for (int id = 0; id < t->size; id++) {
        if (!t->tokens[id].listed) continue;
        text_printf(out, "%s" INDENT "  ", separator);
        write_string(out, t->tokens[id].spelling, t->tokens[id].spelling_length);
        text_printf(out, ": %d", id);
        separator = ",";
    }
    text_puts(out, "\n    },\n");
}

/* "left right", which every version reads; pairs only where a spelling itself has a space. */
static void write_merges(text *out, const tokenizer *t)
{
    bool pairs = false;
    for (int64_t i = 0; i < 2 * t->merges.count && !pairs; i++)
        pairs = strchr(t->tokens[t->merges.pairs[i / 2][i % 2]].spelling, ' ') != NULL;
    text_puts(out, "    \"merges\": [");
    text joined = {0};
    for (int64_t i = 0; i < t->merges.count; i++) {
        const token_entry *left = &t->tokens[t->merges.pairs[i][0]], *right = &t->tokens[t->merges.pairs[i][1]];
        text_printf(out, "%s" INDENT "  ", i ? "," : "");
        if (pairs) {
            text_puts(out, "[");
            write_string(out, left->spelling, left->spelling_length);
            text_puts(out, ", ");
            write_string(out, right->spelling, right->spelling_length);
            text_puts(out, "]");
        } else {
            joined.length = 0;
            text_printf(&joined, "%s %s", left->spelling, right->spelling);
            out->failed = out->failed || joined.failed;
            if (!joined.failed) write_string(out, joined.at, joined.length);
        }
    }
    text_free(&joined);
    text_puts(out, "\n    ]\n");
}

static void write_model(text *out, const tokenizer *t)
{
    text_puts(out, "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": ");
    if (t->unknown)
        write_string(out, t->unknown, strlen(t->unknown));
    else
        text_puts(out, "null");
    text_printf(
        out,
        ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
        "    \"byte_fallback\": false,\n    \"ignore_merges\": %s,\n",
        boolean(t->ignore_merges));
    write_vocab(out, t);
    write_merges(out, t);
    text_puts(out, "  }\n");
}

ingot_status ingot_tokenizer_save(const ingot_tokenizer *t, const char *path)
{
    text out = {0};
    text_puts(&out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    write_added(&out, t);
    text_puts(&out, "  \"normalizer\": ");
    if (t->json_normalizer)
        text_puts(&out, t->json_normalizer);
    else
        write_normalizer(&out, t);
    text_puts(&out, ",\n  \"pre_tokenizer\": ");
    if (t->json_pre_tokenizer)
        text_puts(&out, t->json_pre_tokenizer);
    else
        write_pre_tokenizer(&out, t);
    text_puts(&out, ",\n  \"post_processor\": ");
    text_puts(&out, t->json_post_processor ? t->json_post_processor : "null");
    text_puts(&out, ",\n  \"decoder\": ");
    if (t->json_decoder)
        text_puts(&out, t->json_decoder);
    else
        write_byte_level(&out, true);
    text_puts(&out, ",\n");
    write_model(&out, t);
    text_puts(&out, "}\n");
    status s = out.failed ? fail_memory(t->ctx, path, out.length) : file_write_whole(t->ctx, path, out.at, out.length);
    text_free(&out);
    return s;
}
