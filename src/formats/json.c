/* Limits, typed fields and messages over jansson. */
#include "formats/json.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>

status json_read(context *ctx, const char *name, const char *bytes, uint64_t count, json_t **out)
{
    json_error_t error;
    *out = json_loadb(bytes, (size_t)count, JSON_REJECT_DUPLICATES, &error);
    if (!*out && json_error_code(&error) == json_error_numeric_overflow)
        *out = json_loadb(bytes, (size_t)count, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    if (*out) return INGOT_OK;
    if (json_error_code(&error) == json_error_out_of_memory) return fail_memory(ctx, name, count);
    return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s, line %d, column %d: %s", name, error.line, error.column,
                      error.text);
}

status json_read_file(context *ctx, const char *path, uint64_t most_bytes, json_t **out)
{
    *out = NULL;
    text bytes = {0};
    status s = file_read_whole(ctx, path, most_bytes, &bytes);
    if (!s && !bytes.length) s = ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s is empty, where JSON belongs", path);
    if (!s) s = json_read(ctx, path, bytes.at, bytes.length, out);
    text_free(&bytes);
    return s;
}

static int append(const char *bytes, size_t count, void *user)
{
    text_add(user, bytes, count);
    return ((text *)user)->failed ? -1 : 0;
}

/* 15 digits write 0.1 as 0.1; a file with a number that needs 17 is written with 17. */
static bool fits_15_digits(const json_t *value)
{
    const char *key;
    const json_t *inner;
    size_t i;
    char digits[40];
    if (json_is_real(value)) {
        snprintf(digits, sizeof digits, "%.15g", json_real_value(value));
        return strtod(digits, NULL) == json_real_value(value);
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, inner)
    {
        if (!fits_15_digits(inner)) return false;
    }
    json_array_foreach(value, i, inner)
    {
        if (!fits_15_digits(inner)) return false;
    }
    return true;
}

status json_write_file(context *ctx, const char *path, const json_t *root)
{
    text bytes = {0};
    size_t digits = JSON_REAL_PRECISION(fits_15_digits(root) ? 15 : 17);
    int failed = json_dump_callback(root, append, &bytes, JSON_INDENT(2) | JSON_ENCODE_ANY | digits);
    text_puts(&bytes, "\n");
    status s;
    if (bytes.failed)
        s = fail_memory(ctx, path, bytes.length);
    else if (failed)
        s = ingot_fail(ctx, INGOT_ERROR_INTERNAL, "%s cannot be written as JSON", path);
    else
        s = file_write_whole(ctx, path, bytes.at, bytes.length);
    text_free(&bytes);
    return s;
}

static void path_of(const json_fields *f, text *out)
{
    if (!f->outer) return;
    path_of(f->outer, out);
    text_printf(out, "%s.", f->key);
}

void field_refuse(json_fields *f, const char *key, const char *format, ...)
{
    if (f->error) return;
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    text path = {0};
    path_of(f, &path);
    status s = ingot_fail(f->ctx, INGOT_ERROR_FORMAT, "%s: %s%s %s", f->file, path.at ? path.at : "", key, what);
    text_free(&path);
    for (; f; f = f->outer)
        if (!f->error) f->error = s;
}

json_fields json_fields_of(context *ctx, const char *file, const json_t *root)
{
    json_fields f = {.ctx = ctx, .file = file, .object = root};
    if (!json_is_object(root))
        f.error = ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s: an object { ... } belongs here", file);
    return f;
}

/* The value, or NULL when it is missing, null, or an error came before. */
static const json_t *value_of(const json_fields *f, const char *key)
{
    const json_t *value = f->error ? NULL : json_object_get(f->object, key);
    return json_is_null(value) ? NULL : value;
}

static const json_t *required(json_fields *f, const char *key)
{
    const json_t *value = value_of(f, key);
    if (!value) field_refuse(f, key, "is missing");
    return value;
}

json_fields json_fields_in(json_fields *outer, const char *key)
{
    const json_t *value = value_of(outer, key);
    json_fields f = {.ctx = outer->ctx, .file = outer->file, .key = key, .outer = outer};
    if (value && !json_is_object(value))
        field_refuse(outer, key, "is not an object");
    else
        f.object = value;
    f.error = outer->error;
    return f;
}

bool field_has(const json_fields *f, const char *key)
{
    return value_of(f, key) != NULL;
}

static int64_t int_of(json_fields *f, const char *key, const json_t *value, int64_t least, int64_t most)
{
    int64_t number = json_integer_value(value);
    if (json_is_real(value)) { /* 2048.0, or a file that holds some other huge integer */
        double real = json_real_value(value);
        if (real != floor(real) || !(fabs(real) < 9.2e18)) return field_refuse(f, key, "is not a whole number"), 0;
        number = (int64_t)real;
    } else if (!json_is_integer(value)) {
        return field_refuse(f, key, "is not a whole number"), 0;
    }
    if (number >= least && number <= most) return number;
    field_refuse(f, key, "is %lld; it must be %lld to %lld", (long long)number, (long long)least, (long long)most);
    return 0;
}

int64_t field_int(json_fields *f, const char *key, int64_t least, int64_t most)
{
    const json_t *value = required(f, key);
    return value ? int_of(f, key, value, least, most) : 0;
}

int64_t field_int_or(json_fields *f, const char *key, int64_t least, int64_t most, int64_t fallback)
{
    const json_t *value = value_of(f, key);
    return value ? int_of(f, key, value, least, most) : fallback;
}

static double double_of(json_fields *f, const char *key, const json_t *value)
{
    if (!json_is_number(value)) return field_refuse(f, key, "is not a number"), 0;
    return json_number_value(value);
}

double field_double(json_fields *f, const char *key)
{
    const json_t *value = required(f, key);
    return value ? double_of(f, key, value) : 0;
}

double field_double_or(json_fields *f, const char *key, double fallback)
{
    const json_t *value = value_of(f, key);
    return value ? double_of(f, key, value) : fallback;
}

bool field_bool_or(json_fields *f, const char *key, bool fallback)
{
    const json_t *value = value_of(f, key);
    if (!value) return fallback;
    if (!json_is_boolean(value)) field_refuse(f, key, "is not true or false");
    return json_is_true(value);
}

static const char *string_of(json_fields *f, const char *key, const json_t *value)
{
    if (!json_is_string(value)) return field_refuse(f, key, "is not a string"), NULL;
    return json_string_value(value);
}

const char *field_string(json_fields *f, const char *key)
{
    const json_t *value = required(f, key);
    return value ? string_of(f, key, value) : NULL;
}

const char *field_string_or(json_fields *f, const char *key, const char *fallback)
{
    const json_t *value = value_of(f, key);
    return value ? string_of(f, key, value) : fallback;
}

const json_t *field_list(json_fields *f, const char *key)
{
    const json_t *value = required(f, key);
    if (value && !json_is_array(value)) return field_refuse(f, key, "is not a list"), NULL;
    return value;
}
