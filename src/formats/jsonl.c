/* Lines of .jsonl through jansson; see jsonl.h. */
#include "formats/jsonl.h"

#include <jansson.h>

/* What the object has instead of `field`: the nearest name, or the first few. */
static status fail_missing(context *ctx, const char *path, int64_t number, json_t *object, const char *field)
{
    const char *names[16], *name;
    size_t count = 0;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (count < COUNT(names)) names[count++] = name;
    }
    const char *nearest = nearest_name(field, names, count);
    text have = {0};
    text_puts(&have, count ? "" : "nothing");
    for (size_t i = 0; i < count && i < 5; i++) text_printf(&have, "%s\"%.40s\"", i ? ", " : "", names[i]);
    status s =
        ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s:%lld: the object has no \"%s\"; it has %s. Give --field%s%s", path,
                   (long long)number, field, have.at ? have.at : "?", nearest ? " " : "", nearest ? nearest : "");
    text_free(&have);
    return s;
}

status jsonl_string(context *ctx, const char *path, int64_t number, const char *line, int64_t bytes, const char *field,
                    text *out)
{
    json_error_t error;
    json_t *object = json_loadb(line, (size_t)bytes, JSON_ALLOW_NUL, &error);
    if (!object)
        return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s:%lld: not JSON: %s, at byte %d of the line", path,
                          (long long)number, error.text, error.position);
    json_t *value = json_object_get(object, field);
    status s = INGOT_OK;
    if (!json_is_object(object)) {
        s = ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s:%lld: a line must be a JSON object like {\"%s\": \"...\"}", path,
                       (long long)number, field);
    } else if (!value) {
        s = fail_missing(ctx, path, number, object, field);
    } else if (!json_is_string(value)) {
        s = ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s:%lld: \"%s\" is not a string", path, (long long)number, field);
    } else {
        text_add(out, json_string_value(value), json_string_length(value));
        if (out->failed) s = fail_memory(ctx, path, json_string_length(value));
    }
    json_decref(object);
    return s;
}
