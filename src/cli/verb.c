/* What verbs call: options that were given, JSON and lines on standard output, run.yaml. */
#include "cli/verb.h"
#include "cli/terminal.h"

#include "text/utf8.h"

#include <stdio.h>

static const option common[] = {
    {"config", STRING_AT(common_options, config), "FILE", "YAML with flag names as keys; flags win over it",
     .transient = true},
    {"threads", INT_AT(common_options, threads), "N", "threads to use", .short_name = "t",
     .initial_help = "the physical cores it may use", .range = BETWEEN(1, 4096)},
    {"json", BOOL_AT(common_options, json), NULL, "print one JSON object on standard output", .transient = true},
    {"quiet", BOOL_AT(common_options, quiet), NULL, "no progress and no notes on standard error", .transient = true},
    {"help", BOOL_AT(common_options, help), NULL, "this page", .short_name = "h", .transient = true},
};
const option_table common_table = {"Common options", OPTIONS(common), 0};

bool option_given(const call *c, const char *name)
{
    const option_slot *slot = options_find(c->set, name);
    return slot && slot->source > FROM_INITIAL;
}

status write_run_yaml(call *c, const char *path)
{
    option_slot *threads = options_find(c->set, "threads");
    *(int64_t *)threads->value = c->threads;
    return options_write(c->set, path);
}

status fail_usage(call *c, const char *format, ...)
{
    text message = {0};
    va_list arguments;
    char built[1024];
    va_start(arguments, format);
    vsnprintf(built, sizeof built, format, arguments);
    va_end(arguments);
    text_free(&message);
    c->usage_error = true;
    return ingot_fail(c->ctx, INGOT_ERROR_ARGUMENT, "%s", built);
}

json_t *json_text(const char *bytes, size_t length)
{
    text clean = {0};
    utf8_repair(&clean, bytes, length);
    json_t *string = clean.failed ? NULL : json_stringn(clean.at ? clean.at : "", clean.length);
    text_free(&clean);
    return string;
}

status print_json(call *c, json_t *root)
{
    if (!root) return fail_memory(c->ctx, "the JSON answer", 0);
    terminal_clear(c->terminal);
    int failed = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(root);
    putchar('\n');
    /* A failed write is main's to report; what is left is a value that JSON cannot hold. */
    if (failed && !ferror(stdout))
        return ingot_fail(c->ctx, INGOT_ERROR_INTERNAL, "the answer cannot be written as JSON");
    return INGOT_OK;
}

void print_line(call *c, const char *format, ...)
{
    terminal_clear(c->terminal);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}
