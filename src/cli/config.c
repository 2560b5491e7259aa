/* run.yaml: a flat mapping of flag names to values, read and written with libyaml. */
#include "base/file.h"
#include "cli/options.h"

#include <ctype.h>
#include <yaml.h>

#define MOST_CONFIG_BYTES (1 << 20)

typedef struct reader {
    option_set *set;
    const char *path;
    yaml_parser_t parser;
    yaml_event_t event;
} reader;

static status next_event(reader *r)
{
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event)) return INGOT_OK;
    memset(&r->event, 0, sizeof r->event);
    return ingot_fail(r->set->ctx, INGOT_ERROR_FORMAT, "%s, line %zu: %s", r->path, r->parser.problem_mark.line + 1,
                      r->parser.problem ? r->parser.problem : "not YAML");
}

static status refuse(reader *r, const char *what)
{
    return ingot_fail(r->set->ctx, INGOT_ERROR_FORMAT, "%s, line %zu: %s", r->path, r->event.start_mark.line + 1, what);
}

/* The scalar's bytes as a string; NUL bytes inside are refused. */
static status scalar(reader *r, const char **out)
{
    if (r->event.type != YAML_SCALAR_EVENT) return refuse(r, "expected `flag: value`, one a line");
    *out = (const char *)r->event.data.scalar.value;
    if (strlen(*out) != r->event.data.scalar.length) return refuse(r, "a value holds a NUL byte");
    *out = arena_strdup(r->set->arena, *out);
    return *out ? INGOT_OK : fail_memory(r->set->ctx, r->path, r->event.data.scalar.length);
}

static bool is_null(const reader *r)
{
    const char *word = (const char *)r->event.data.scalar.value;
    return r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*word || !strcmp(word, "~") || !strcmp(word, "null"));
}

static status read_value(reader *r, option_slot *slot, const char *where)
{
    const char *value;
    TRY(next_event(r));
    if (r->event.type == YAML_SEQUENCE_START_EVENT) {
        if (slot->option->kind != OPTION_LIST) return refuse(r, "a list, where one value belongs");
        for (;;) {
            TRY(next_event(r));
            if (r->event.type == YAML_SEQUENCE_END_EVENT) return INGOT_OK;
            TRY(scalar(r, &value));
            TRY(option_assign(r->set, slot, value, FROM_CONFIG, where));
        }
    }
    TRY(scalar(r, &value));
    return is_null(r) ? INGOT_OK : option_assign(r->set, slot, value, FROM_CONFIG, where);
}

static status read_mapping(reader *r)
{
    option_set *set = r->set;
    bool *seen = ARENA_ARRAY(set->arena, bool, set->slots.count + 1);
    if (!seen) return fail_memory(set->ctx, r->path, (uint64_t)set->slots.count);
    for (;;) {
        const char *key;
        TRY(next_event(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) return INGOT_OK;
        TRY(scalar(r, &key));
        size_t line = r->event.start_mark.line + 1;
        option_slot *slot = options_find(set, key);
        if (!strcmp(key, "config")) return refuse(r, "a file of options cannot name another: config is a flag only");
        if (!slot || !strcmp(key, "help"))
            return ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "%s, line %zu: %s has no option '%s'%s", r->path, line,
                              set->command, key, options_suggest(set, key, ""));
        if (seen[slot - set->slots.at]) return refuse(r, "this key was given before");
        seen[slot - set->slots.at] = true;
        const char *where = arena_printf(set->arena, "%s, line %zu: %s", r->path, line, key);
        TRY(read_value(r, slot, where ? where : key));
    }
}

static status read_document(reader *r)
{
    TRY(next_event(r)); /* the stream's start */
    TRY(next_event(r));
    if (r->event.type == YAML_STREAM_END_EVENT) return INGOT_OK; /* an empty file changes nothing */
    TRY(next_event(r));
    if (r->event.type != YAML_MAPPING_START_EVENT) return refuse(r, "expected `flag: value`, one a line");
    TRY(read_mapping(r));
    TRY(next_event(r));
    TRY(next_event(r));
    return r->event.type == YAML_STREAM_END_EVENT ? INGOT_OK : refuse(r, "more than one YAML document");
}

status options_config_bytes(option_set *set, const char *name, const char *yaml, size_t length)
{
    reader r = {.set = set, .path = name};
    if (!yaml_parser_initialize(&r.parser)) return fail_memory(set->ctx, name, length);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)yaml, length);
    status s = read_document(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return s;
}

status options_config(option_set *set, const char *path)
{
    text bytes = {0};
    status s = file_read_whole(set->ctx, path, MOST_CONFIG_BYTES, &bytes);
    if (!s) s = options_config_bytes(set, path, bytes.at ? bytes.at : "", bytes.length);
    text_free(&bytes);
    return s;
}

static const char *whole_text(option_set *set, const option_slot *slot)
{
    if (slot->option->kind != OPTION_LIST) return option_text(set, slot, 0);
    const char *all = "";
    for (int64_t i = 0; all && i < ((string_list *)slot->value)->count; i++)
        all = arena_printf(set->arena, "%s%s%s", all, i ? " " : "", option_text(set, slot, i));
    return all;
}

static status check_kept(option_set *set, const option_slot *slot, const char *given, const char *path)
{
    const char *saved = slot->source == FROM_CONFIG ? whole_text(set, slot) : NULL;
    if (saved && !strcmp(given, saved)) return INGOT_OK;
    return ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT,
                      "--%s %s: %s has %s%s; a run goes on as what it is, so leave the flag out, or begin a new run",
                      slot->option->name, given, path, saved ? "" : "no ", saved ? saved : slot->option->name);
}

status options_saved(option_set *set, const char *path)
{
    const char **given = ARENA_ARRAY(set->arena, const char *, set->slots.count + 1);
    if (!given) return fail_memory(set->ctx, path, (uint64_t)set->slots.count);
    for (int64_t i = 0; i < set->slots.count; i++) {
        option_slot *slot = &set->slots.at[i];
        if (!slot->option->kept || slot->source <= FROM_CONFIG) continue;
        given[i] = whole_text(set, slot);
        if (!given[i]) return fail_memory(set->ctx, path, 64);
        slot->source = FROM_NOWHERE;
    }
    TRY(options_config(set, path));
    for (int64_t i = 0; i < set->slots.count; i++)
        if (given[i]) TRY(check_kept(set, &set->slots.at[i], given[i], path));
    return INGOT_OK;
}

/* Written: whatever has a value. An option nobody gave counts once the verb stored something in it. */
static bool has_value(const option_slot *slot)
{
    if (slot->option->transient) return false;
    switch (slot->option->kind) {
    case OPTION_STRING: return *(const char **)slot->value != NULL;
    case OPTION_LIST: return ((string_list *)slot->value)->count > 0;
    case OPTION_BOOL: return slot->source != FROM_NOWHERE || *(bool *)slot->value;
    case OPTION_DOUBLE: return slot->source != FROM_NOWHERE || *(double *)slot->value != 0;
    case OPTION_CHOICE: return slot->source != FROM_NOWHERE || *(int *)slot->value;
    default: return slot->source != FROM_NOWHERE || *(int64_t *)slot->value;
    }
}

/* Strings that YAML would take for something else are quoted. */
static yaml_scalar_style_t style_of(const option *o, const char *value)
{
    if (o->kind != OPTION_STRING && o->kind != OPTION_LIST) return YAML_PLAIN_SCALAR_STYLE;
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
    for (size_t i = 0; i < COUNT(words); i++)
        if (!strcmp(words[i], value)) return YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    bool simple =
        isalpha((unsigned char)*value) || *value == '/' || (*value == '.' && (value[1] == '/' || value[1] == '.'));
    return simple ? YAML_ANY_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE;
}

static bool emit_scalar(yaml_emitter_t *e, const char *value, yaml_scalar_style_t style)
{
    yaml_event_t event;
    return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)value, (int)strlen(value), 1, 1,
                                        style) &&
           yaml_emitter_emit(e, &event);
}

static bool emit_slot(yaml_emitter_t *e, option_set *set, const option_slot *slot)
{
    const option *o = slot->option;
    if (!emit_scalar(e, o->name, YAML_PLAIN_SCALAR_STYLE)) return false;
    yaml_event_t event;
    bool ok = true, list = o->kind == OPTION_LIST;
    if (list)
        ok = yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_ANY_SEQUENCE_STYLE) &&
             yaml_emitter_emit(e, &event);
    int64_t count = list ? ((string_list *)slot->value)->count : 1;
    for (int64_t i = 0; ok && i < count; i++) {
        const char *value = option_text(set, slot, i);
        ok = value && emit_scalar(e, value, style_of(o, value));
    }
    if (ok && list) ok = yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(e, &event);
    return ok;
}

static int append(void *user, unsigned char *bytes, size_t count)
{
    text_add(user, (const char *)bytes, count);
    return !((text *)user)->failed;
}

static bool emit_all(yaml_emitter_t *e, option_set *set)
{
    yaml_event_t event;
    if (!yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) || !yaml_emitter_emit(e, &event) ||
        !yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) || !yaml_emitter_emit(e, &event) ||
        !yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE) ||
        !yaml_emitter_emit(e, &event))
        return false;
    for (int64_t i = 0; i < set->slots.count; i++)
        if (has_value(&set->slots.at[i]) && !emit_slot(e, set, &set->slots.at[i])) return false;
    return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(e, &event) &&
           yaml_document_end_event_initialize(&event, 1) && yaml_emitter_emit(e, &event) &&
           yaml_stream_end_event_initialize(&event) && yaml_emitter_emit(e, &event);
}

status options_print(option_set *set, const char *path, text *out)
{
    text_printf(out, "# Written by: %s. Read back with: %s --config %s\n", set->command, set->command, path);
    yaml_emitter_t emitter;
    if (!yaml_emitter_initialize(&emitter)) return fail_memory(set->ctx, path, 0);
    yaml_emitter_set_output(&emitter, append, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    bool ok = emit_all(&emitter, set);
    yaml_emitter_delete(&emitter);
    if (ok && !out->failed) return INGOT_OK;
    return ingot_fail(set->ctx, INGOT_ERROR_ARGUMENT, "the options cannot be written to %s as YAML; are they UTF-8?",
                      path);
}

status options_write(option_set *set, const char *path)
{
    text yaml = {0};
    status s = options_print(set, path, &yaml);
    if (!s) s = file_write_whole(set->ctx, path, yaml.at, yaml.length);
    text_free(&yaml);
    return s;
}
