/* Any bytes as a run.yaml: refused with a message, or taken, and then what is written reads back the same. */
#include "cli/options.h"

typedef struct values {
    int64_t steps, bytes;
    double rate;
    bool tied;
    int family;
    const char *output;
    string_list files;
} values;

static const char *const families[] = {"gpt2", "llama", NULL};
static const option table[] = {
    {"steps", INT_AT(values, steps), .initial = "200", .range = AT_LEAST(1)},
    {"bytes", SIZE_AT(values, bytes)},
    {"lr", DOUBLE_AT(values, rate), .initial = "1e-3", .range = MORE_THAN(0)},
    {"tied", BOOL_AT(values, tied)},
    {"family", CHOICE_AT(values, family), .choices = families},
    {"output", STRING_AT(values, output)},
    {"files", LIST_AT(values, files), .positional = true},
};

static void read_back(const option_table *all, option_set *first, const values *v)
{
    values again = {0};
    option_set set = {.ctx = first->ctx, .arena = first->arena, .command = "again"};
    text yaml = {0};
    if (options_add(&set, all, &again) || options_print(first, "again.yaml", &yaml)) abort();
    if (options_config_bytes(&set, "again.yaml", yaml.at, yaml.length)) abort();
    if (again.steps != v->steps || again.bytes != v->bytes || again.rate != v->rate || again.tied != v->tied ||
        again.family != v->family || again.files.count != v->files.count || !again.output != !v->output)
        abort();
    if (v->output && strcmp(again.output, v->output)) abort();
    for (int64_t i = 0; i < v->files.count; i++)
        if (strcmp(again.files.at[i], v->files.at[i])) abort();
    text_free(&yaml);
    ARRAY_FREE(&set.slots);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    values v = {0};
    option_set set = {.arena = arena_new(), .command = "fuzz"};
    const option_table all = {NULL, OPTIONS(table), 0};
    if (ingot_context_new(NULL, &set.ctx) || !set.arena || options_add(&set, &all, &v)) return 0;
    if (!options_config_bytes(&set, "run.yaml", (const char *)data, size))
        read_back(&all, &set, &v);
    else if (!*ingot_message(set.ctx))
        abort();
    ARRAY_FREE(&set.slots);
    arena_free(set.arena);
    ingot_context_free(set.ctx);
    return 0;
}
