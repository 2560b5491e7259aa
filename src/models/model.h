/* Inside ingot_model: the configuration, what a family is, and how names and keys map to Hugging Face's files.
 *
 * A family is one file with one `model_family`, and a line in models.def. Its `build` is one page that trains,
 * evaluates, prefills and decodes: `rows` says which.
 */
#ifndef MODELS_MODEL_H
#define MODELS_MODEL_H

#include "formats/archive.h"
#include "formats/json.h"
#include "ingot/model.h"
#include "nn/lora.h"

#define CONFIG_MOST_EOS    16
#define CONFIG_MOST_SIZE   (1 << 24) /* of any dim of a model */
#define CONFIG_MOST_LAYERS 1024

typedef struct model_family model_family;

/* One struct for all families: a field that a family does not have stays 0. */
typedef struct config {
    const model_family *family;
    int64_t vocab_size, layers, heads, kv_heads, head_dim, dim, ffn_dim, context;
    double norm_eps, init_std, dropout;
    double rope_theta;
    ingot_rope_scaling scaling; /* of rotary frequencies, "llama3"; where `scaled` */
    bool scaled;
    activation activation;
    bool tied, attention_bias, mlp_bias, post_norm, sinusoidal;
    int64_t image, classes; /* convnet: side of the pictures */
    int32_t eos[CONFIG_MOST_EOS];
    int64_t eos_count;
    int64_t bos; /* -1: none */
} config;

/* A key of config.json and the field it fills. */
typedef enum key_kind { KEY_INT, KEY_DOUBLE, KEY_BOOL } key_kind;
typedef struct config_key {
    const char *name;
    key_kind kind;
    size_t at;       /* in config */
    double fallback; /* when the key is absent, as in Hugging Face's class; 0 for an integer: `finish` derives it */
} config_key;

#define INT_KEY(field)    KEY_INT, offsetof(config, field)
#define DOUBLE_KEY(field) KEY_DOUBLE, offsetof(config, field)
#define BOOL_KEY(field)   KEY_BOOL, offsetof(config, field)

typedef struct preset {
    const char *name;
    config config; /* fields that differ from the family's defaults */
} preset;

struct model_family {
    const char *name;       /* "llama": what --family takes */
    const char *model_type; /* in config.json */
    const char *own_type;   /* "ingot_llama": in config.json where transformers' class could not compute the same */
    const char *hf_class;   /* "LlamaForCausalLM"; NULL: no class of transformers */
    const config *defaults;
    const preset *presets; /* ended by one without a name */
    const config_key *keys;
    int key_count;
    /* Odd parts of config.json, after the keys were read, before they are written. */
    void (*read)(json_fields *f, config *c);
    void (*write)(const config *c, json_t *root);
    bool (*hf_can)(const config *c);                     /* can transformers' class express it? NULL: always */
    status (*finish)(context *ctx, config *c);           /* fills what is derived; refuses what does not fit together */
    void (*init)(const config *c, param *p);             /* changes a parameter's init; NULL: the layers' */
    value *(*build)(build *b, const config *c, rows *r); /* -> logits (M, V) */
    /* Pictures (B, image, image, 3) -> logits (B, classes); instead of `build`. */
    value *(*build_images)(build *b, const config *c, value *images, const rows *r);
    const char *(*file_name)(const char *name); /* another name that files use for a tensor; NULL: none */
    const char *const *ignored;                 /* ends of tensor names in files that hold no weights; ended by NULL */
    const char *adapter_prefix;                 /* before a layer's name in PEFT files: "base_model.model." */
    bool rotary;                                /* positions beyond `context` can be computed */
    bool conv1d;                                /* linears are stored (in, out): PEFT's fan_in_fan_out */
};

extern const model_family *const model_families[]; /* of models.def, ended by NULL */
const model_family *family_find(const char *name);

struct ingot_model {
    context *ctx;
    arena *arena;
    config config;
    char *directory;         /* of the base's files; NULL for a fresh model */
    char *adapter_directory; /* of adapters to be read; NULL: none */
    lora_config lora;        /* rank 0: none */
    dtype compute;           /* of its graphs */
    param_list *params;      /* all, adapters too */
};

/* options.c */
status config_from_options(context *ctx, const ingot_model_options *o, config *out);
status config_finish(context *ctx, config *c);       /* family's finish and what all families share */
status config_finish_heads(context *ctx, config *c); /* for families with heads: derives kv_heads, head_dim */

/* config.c: config.json and back. */
status config_read(context *ctx, const char *directory, config *out);
status config_parse(context *ctx, const char *name, const char *bytes, uint64_t count, config *out);
status config_write(context *ctx, const char *directory, const config *c, dtype d);
const char *config_model_type(const config *c);
activation activation_read(json_fields *f, const char *key, activation fallback);
const char *activation_name(activation a);
/* generation_config.json: eos (may be a list) and bos. */
status generation_config_read(context *ctx, const char *directory, config *c);
status generation_config_write(context *ctx, const char *directory, const config *c);

/* model.c: a fresh model of this shape, its parameters listed. */
status model_of_config(context *ctx, const config *c, ingot_model **out);

/* path.c */
/* The directory with config.json or adapter_config.json that a --model argument means: itself, or its `last`. Freed by
 * the caller. */
status model_resolve(context *ctx, const char *path, char **out);
/* tokenizer_config.json beside a tokenizer.json that has none: which of its tokens begin and end a text. */
status tokenizer_config_write(context *ctx, const char *directory, const config *c);
status model_copy_tokenizer(context *ctx, const char *from, const char *directory);

/* checksums.c: a checkpoint's training_state.json holds one of each of its files, and of itself. */
#define TRAINING_STATE_FILE "training_state.json"
#define OPTIMIZER_FILE      "optimizer.safetensors"
#define CHECKSUM_SIZE       32 /* of "xxh3:..." as text */
/* Compares all files, or all but the optimizer's; a folder without a training state is fine. */
status checkpoint_check(context *ctx, const char *folder, bool optimizer);
/* {"model.safetensors": "xxh3:...", ...}, in the order of names: the same files give the same bytes. */
status checksums_of_folder(context *ctx, const char *folder, json_t *out);
bool checksum_of_object(const json_t *root, char out[CHECKSUM_SIZE]); /* without its "checksum"; false: no memory */

/* weights.c: where tensors come from and go to, one at a time. */
const archive_tensor *weights_find(const archive *a, const model_family *f, const char *name); /* NULL: not there */
status weights_check(const ingot_model *m, const archive *a); /* all that config.json asks for is there, and no more */
status model_check_weights(const ingot_model *m);
status model_read_weights(const ingot_model *m, ingot_store *store); /* all but adapters */
status model_init_param(context *ctx, const param *p, ingot_store *store, uint64_t seed);
typedef status tensor_reader(void *user, const param *p, void *out); /* fills out in p->dtype */
typedef struct tensor_file {
    bool adapters;  /* these, or all else */
    bool as_stored; /* in the parameters' own dtype; else in `dtype` */
    dtype dtype;
    const char *prefix; /* before each name */
} tensor_file;
status model_write_tensors(const ingot_model *m, const char *path, const tensor_file *file, tensor_reader *read,
                           void *user);
tensor_reader model_read_store; /* user: the ingot_store */

/* adapter.c: PEFT directories. */
status adapter_config_parse(context *ctx, const char *name, const char *bytes, uint64_t count, arena *a,
                            lora_config *lora, char **base);
status adapter_config_read(context *ctx, const char *directory, arena *a, lora_config *lora, char **base);
status adapter_write(const ingot_model *m, ingot_store *store, const char *directory);
status adapter_read(const ingot_model *m, ingot_store *store);
status adapter_open(const ingot_model *m, archive **out); /* checked: each adapter with its shape, and no more */
status adapter_find(const ingot_model *m, const archive *a, const param *p, const archive_tensor **out);

#endif
