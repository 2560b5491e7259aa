/* ingot info: what a model's directory holds. */
#include "cli/verb.h"

#include "ingot/model.h"

#include <stdio.h>

typedef struct info_options {
    const char *model;
    bool tensors;
} info_options;

static char *shape_text(ingot_shape s, char out[128])
{
    int at = snprintf(out, 128, "(");
    for (int64_t i = 0; i < s.rank; i++)
        at += snprintf(out + at, 128 - (size_t)at, "%s%lld", i ? ", " : "", (long long)s.dim[i]);
    snprintf(out + at, 128 - (size_t)at, ")");
    return out;
}

static json_t *tensor_list(const ingot_model *m, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) {
        ingot_parameter p = ingot_model_parameter(m, i);
        json_t *dims = json_array();
        for (int64_t k = 0; k < p.shape.rank; k++) json_array_append_new(dims, json_integer(p.shape.dim[k]));
        json_array_append_new(list, json_pack("{s:s, s:o, s:s}", "name", p.name, "shape", dims, "group", p.group));
    }
    return list;
}

static status info_json(call *c, const ingot_model *m, const ingot_model_info *i, bool tensors)
{
    json_t *root = json_pack("{s:s, s:s, s:s, s:I, s:I}", "directory", i->directory, "family", i->family, "model_type",
                             i->model_type, "parameters", (json_int_t)i->parameters, "tensors", (json_int_t)i->tensors);
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {{"vocab_size", i->vocab_size}, {"layers", i->layers},     {"heads", i->heads},
                 {"kv_heads", i->kv_heads},     {"head_dim", i->head_dim}, {"dim", i->dim},
                 {"ffn_dim", i->ffn_dim},       {"context", i->context},   {"classes", i->classes}};
    for (size_t k = 0; k < COUNT(sizes); k++)
        if (sizes[k].value) json_object_set_new(root, sizes[k].key, json_integer(sizes[k].value));
    if (i->adapter_directory) json_object_set_new(root, "adapters", json_string(i->adapter_directory));
    json_object_set_new(root, "tied", json_boolean(i->tied));
    if (tensors) json_object_set_new(root, "parameter_list", tensor_list(m, i->tensors));
    return print_json(c, root);
}

static void info_print(const ingot_model *m, const ingot_model_info *i, bool tensors)
{
    printf("model       %s (%s)\n", i->directory, i->model_type);
    if (i->adapter_directory) printf("adapters    %s\n", i->adapter_directory);
    printf("parameters  %lld in %lld tensors%s\n", (long long)i->parameters, (long long)i->tensors,
           i->tied ? ", head tied" : "");
    if (i->trainable != i->parameters) printf("trainable   %lld\n", (long long)i->trainable);
    if (i->vocab_size)
        printf("shape       %lld layers, %lld heads, %lld kv heads, head dim %lld, dim %lld, ffn dim %lld\n"
               "vocabulary  %lld\ncontext     %lld\n",
               (long long)i->layers, (long long)i->heads, (long long)i->kv_heads, (long long)i->head_dim,
               (long long)i->dim, (long long)i->ffn_dim, (long long)i->vocab_size, (long long)i->context);
    else
        printf("shape       %lld stages from %lld channels, pictures %lldx%lld, %lld classes\n", (long long)i->layers,
               (long long)i->dim, (long long)i->image, (long long)i->image, (long long)i->classes);
    char dims[128];
    for (int64_t k = 0; tensors && k < i->tensors; k++) {
        ingot_parameter p = ingot_model_parameter(m, k);
        printf("%s %s %s\n", p.name, shape_text(p.shape, dims), p.group);
    }
}

static status run(call *c, void *given)
{
    const info_options *o = given;
    ingot_model *m;
    TRY(ingot_model_load(c->ctx, o->model, &m));
    ingot_model_info info = ingot_model_describe(m);
    status s = INGOT_OK;
    if (c->json)
        s = info_json(c, m, &info, o->tensors);
    else
        info_print(m, &info, o->tensors);
    ingot_model_free(m);
    return s;
}

static const option options[] = {
    {"model", STRING_AT(info_options, model), "DIR", "a run, a checkpoint or a Hugging Face folder", .short_name = "m",
     .positional = true, .required = true},
    {"tensors", BOOL_AT(info_options, tensors), NULL, "list every parameter with its shape"},
};

const verb verb_info = {
    .name = "info",
    .summary = "what a model's folder holds",
    .run = run,
    .options_bytes = sizeof(info_options),
    .options = {{NULL, OPTIONS(options), 0}},
    .examples = "ingot info run\n"
                "ingot info --json --tensors run\n",
};
