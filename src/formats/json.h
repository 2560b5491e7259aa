/* JSON from outside, through jansson: size and depth are limited, and what is missing or of the wrong kind is said with
 * file and key.
 *
 *     json_t *root;
 *     TRY(json_read_file(ctx, "run/config.json", MOST_CONFIG_BYTES, &root));
 *     json_fields f = json_fields_of(ctx, "run/config.json", root);
 *     config.layers = field_int(&f, "num_hidden_layers", 1, 4096);
 *     config.eps = field_double_or(&f, "rms_norm_eps", 1e-6);
 *     json_decref(root);
 *     return f.error;        // "run/config.json: num_hidden_layers is missing"
 *
 * A json_fields keeps its first error; later calls give 0, NULL or the fallback. `null` counts as missing.
 */
#ifndef FORMATS_JSON_H
#define FORMATS_JSON_H

#include "base/base.h"

#include <jansson.h>

#define JSON_MOST_BYTES (64u << 20) /* enough for any config or tokenizer; readers give less where they can */

/* `name` is for messages. Repeated keys are refused; nesting is at most 2048 deep (jansson's limit). Integers of more
 * than 64 bits, which tokenizer_config.json is known for, become reals. The caller owns *out: json_decref. */
status json_read(context *ctx, const char *name, const char *bytes, uint64_t count, json_t **out);
status json_read_file(context *ctx, const char *path, uint64_t most_bytes, json_t **out);
/* Written whole or not at all, indented by two, a newline at the end. Keys keep their order. */
status json_write_file(context *ctx, const char *path, const json_t *root);

typedef struct json_fields {
    context *ctx;
    const char *file;
    const char *key; /* of this object in `outer` */
    const json_t *object;
    struct json_fields *outer;
    status error;
} json_fields;

/* An error at once when root is not an object. */
json_fields json_fields_of(context *ctx, const char *file, const json_t *root);
/* The object under `key`; a missing one gives a json_fields without any field (`object` is NULL), so ask `field_has`
 * where that matters. Errors in it are kept by `outer` too, which must outlive it. */
json_fields json_fields_in(json_fields *outer, const char *key);

bool field_has(const json_fields *f, const char *key);
int64_t field_int(json_fields *f, const char *key, int64_t least, int64_t most);
int64_t field_int_or(json_fields *f, const char *key, int64_t least, int64_t most, int64_t fallback);
double field_double(json_fields *f, const char *key);
double field_double_or(json_fields *f, const char *key, double fallback);
bool field_bool_or(json_fields *f, const char *key, bool fallback);
/* Strings live as long as the root. */
const char *field_string(json_fields *f, const char *key);
const char *field_string_or(json_fields *f, const char *key, const char *fallback);
const json_t *field_list(json_fields *f, const char *key); /* an array, or NULL with the error kept */

/* Keeps an error of the caller's own: "<file>: <outer.key> <what>". */
void field_refuse(json_fields *f, const char *key, const char *format, ...) INGOT_PRINTF(3, 4);

#endif
