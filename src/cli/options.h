/* Options are tables: one line an option gives the flag, its check, its place in --help, in run.yaml, in the environment,
 * in the shell's completion and in the man page.
 *
 *     typedef struct train_options { int64_t steps; double lr; const char *output; int family; string_list text; } train_options;
 *
 *     static const char *const families[] = {"gpt2", "llama", NULL};
 *     static const option options[] = {
 *         {"steps", INT_AT(train_options, steps), "N", "optimizer steps in total", .initial = "200", .range = AT_LEAST(1)},
 *         {"lr", DOUBLE_AT(train_options, lr), "RATE", "peak learning rate", .initial = "1e-3", .range = MORE_THAN(0)},
 *         {"family", CHOICE_AT(train_options, family), NULL, "model family", .initial = "llama", .choices = families},
 *         {"output", STRING_AT(train_options, output), "DIR", "folder to make", .short_name = "o", .required = true},
 *         {"text", LIST_AT(train_options, text), "FILE", "text to read; - is standard input", .positional = true},
 *     };
 *
 * A value comes from the first of: the command line, INGOT_<FLAG> (INGOT_BATCH_SIZE), --config file.yaml, `initial`.
 * An option without `initial` that nobody gives stays 0, NULL or false; `option_given` tells it from a given 0.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/base.h"

#include <math.h>

/* The type of the field that an option fills, beside each kind. */
typedef enum option_kind {
    OPTION_BOOL,   /* bool         --flag, --no-flag, --flag=true */
    OPTION_INT,    /* int64_t      12, -3 */
    OPTION_DOUBLE, /* double       0.5, 1e-3 */
    OPTION_STRING, /* const char * */
    OPTION_LIST,   /* string_list  the flag may come several times; in YAML a sequence */
    OPTION_CHOICE, /* int          index into `choices` */
    OPTION_SIZE    /* int64_t      512, 10k, 1.5M, 2G (1000s), 64Ki, 1Mi, 4Gi (1024s), a last B is allowed */
} option_kind;

typedef ARRAY(const char *) string_list;

typedef struct option_range {
    bool set, open; /* open: `low` itself is refused */
    double low, high;
} option_range;
#define AT_LEAST(bound)                                                                                                \
    {                                                                                                                  \
        true, false, (bound), INFINITY                                                                                 \
    }
#define MORE_THAN(bound)                                                                                               \
    {                                                                                                                  \
        true, true, (bound), INFINITY                                                                                  \
    }
#define BETWEEN(low, high)                                                                                             \
    {                                                                                                                  \
        true, false, (low), (high)                                                                                     \
    }

typedef struct option {
    const char *name; /* "batch-size": the flag without its dashes, and the key in YAML */
    option_kind kind;
    size_t at;                  /* kind and at: by INT_AT(type, field) and its sisters, which check the field's type */
    const char *value;          /* what stands for the value in --help: "N", "FILE"; NULL: by kind */
    const char *help;           /* one sentence, small letter first, no full stop */
    const char *short_name;     /* "m" for -m, "ngl" for -ngl */
    const char *initial;        /* the default, written as on the command line */
    const char *initial_help;   /* what --help says where there is no `initial`: "the physical cores" */
    const char *const *choices; /* ended by NULL */
    void (*names)(text *out);   /* what completion offers where any word is taken: names, a space before each */
    option_range range;
    bool required, positional;
    bool transient; /* about this call only: not written to run.yaml (--overwrite, --json) */
    bool kept;      /* what a run is, for good: --resume takes it from run.yaml and refuses another (--dim, --model) */
} option;

#define TYPED_AT_(type, field, wanted) (offsetof(type, field) + 0 * _Generic(((type *)0)->field, wanted : 1))
#define BOOL_AT(type, field)           .kind = OPTION_BOOL, .at = TYPED_AT_(type, field, bool)
#define INT_AT(type, field)            .kind = OPTION_INT, .at = TYPED_AT_(type, field, int64_t)
#define DOUBLE_AT(type, field)         .kind = OPTION_DOUBLE, .at = TYPED_AT_(type, field, double)
#define STRING_AT(type, field)         .kind = OPTION_STRING, .at = TYPED_AT_(type, field, const char *)
#define LIST_AT(type, field)           .kind = OPTION_LIST, .at = TYPED_AT_(type, field, string_list)
#define CHOICE_AT(type, field)         .kind = OPTION_CHOICE, .at = TYPED_AT_(type, field, int)
#define SIZE_AT(type, field)           .kind = OPTION_SIZE, .at = TYPED_AT_(type, field, int64_t)

/* Several verbs may share a table, each at its own offset: {"Shape", OPTIONS(shape_options), offsetof(plan, shape)}. */
typedef struct option_table {
    const char *title; /* heading in --help; NULL: "Options" */
    const option *at;
    size_t count;
    size_t offset; /* of the table's struct inside the verb's options */
} option_table;
#define OPTIONS(table) (table), COUNT(table)

typedef enum option_source {
    FROM_NOWHERE,
    FROM_INITIAL,
    FROM_CONFIG,
    FROM_ENVIRONMENT,
    FROM_COMMAND_LINE
} option_source;

/* One option of one call: the table's line, where its value lives, and who gave it. */
typedef struct option_slot {
    const option *option;
    void *value;
    const char *title;
    option_source source;
} option_slot;

typedef struct option_set {
    context *ctx;
    arena *arena;
    const char *command; /* "ingot tokenizer train", for messages */
    ARRAY(option_slot) slots;
} option_set;

/* Adds the lines of a table, whose struct is at `base`, and stores the defaults. */
status options_add(option_set *set, const option_table *table, void *base);
/* `--help` and `-h` stop the parse and set *help. Then: options_environment, options_config, options_check. */
status options_command_line(option_set *set, int argc, char **argv, bool *help);
status options_environment(option_set *set);
status options_config(option_set *set, const char *path);
status options_config_bytes(option_set *set, const char *name, const char *yaml, size_t length);
/* The options of a run that is gone on with: like options_config, but what is `kept` may not be given differently. */
status options_saved(option_set *set, const char *path);
status options_check(option_set *set); /* what is required is there */

option_slot *options_find(option_set *set, const char *name);
/* Parses `given` into the slot; `where` begins messages ("--steps", "run.yaml, line 3: steps"). The higher source wins. */
status option_assign(option_set *set, option_slot *slot, const char *given, option_source source, const char *where);
/* The value as it would be typed, in the arena; lists give item `index`. NULL: unset. */
const char *option_text(option_set *set, const option_slot *slot, int64_t index);

/* Everything as YAML that --config reads back; `path` is named in its first line. */
status options_print(option_set *set, const char *path, text *out);
status options_write(option_set *set, const char *path);

/* Unknown names: "; did you mean --steps?" or "". */
const char *options_suggest(option_set *set, const char *name, const char *dashes);

#endif
