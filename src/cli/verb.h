/* What a verb is, and what it may use. One verb, one file, one line in verbs.def:
 *
 *     static status run(call *c, void *options)
 *     {
 *         const info_options *o = options;
 *         ...
 *         if (c->json) return print_json(c, json_pack("{s:i}", "vocab_size", size));
 *         printf("%d entries\n", size);
 *         return INGOT_OK;
 *     }
 *
 *     const verb verb_info = {
 *         .name = "info", .summary = "what a model or tokenizer file holds", .run = run,
 *         .options_bytes = sizeof(info_options), .options = {{NULL, OPTIONS(options)}},
 *         .examples = "ingot info run\n"
 *                     "ingot info --json run\n",
 *     };
 *
 * A verb with sub-verbs has `.verbs = {&train, &encode}` and neither run nor options. Every verb also takes --config,
 * --threads, --quiet, --json and --help; `c->ctx` already has the threads, the log and the progress line.
 * A failing verb returns its status; main prints the message as `ingot: ...` and exits with 1.
 */
#ifndef CLI_VERB_H
#define CLI_VERB_H

#include "cli/options.h"

#include <jansson.h>

typedef struct call call;

typedef struct verb {
    const char *name;
    const char *summary;      /* one line of `ingot --help`, small letter first, no full stop */
    const char *description;  /* paragraphs; may be NULL */
    const char *examples;     /* whole lines, each a command or a # remark; may be NULL */
    option_table options[12]; /* ended by an empty one */
    size_t options_bytes;     /* the verb's own struct, zeroed, then filled from the tables */
    status (*run)(call *c, void *options);
    /* Sets *path to a run.yaml that counts like --config, but below it: `train --resume run`. NULL: none. */
    status (*saved_config)(call *c, const void *options, const char **path);
    const struct verb *verbs[8]; /* sub-verbs, ended by NULL */
    bool outlives_stdout;        /* a closed pipe does not stop it: training goes on when its log's reader ends */
} verb;

struct call {
    context *ctx;
    arena *arena;        /* freed after run */
    const char *command; /* "ingot tokenizer train" */
    int64_t threads;     /* of the context's pool, resolved */
    bool json, quiet;
    option_set *set;
    bool usage_error;
    struct terminal *terminal;
};

/* The table of verbs.def, ended by NULL, and the verb that words name ("tokenizer", "train"). */
extern const verb *const all_verbs[];
/* Follows words as far as they are verbs; *used says how many. NULL for an unknown first word. `command` collects the
 * path. A word that is no sub-verb of a verb that has only sub-verbs ends the walk at that verb. */
const verb *verb_find(int argc, char **argv, int *used, text *command);
/* That `word` is no verb of `parent`, or of the program for NULL, and which one may be meant. */
void verb_unknown(text *out, const verb *parent, const char *command, const char *word);

/* Did the user give this option (flag, environment or --config), or is it the default? */
bool option_given(const call *c, const char *name);
/* Writes the resolved options to `path` ("run/run.yaml"). What a verb resolved itself (a drawn seed) it stores in its
 * options first; unset options that are still 0 or NULL are left out. */
status write_run_yaml(call *c, const char *path);

/* Fails as bad usage: exit code 2 and a line that names `<command> --help`. */
status fail_usage(call *c, const char *format, ...) INGOT_PRINTF(2, 3);

/* One object (or array) and a newline on standard output; takes the reference. NULL is reported as lack of memory. */
status print_json(call *c, json_t *root);
/* JSON holds only UTF-8: what is none becomes U+FFFD. */
json_t *json_text(const char *bytes, size_t length);
/* A line on standard output at once, the progress line cleared first: what training prints a step. */
void print_line(call *c, const char *format, ...) INGOT_PRINTF(2, 3);

/* --help of one verb, and of the program. */
void help_verb(FILE *out, const verb *v, const char *command);
void help_program(FILE *out);
/* The options that every verb takes. */
typedef struct common_options {
    bool help, json, quiet;
    const char *config;
    int64_t threads;
} common_options;
extern const option_table common_table;
/* "-m, --model DIR", as --help and the man page show it. */
void option_spelling(text *out, const option *o);
/* "default 200; at least 1; required", or "". */
void option_facts(text *out, const option *o);

#endif
