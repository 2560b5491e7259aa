/* Choices and their file. */
#include "device/tuning.h"
#include "formats/json.h"

#include <stdio.h>

const int64_t tuning_bounds[TUNING_CLASSES] = {1, 4, 16, 64, 256, INT64_MAX};

int tuning_class(const node *n)
{
    shape s = n->out[0] ? n->out[0]->shape : n->in[0]->shape;
    int64_t last = s.rank ? s.dim[s.rank - 1] : 1, rows = last > 0 ? shape_count(s) / last : 0;
    int64_t smallest = MIN(rows, last);
    int c = 0;
    while (smallest > tuning_bounds[c]) c++;
    return c;
}

dtype tuning_dtype(const node *n)
{
    for (int i = 0; i < n->inputs; i++)
        if (n->in[i] && dtype_is_float(n->in[i]->dtype)) return n->in[i]->dtype;
    return INGOT_F32;
}

const char *tuning_find(const tuning *t, const node *n)
{
    if (!t || !t->choices.count) return NULL;
    dtype type = tuning_dtype(n);
    int size_class = tuning_class(n);
    for (int64_t i = 0; i < t->choices.count; i++) {
        const tuning_choice *c = &t->choices.at[i];
        if (c->size_class == size_class && c->dtype == type && !strcmp(c->op, n->op->name)) return c->kernel;
    }
    return NULL;
}

bool tuning_add(tuning *t, const char *op, dtype type, int size_class, const char *kernel)
{
    tuning_choice c = {.dtype = type, .size_class = size_class};
    if (strlen(op) >= sizeof c.op || strlen(kernel) >= sizeof c.kernel) return false;
    memcpy(c.op, op, strlen(op));
    memcpy(c.kernel, kernel, strlen(kernel));
    return ARRAY_PUSH(&t->choices, c);
}

/* Fowler, Noll and Vo's, 64 bits. */
static uint64_t hash_text(uint64_t hash, const char *at)
{
    do hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
    while (*at++);
    return hash;
}

uint64_t tuning_hash(const tuning *t)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int64_t i = 0; i < t->choices.count; i++) {
        const tuning_choice *c = &t->choices.at[i];
        char place[32];
        snprintf(place, sizeof place, "%d %d", (int)c->dtype, c->size_class);
        hash = hash_text(hash_text(hash_text(hash, c->op), place), c->kernel);
    }
    return hash;
}

void tuning_free(tuning *t)
{
    if (!t) return;
    ARRAY_FREE(&t->choices);
    free(t);
}

/* ---- the file ---- */

static status read_choice(context *ctx, const char *path, const json_t *one, tuning *out)
{
    json_fields f = json_fields_of(ctx, path, one);
    const char *op = field_string(&f, "op"), *type_name = field_string(&f, "dtype"),
               *kernel = field_string(&f, "kernel");
    int64_t smallest = field_int_or(&f, "smallest", 1, INT64_MAX, INT64_MAX);
    dtype type = INGOT_F32;
    int size_class = 0;
    TRY(f.error);
    if (!ingot_dtype_parse(type_name, &type))
        return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s: there is no dtype %.40s", path, type_name);
    while (smallest > tuning_bounds[size_class]) size_class++;
    if (tuning_add(out, op, type, size_class, kernel)) return INGOT_OK;
    return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s: %.40s with kernel %.40s is no choice", path, op, kernel);
}

static status read_choices(context *ctx, const char *path, const json_t *root, const char *where, tuning *out)
{
    json_fields f = json_fields_of(ctx, path, root);
    const char *schema = field_string(&f, "schema"), *place = field_string(&f, "where");
    const json_t *list = field_list(&f, "choices"), *one;
    TRY(f.error);
    if (strcmp(schema, TUNING_SCHEMA))
        return ingot_fail(ctx, INGOT_ERROR_FORMAT,
                          "%s has schema %.40s, this program reads %s; run ingot devices --tune", path, schema,
                          TUNING_SCHEMA);
    if (strcmp(place, where))
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                          "%s was measured on %.80s, this is %s; run ingot devices --tune", path, place, where);
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, one) TRY(read_choice(ctx, path, one, out));
    return INGOT_OK;
}

static status take_root(context *ctx, const char *path, json_t *root, const char *where, tuning **out)
{
    tuning *t = calloc(1, sizeof *t);
    status s = t ? read_choices(ctx, path, root, where, t) : fail_memory(ctx, path, sizeof *t);
    json_decref(root);
    if (s)
        tuning_free(t);
    else
        *out = t;
    return s;
}

status tuning_parse(context *ctx, const char *name, const char *bytes, uint64_t count, const char *where, tuning **out)
{
    json_t *root;
    *out = NULL;
    TRY(json_read(ctx, name, bytes, count, &root));
    return take_root(ctx, name, root, where, out);
}

status tuning_read(context *ctx, const char *path, const char *where, tuning **out)
{
    json_t *root;
    *out = NULL;
    TRY(json_read_file(ctx, path, 1 << 20, &root));
    return take_root(ctx, path, root, where, out);
}

status tuning_write(context *ctx, const char *path, const char *where, const tuning *t)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < t->choices.count; i++) {
        const tuning_choice *c = &t->choices.at[i];
        json_t *one =
            json_pack("{s:s, s:s, s:s}", "op", c->op, "dtype", ingot_dtype_name(c->dtype), "kernel", c->kernel);
        if (c->size_class < TUNING_CLASSES - 1)
            json_object_set_new(one, "smallest", json_integer((json_int_t)tuning_bounds[c->size_class]));
        json_array_append_new(list, one);
    }
    json_t *root = json_pack("{s:s, s:s, s:o}", "schema", TUNING_SCHEMA, "where", where, "choices", list);
    status s = root ? json_write_file(ctx, path, root) : fail_memory(ctx, path, 64);
    json_decref(root);
    return s;
}
