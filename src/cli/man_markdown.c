/* The reference of verbs and flags as Markdown, docs/cli.md: ingot man --format markdown
 *
 * A table that several verbs take (the model's shape, the device) is printed once, at the end, and linked to.
 */
#include "cli/man.h"
#include "cli/walk.h"

#include <ctype.h>
#include <stdio.h>

/* Markup outside of code spans is escaped: what the tables hold is plain text with `code`. */
static void put_plain(const char *plain)
{
    bool code = false;
    for (; *plain; plain++) {
        if (*plain == '`') code = !code;
        if (!code && strchr("*_<>[]\\", *plain)) putchar('\\');
        putchar(*plain);
    }
}

static void print_one(const option *o)
{
    text spelling = {0}, facts = {0};
    option_spelling(&spelling, o);
    option_facts(&facts, o);
    printf("- `%s`: ", spelling.at ? spelling.at : o->name);
    put_plain(o->help);
    if (facts.length) {
        fputs(" (", stdout);
        put_plain(facts.at);
        putchar(')');
    }
    putchar('\n');
    text_free(&spelling);
    text_free(&facts);
}

static void print_table(const option_table *table)
{
    for (size_t i = 0; i < table->count; i++) print_one(&table->at[i]);
}

/* Tables in the order in which they are met, and how many verbs take each. */
typedef struct shared_table {
    const option_table *table;
    int verbs;
} shared_table;

typedef struct shared_tables {
    shared_table at[64];
    size_t count;
} shared_tables;

static shared_table *find_shared(shared_tables *s, const option_table *table)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->at[i].table->at == table->at) return &s->at[i];
    if (s->count == COUNT(s->at)) return NULL; /* printed with each verb then */
    s->at[s->count] = (shared_table){table, 0};
    return &s->at[s->count++];
}

static void count_tables(const verb *v, const char *words, void *user)
{
    (void)words;
    for (size_t t = 0; t < COUNT(v->options) && v->options[t].at; t++) {
        shared_table *found = find_shared(user, &v->options[t]);
        if (found) found->verbs++;
    }
}

static bool is_shared(shared_tables *s, const option_table *table)
{
    const shared_table *found = table->title ? find_shared(s, table) : NULL;
    return found && found->verbs > 1;
}

/* "Adapters (LoRA)" -> "adapters-lora": how Markdown readers name a heading. */
static void put_anchor(const char *title)
{
    for (; *title; title++) {
        if (isalnum((unsigned char)*title) || *title == '-')
            putchar(tolower((unsigned char)*title));
        else if (*title == ' ')
            putchar('-');
    }
}

static void print_links(shared_tables *s, const verb *v)
{
    const char *comma = "\nand those of ";
    for (size_t t = 0; t < COUNT(v->options) && v->options[t].at; t++) {
        if (!is_shared(s, &v->options[t])) continue;
        printf("%s[%s](#", comma, v->options[t].title);
        put_anchor(v->options[t].title);
        fputs("-options)", stdout);
        comma = ", ";
    }
    printf("%s[every verb](#options-of-every-verb)\n", *comma == '\n' ? comma : " and ");
}

static void print_entry(const verb *v, const char *words, void *user)
{
    (void)user;
    if (!v->run) return;
    fputs("- [ingot ", stdout);
    printf("%s](#ingot", words);
    putchar('-');
    for (; *words; words++) putchar(*words == ' ' ? '-' : *words);
    fputs("): ", stdout);
    put_plain(v->summary);
    putchar('\n');
}

static void print_verb(const verb *v, const char *words, void *user)
{
    printf("\n## ingot %s\n\n", words);
    putchar(toupper((unsigned char)v->summary[0]));
    put_plain(v->summary + 1);
    puts(".");
    if (v->description) {
        putchar('\n');
        put_plain(v->description);
        putchar('\n');
    }
    if (!v->run) return;
    if (v->examples) printf("\n```sh\n%s```\n", v->examples);
    for (size_t t = 0; t < COUNT(v->options) && v->options[t].at; t++) {
        if (is_shared(user, &v->options[t])) continue;
        if (v->options[t].title) printf("\n%s:\n", v->options[t].title);
        putchar('\n');
        print_table(&v->options[t]);
    }
    print_links(user, v);
}

void man_markdown(void)
{
    puts("<!-- Printed by `ingot man --format markdown`; ./dev man writes it anew, ./dev lint compares. -->\n"
         "# Every verb and flag\n\n"
         "The same words as `ingot VERB --help`. Each option can also come from the environment\n"
         "(`INGOT_BATCH_SIZE` for `--batch-size`) or, under its name without the dashes, from a YAML file given by\n"
         "`--config`; the command line wins over the environment, the environment over the file. A flag `--x` without "
         "a\n"
         "value is turned off again by `--no-x`. Sizes may end in k, M, G (thousands) or Ki, Mi, Gi (1024s).\n\n"
         "Exit status: 0 when it went well, 1 when it failed, 2 when it was called wrongly, 130 when it was "
         "interrupted.\n");
    walk_verbs(print_entry, NULL);
    shared_tables tables = {0};
    walk_verbs(count_tables, &tables);
    walk_verbs(print_verb, &tables);
    for (size_t i = 0; i < tables.count; i++) {
        if (!is_shared(&tables, tables.at[i].table)) continue;
        printf("\n## %s options\n\n", tables.at[i].table->title);
        print_table(tables.at[i].table);
    }
    puts("\n## Options of every verb\n");
    print_table(&common_table);
}
