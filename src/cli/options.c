/* Reads values into the verb's struct: from text, from the command line, from the environment. YAML is config.c's. */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

status options_add(option_set *set, const option_table *table, void *base)
{
    for (size_t i = 0; i < table->count; i++) {
        const option *o = &table->at[i];
        option_slot slot = {.option = o, .title = table->title, .value = (char *)base + table->offset + o->at};
        if (!ARRAY_PUSH(&set->slots, slot)) return fail_memory(set->ctx, "options", sizeof slot);
        option_slot *added = &set->slots.at[set->slots.count - 1];
        if (o->initial) TRY(option_assign(set, added, o->initial, FROM_INITIAL, o->name));
    }
    return INGOT_OK;
}

option_slot *options_find(option_set *set, const char *name)
{
    for (int64_t i = 0; i < set->slots.count; i++)
        if (!strcmp(set->slots.at[i].option->name, name)) return &set->slots.at[i];
    return NULL;
}

const char *options_suggest(option_set *set, const char *name, const char *dashes)
{
    const char **names = ARENA_ARRAY(set->arena, const char *, set->slots.count + 1);
    size_t count = 0;
    for (int64_t i = 0; names && i < set->slots.count; i++)
        if (!*dashes || !set->slots.at[i].option->positional) names[count++] = set->slots.at[i].option->name;
    const char *nearest = names ? nearest_name(name, names, count) : NULL;
    const char *words = nearest ? arena_printf(set->arena, "; did you mean %s%s?", dashes, nearest) : NULL;
    return words ? words : "";
}

static status check_range(option_set *set, const option *o, double value, const char *given, const char *where)
{
    option_range r = o->range;
    if (isnan(value)) return ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "%s: %s is not a number", where, given);
    if (!r.set) return INGOT_OK;
    if (value < r.low || (r.open && value == r.low))
        return ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "%s: %s is too small; it must be %s %.10g", where, given,
                          r.open ? "more than" : "at least", r.low);
    if (value > r.high)
        return ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "%s: %s is too large; it must be at most %.10g", where, given,
                          r.high);
    return INGOT_OK;
}

static status not_a(option_set *set, const char *where, const char *given, const char *what)
{
    return ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "%s: '%s' is not %s", where, given, what);
}

static status assign_bool(option_set *set, const option_slot *slot, const char *given, const char *where)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < COUNT(yes); i++) {
        if (strcmp(given, yes[i]) && strcmp(given, no[i])) continue;
        *(bool *)slot->value = !strcmp(given, yes[i]);
        return INGOT_OK;
    }
    return not_a(set, where, given, "true or false");
}

static status assign_int(option_set *set, const option_slot *slot, const char *given, const char *where)
{
    char *end;
    errno = 0;
    long long value = strtoll(given, &end, 10);
    if (end == given || *end || isspace((unsigned char)*given)) return not_a(set, where, given, "a whole number");
    if (errno == ERANGE) return not_a(set, where, given, "a number of 64 bits");
    TRY(check_range(set, slot->option, (double)value, given, where));
    *(int64_t *)slot->value = value;
    return INGOT_OK;
}

static status assign_double(option_set *set, const option_slot *slot, const char *given, const char *where)
{
    char *end;
    double value = strtod(given, &end);
    if (end == given || *end || isspace((unsigned char)*given)) return not_a(set, where, given, "a number");
    TRY(check_range(set, slot->option, value, given, where));
    *(double *)slot->value = value;
    return INGOT_OK;
}

static status assign_size(option_set *set, const option_slot *slot, const char *given, const char *where)
{
    static const char what[] = "a size; write 512, 10k, 1.5M, 2G or 64Ki";
    char *end;
    double value = strtod(given, &end);
    if (end == given || !(isdigit((unsigned char)*given) || *given == '.')) return not_a(set, where, given, what);
    static const char units[] = "kmgt";
    const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
    if (unit) {
        ptrdiff_t power = unit - units + 1;
        end++;
        double base = *end == 'i' ? 1024 : 1000;
        end += *end == 'i';
        while (power--) value *= base;
    }
    end += *end == 'B';
    if (*end) return not_a(set, where, given, what);
    if (!(value < 9.2e18)) return not_a(set, where, given, "a size of 64 bits");
    TRY(check_range(set, slot->option, value, given, where));
    *(int64_t *)slot->value = (int64_t)value;
    return INGOT_OK;
}

static status assign_choice(option_set *set, const option_slot *slot, const char *word, const char *where)
{
    const char *const *choices = slot->option->choices;
    size_t count = 0;
    text all = {0};
    for (; choices[count]; count++) {
        if (!strcmp(choices[count], word)) {
            *(int *)slot->value = (int)count;
            text_free(&all);
            return INGOT_OK;
        }
        text_printf(&all, "%s%s", count ? ", " : "", choices[count]);
    }
    const char *nearest = nearest_name(word, choices, count);
    status s = ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "%s: '%s' is not one of %s%s%s%s", where, word,
                          all.at ? all.at : "its values", nearest ? "; did you mean " : "", nearest ? nearest : "",
                          nearest ? "?" : "");
    text_free(&all);
    return s;
}

static status assign_list(option_set *set, option_slot *slot, const char *word, option_source source)
{
    string_list *list = slot->value;
    if (slot->source != source) *list = (string_list){0}; /* a higher source replaces, the same one adds */
    if (list->count == list->capacity) {
        int64_t capacity = list->capacity * 2 + 4;
        const char **grown = ARENA_ARRAY(set->arena, const char *, capacity);
        if (!grown) return fail_memory(set->ctx, "options", (uint64_t)capacity * sizeof *grown);
        if (list->count) memcpy(grown, list->at, (size_t)list->count * sizeof *grown);
        list->at = grown;
        list->capacity = capacity;
    }
    list->at[list->count++] = word;
    return INGOT_OK;
}

status option_assign(option_set *set, option_slot *slot, const char *given, option_source source, const char *where)
{
    if (source < slot->source) return INGOT_OK;
    char *kept = arena_strdup(set->arena, given);
    if (!kept) return fail_memory(set->ctx, "options", strlen(given));
    switch (slot->option->kind) {
    case OPTION_BOOL: TRY(assign_bool(set, slot, kept, where)); break;
    case OPTION_INT: TRY(assign_int(set, slot, kept, where)); break;
    case OPTION_DOUBLE: TRY(assign_double(set, slot, kept, where)); break;
    case OPTION_SIZE: TRY(assign_size(set, slot, kept, where)); break;
    case OPTION_CHOICE: TRY(assign_choice(set, slot, kept, where)); break;
    case OPTION_STRING: *(const char **)slot->value = kept; break;
    case OPTION_LIST: TRY(assign_list(set, slot, kept, source)); break;
    }
    slot->source = source;
    return INGOT_OK;
}

const char *option_text(option_set *set, const option_slot *slot, int64_t index)
{
    const option *o = slot->option;
    switch (o->kind) {
    case OPTION_BOOL: return *(bool *)slot->value ? "true" : "false";
    case OPTION_SIZE:
    case OPTION_INT: return arena_printf(set->arena, "%lld", (long long)*(int64_t *)slot->value);
    case OPTION_CHOICE: return o->choices[*(int *)slot->value];
    case OPTION_STRING: return *(const char **)slot->value;
    case OPTION_LIST:
        return index < ((string_list *)slot->value)->count ? ((string_list *)slot->value)->at[index] : NULL;
    case OPTION_DOUBLE: break;
    }
    double value = *(double *)slot->value;
    const char *shown = NULL; /* the fewest digits that read back as the same number */
    for (int digits = 6; digits <= 17; digits++) {
        shown = arena_printf(set->arena, "%.*g", digits, value);
        if (!shown || strtod(shown, NULL) == value) break;
    }
    return shown;
}

static option_slot *find_short(option_set *set, const char *name)
{
    for (int64_t i = 0; i < set->slots.count; i++) {
        const char *own = set->slots.at[i].option->short_name;
        if (own && !strcmp(own, name)) return &set->slots.at[i];
    }
    return NULL;
}

static option_slot *next_positional(option_set *set)
{
    for (int64_t i = 0; i < set->slots.count; i++) {
        option_slot *slot = &set->slots.at[i];
        if (!slot->option->positional) continue;
        if (slot->option->kind == OPTION_LIST || slot->source != FROM_COMMAND_LINE) return slot;
    }
    return NULL;
}

static status take_positional(option_set *set, const char *word)
{
    option_slot *slot = next_positional(set);
    if (!slot)
        return ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "%s does not know what to do with '%s'", set->command, word);
    return option_assign(set, slot, word, FROM_COMMAND_LINE, slot->option->value ? slot->option->value : word);
}

/* One flag at argv[*at], with its value there ("--steps=3") or in the next word. */
static status take_flag(option_set *set, int argc, char **argv, int *at)
{
    const char *word = argv[*at];
    bool is_long = word[1] == '-';
    const char *equals = strchr(word, '='), *dashes = is_long ? "--" : "-";
    const char *start = word + strlen(dashes);
    char *name = arena_strdup(set->arena, start);
    if (!name) return fail_memory(set->ctx, "options", strlen(word));
    if (equals) name[equals - start] = 0;

    option_slot *slot = is_long ? options_find(set, name) : find_short(set, name);
    bool negated = false;
    if (!slot && is_long && !strncmp(name, "no-", 3)) {
        slot = options_find(set, name + 3);
        negated = slot && slot->option->kind == OPTION_BOOL && !equals;
        if (!negated) slot = NULL;
    }
    if (!slot || slot->option->positional)
        return ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "%s has no flag %s%s%s", set->command, dashes, name,
                          options_suggest(set, name, "--"));
    const char *where = arena_printf(set->arena, "%s%s", dashes, name), *value = equals ? equals + 1 : NULL;
    if (!value && slot->option->kind == OPTION_BOOL) value = negated ? "false" : "true";
    if (!value && ++*at < argc) value = argv[*at];
    if (!value) return ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "%s%s needs a value", dashes, name);
    return option_assign(set, slot, value, FROM_COMMAND_LINE, where ? where : name);
}

status options_command_line(option_set *set, int argc, char **argv, bool *help)
{
    *help = false;
    bool flags = true;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (flags && (!strcmp(word, "--help") || !strcmp(word, "-h"))) {
            *help = true;
            return INGOT_OK;
        }
        if (flags && !strcmp(word, "--"))
            flags = false;
        else if (flags && word[0] == '-' && word[1])
            TRY(take_flag(set, argc, argv, &i));
        else
            TRY(take_positional(set, word));
    }
    return INGOT_OK;
}

status options_environment(option_set *set)
{
    for (int64_t i = 0; i < set->slots.count; i++) {
        option_slot *slot = &set->slots.at[i];
        if (slot->option->positional || !strcmp(slot->option->name, "help")) continue;
        char *name = arena_printf(set->arena, "INGOT_%s", slot->option->name);
        if (!name) return fail_memory(set->ctx, "options", 64);
        for (char *c = name; *c; c++) *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        const char *value = getenv(name);
        if (value && *value) TRY(option_assign(set, slot, value, FROM_ENVIRONMENT, name));
    }
    return INGOT_OK;
}

status options_check(option_set *set)
{
    for (int64_t i = 0; i < set->slots.count; i++) {
        const option *o = set->slots.at[i].option;
        if (!o->required || set->slots.at[i].source != FROM_NOWHERE) continue;
        text among = {0};
        for (size_t k = 0; o->kind == OPTION_CHOICE && o->choices[k]; k++)
            text_printf(&among, "%s%s", k ? ", " : "; one of ", o->choices[k]);
        const char *dashes = o->positional ? "" : "--", *name = o->positional ? "" : o->name;
        status s = ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "%s needs %s%s%s%s: %s%s", set->command, dashes, name,
                              *name ? " " : "", o->value ? o->value : "VALUE", o->help, among.at ? among.at : "");
        text_free(&among);
        return s;
    }
    return INGOT_OK;
}
