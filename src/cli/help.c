/* --help, made from the tables; and the verb `help`. */
#include "cli/verb.h"

#include <stdio.h>

#define WIDTH  96
#define INDENT 30

static const char *value_word(const option *o)
{
    if (o->value) return o->value;
    switch (o->kind) {
    case OPTION_INT: return "N";
    case OPTION_DOUBLE: return "X";
    case OPTION_SIZE: return "SIZE";
    default: return "TEXT";
    }
}

void option_spelling(text *out, const option *o)
{
    if (o->positional) {
        text_printf(out, "%s%s", value_word(o), o->kind == OPTION_LIST ? "..." : "");
        return;
    }
    if (o->short_name) text_printf(out, "-%s, ", o->short_name);
    text_printf(out, "--%s", o->name);
    if (o->kind == OPTION_CHOICE) {
        if (o->value)
            text_printf(out, " %s", o->value);
        else
            for (size_t i = 0; o->choices[i]; i++) text_printf(out, "%s%s", i ? "|" : " ", o->choices[i]);
    } else if (o->kind != OPTION_BOOL) {
        text_printf(out, " %s", value_word(o));
    }
}

void option_facts(text *out, const option *o)
{
    const char *comma = "";
    if (o->kind == OPTION_CHOICE && o->value) {
        for (size_t i = 0; o->choices[i]; i++) text_printf(out, "%s%s", i ? ", " : "one of ", o->choices[i]);
        comma = "; ";
    }
    bool unset_bool = o->kind == OPTION_BOOL && (!o->initial || !strcmp(o->initial, "false"));
    if (o->required) text_printf(out, "%srequired", comma), comma = "; ";
    if (o->kind == OPTION_LIST && !o->positional) text_printf(out, "%smay be repeated", comma), comma = "; ";
    if (o->range.set && isfinite(o->range.high))
        text_printf(out, "%s%.10g to %.10g", comma, o->range.low, o->range.high), comma = "; ";
    else if (o->range.set && (o->range.low != 0 || o->range.open))
        text_printf(out, "%s%s %.10g", comma, o->range.open ? "more than" : "at least", o->range.low), comma = "; ";
    if (o->initial && !unset_bool)
        text_printf(out, "%sdefault %s", comma, *o->initial ? o->initial : "''");
    else if (o->initial_help)
        text_printf(out, "%sdefault: %s", comma, o->initial_help);
    if (o->kind == OPTION_BOOL && !unset_bool) text_printf(out, "; --no-%s turns it off", o->name);
}

/* Words of `body` from column `indent` to WIDTH; the cursor stands at `column`. */
static void print_wrapped(FILE *out, const char *body, size_t column, size_t indent)
{
    if (column > indent) fputc('\n', out), column = 0;
    while (*body) {
        size_t length = strcspn(body, " \n");
        if (column > indent && column + 1 + length > WIDTH) fputc('\n', out), column = 0;
        if (column < indent)
            fprintf(out, "%*s", (int)(indent - column), ""), column = indent;
        else if (column > indent)
            fputc(' ', out), column++;
        fprintf(out, "%.*s", (int)length, body);
        column += length;
        body += length;
        if (*body == '\n') fputc('\n', out), column = 0;
        if (*body) body++;
    }
    fputc('\n', out);
}

static void print_option(FILE *out, const option *o)
{
    text left = {0}, right = {0}, facts = {0};
    text_puts(&left, o->short_name || o->positional ? "  " : "      ");
    option_spelling(&left, o);
    option_facts(&facts, o);
    text_puts(&right, o->help ? o->help : "");
    if (facts.length) text_printf(&right, " (%s)", facts.at);
    if (left.at && right.at) {
        fputs(left.at, out);
        print_wrapped(out, right.at, left.length + (left.length >= INDENT ? INDENT : 0), INDENT);
    }
    text_free(&left);
    text_free(&right);
    text_free(&facts);
}

static void print_table(FILE *out, const option_table *table)
{
    fprintf(out, "\n%s:\n", table->title ? table->title : "Options");
    for (size_t i = 0; i < table->count; i++) print_option(out, &table->at[i]);
}

static void print_usage(FILE *out, const verb *v, const char *command)
{
    fprintf(out, "usage: %s [options]", command);
    for (size_t t = 0; t < COUNT(v->options) && v->options[t].at; t++) {
        for (size_t i = 0; i < v->options[t].count; i++) {
            const option *o = &v->options[t].at[i];
            if (!o->positional && !o->required) continue;
            text spelling = {0};
            option alone = *o;
            alone.short_name = NULL;
            option_spelling(&spelling, &alone);
            fprintf(out, o->required ? " %s" : " [%s]", spelling.at ? spelling.at : o->name);
            text_free(&spelling);
        }
    }
    fputc('\n', out);
}

static void print_verbs(FILE *out, const verb *const *verbs)
{
    for (; *verbs; verbs++) fprintf(out, "  %-14s %s\n", (*verbs)->name, (*verbs)->summary);
}

void help_verb(FILE *out, const verb *v, const char *command)
{
    fprintf(out, "%s: %s\n\n", command, v->summary);
    if (v->run)
        print_usage(out, v, command);
    else
        fprintf(out, "usage: %s VERB [options]\n", command);
    if (v->description) fputc('\n', out), print_wrapped(out, v->description, 0, 0);
    if (!v->run) {
        fputs("\nVerbs:\n", out);
        print_verbs(out, v->verbs);
    }
    for (size_t t = 0; t < COUNT(v->options) && v->options[t].at; t++) print_table(out, &v->options[t]);
    if (v->run) print_table(out, &common_table);
    if (v->examples) {
        fputs("\nExamples:\n", out);
        for (const char *line = v->examples; *line; line += strcspn(line, "\n"), line += *line == '\n')
            fprintf(out, "  %.*s\n", (int)strcspn(line, "\n"), line);
    }
}

void help_program(FILE *out)
{
    fputs("ingot: from raw text to a served model, on the machine you own\n\nusage: ingot VERB [options]\n\nVerbs:\n",
          out);
    print_verbs(out, all_verbs);
    fputs("\n  ingot VERB --help      what a verb takes\n  ingot --version\n\n"
          "Every option can also come from the environment (INGOT_BATCH_SIZE for --batch-size)\n"
          "or from a YAML file (--config run.yaml).\n",
          out);
}

typedef struct help_options {
    string_list words;
} help_options;

static status unknown(call *c, const verb *parent, const char *command, const char *word)
{
    text why = {0};
    if (!parent || parent->verbs[0])
        verb_unknown(&why, parent, command, word);
    else
        text_printf(&why, "'%s' has no verbs of its own", command);
    status s = fail_usage(c, "%s", why.at ? why.at : "no such verb");
    text_free(&why);
    return s;
}

static status run(call *c, void *options)
{
    const help_options *o = options;
    if (!o->words.count) {
        help_program(stdout);
        return INGOT_OK;
    }
    int used;
    text command = {0};
    const verb *v = verb_find((int)o->words.count, (char **)(uintptr_t)o->words.at, &used, &command);
    status s = INGOT_OK;
    if (v && used == o->words.count)
        help_verb(stdout, v, command.at);
    else
        s = unknown(c, v, command.at, o->words.at[used]);
    text_free(&command);
    return s;
}

static const option options[] = {
    {"words", LIST_AT(help_options, words), "VERB", "the verb to explain", .positional = true},
};

const verb verb_help = {.name = "help",
                        .summary = "explain a verb and its options",
                        .run = run,
                        .options_bytes = sizeof(help_options),
                        .options = {{NULL, OPTIONS(options), 0}},
                        .examples = "ingot help train\n"};
