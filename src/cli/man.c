/* The reference, printed from the verbs' tables, as roff: ingot man | man -l - */
#include "cli/man.h"
#include "cli/walk.h"

#include <stdio.h>

/* roff takes - for a hyphen, \ for its escape and a line's first . or ' for a command. */
static void put_roff(const char *plain)
{
    bool first = true;
    for (; *plain; plain++) {
        if (first && (*plain == '.' || *plain == '\'')) fputs("\\&", stdout);
        if (*plain == '\\')
            fputs("\\e", stdout);
        else if (*plain == '-')
            fputs("\\-", stdout);
        else
            putchar(*plain);
        first = *plain == '\n';
    }
}

/* The tables hold `title` for each option; a heading is printed where it changes. */
static const char *heading_of(const char *title)
{
    return title ? title : "Options";
}

static void print_one(const option *o)
{
    text spelling = {0}, facts = {0};
    option_spelling(&spelling, o);
    option_facts(&facts, o);
    puts(".TP");
    fputs("\\fB", stdout);
    put_roff(spelling.at ? spelling.at : o->name);
    fputs("\\fR\n", stdout);
    put_roff(o->help);
    if (facts.length) {
        fputs(" (", stdout);
        put_roff(facts.at);
        putchar(')');
    }
    putchar('\n');
    text_free(&spelling);
    text_free(&facts);
}

static void print_tables(const verb *v)
{
    for (size_t t = 0; t < COUNT(v->options) && v->options[t].at; t++) {
        puts(".PP");
        fputs("\\fI", stdout);
        put_roff(heading_of(v->options[t].title));
        puts("\\fR");
        for (size_t i = 0; i < v->options[t].count; i++) print_one(&v->options[t].at[i]);
    }
}

static void print_verb(const verb *v, const char *words, void *user)
{
    (void)user;
    fputs(".SS ingot ", stdout);
    put_roff(words);
    putchar('\n');
    put_roff(v->summary);
    puts(".");
    if (v->description) {
        puts(".PP");
        put_roff(v->description);
        putchar('\n');
    }
    print_tables(v);
    if (v->examples) {
        puts(".PP\n\\fIExamples\\fR\n.PP\n.RS 4\n.nf");
        put_roff(v->examples);
        puts(".fi\n.RE");
    }
}

static void man_roff(void)
{
    puts(".TH INGOT 1 \"\" \"ingot\" \"User Commands\"\n"
         ".SH NAME\n"
         "ingot \\- from raw text to a served model, on the machine you own\n"
         ".SH SYNOPSIS\n"
         ".B ingot\n"
         "\\fIVERB\\fR [options]\n"
         ".SH DESCRIPTION\n"
         "Trains tokenizers and transformers, evaluates them and generates from them. Each verb is described below and "
         "by\n"
         "\\fBingot\\fR \\fIVERB\\fR \\fB\\-\\-help\\fR.\n"
         ".PP\n"
         "Every option can also come from the environment (\\fBINGOT_BATCH_SIZE\\fR for \\fB\\-\\-batch\\-size\\fR) or "
         "from a\n"
         "YAML file given by \\fB\\-\\-config\\fR. The command line wins over the environment, the environment over "
         "the file.\n"
         ".SH COMMON OPTIONS");
    for (size_t i = 0; i < common_table.count; i++) print_one(&common_table.at[i]);
    puts(".SH VERBS");
    walk_verbs(print_verb, NULL);
    puts(".SH EXIT STATUS\n"
         "0 when it went well, 1 when it failed, 2 when it was called wrongly, 130 when it was interrupted.");
}

typedef struct man_options {
    int format;
} man_options;

static const char *const formats[] = {"roff", "markdown", NULL};
static void (*const printers[])(void) = {man_roff, man_markdown};

static const option lines[] = {
    {"format", CHOICE_AT(man_options, format), NULL, "roff for man, markdown as in docs/cli.md", .initial = "roff",
     .choices = formats},
};

static status run(call *c, void *options)
{
    (void)c;
    printers[((const man_options *)options)->format]();
    return INGOT_OK;
}

const verb verb_man = {.name = "man",
                       .summary = "print the man page",
                       .run = run,
                       .options_bytes = sizeof(man_options),
                       .options = {{NULL, OPTIONS(lines), 0}},
                       .examples = "ingot man | man -l -\n"
                                   "ingot man --format markdown > cli.md\n"};
