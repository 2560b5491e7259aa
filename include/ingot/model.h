/* Models: a family and a shape, its graphs, and its weights from and to Hugging Face directories.
 *
 *     ingot_model *m;
 *     if (ingot_model_load(ctx, "run", &m)) return puts(ingot_message(ctx));       // or ingot_model_new for fresh weights
 *     ingot_build *b = ingot_build_new(ctx, "loss");
 *     ingot_training t = ingot_model_training(m, b, &(ingot_training_options){.batch = 8, .length = 128});
 *     ingot_output(b, "loss", t.loss);
 *     ...                                                                          // ingot_compile with a store
 *     if (ingot_model_read(m, store)) return puts(ingot_message(ctx));             // weights into the store
 *     if (ingot_model_save(m, store, "out", NULL)) return puts(ingot_message(ctx));
 *     ingot_model_free(m);
 *
 * A model is its configuration: weights live in a store, as states named like Hugging Face's tensors. A model may be
 * read from many threads; graphs that it builds belong to their builders, but must not outlive the model.
 */
#ifndef INGOT_MODEL_H
#define INGOT_MODEL_H

#include "ingot/program.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ingot_model ingot_model;

typedef enum ingot_choice { INGOT_AS_FAMILY = 0, INGOT_YES, INGOT_NO } ingot_choice;

/* 0 and NULL: as the preset or, without one, as the family has it. */
typedef struct ingot_model_options {
    const char *preset; /* "tiny-1m", "gpt2-124m", ...; NULL: none */
    const char *family; /* "llama", "gpt2", "convnet"; NULL: the preset's, or llama */
    int64_t vocab_size;
    int64_t layers, heads, kv_heads, head_dim, dim, ffn_dim;
    int64_t context; /* most positions of a sequence */
    double rope_theta, norm_eps, init_std;
    double dropout;            /* on embeddings and on what each layer adds */
    ingot_choice tied;         /* the head is the embedding */
    ingot_choice bias;         /* of linears */
    ingot_choice post_norm;    /* norms after the residual sum; gpt2 only */
    ingot_choice sinusoidal;   /* fixed positions; gpt2 only */
    const int32_t *eos_tokens; /* ids that end a text; the first is also its beginning */
    int eos_count;
    int64_t classes; /* convnet */
    int64_t image;   /* convnet: side of the pictures, which have three channels */
} ingot_model_options;

/* Fresh: nothing is read. The family's and presets' names are in the message when one is unknown. */
INGOT_API ingot_status ingot_model_new(ingot_context *ctx, const ingot_model_options *options, ingot_model **out);
/* `path`: a run (its last checkpoint), a checkpoint, or a Hugging Face directory of a known family; a PEFT directory
 * whose base is on this machine. Reads the configuration and checks that each tensor is there with its shape. */
INGOT_API ingot_status ingot_model_load(ingot_context *ctx, const char *path, ingot_model **out);
INGOT_API void ingot_model_free(ingot_model *m);

/* What its graphs compute in from here on: INGOT_F32, or INGOT_BF16 and INGOT_F16 for products and what stands between
 * them, with float32 masters, sums, statistics, losses, gradients and moments (Micikevicius et al. 2018). */
INGOT_API ingot_status ingot_model_set_dtype(ingot_model *m, ingot_dtype dtype);

/* Rows beyond the positions that a rotary family was trained with can be computed: `positions` is what its files will say
 * from here on. Refused for learned positions, whose table has a size. */
INGOT_API ingot_status ingot_model_set_context(ingot_model *m, int64_t positions);

typedef struct ingot_model_info {
    const char *family, *model_type; /* model_type: as in config.json */
    const char *directory;           /* of its weights; NULL when it was made by ingot_model_new */
    const char *adapter_directory;   /* of its LoRA adapters; NULL: none were loaded */
    int64_t vocab_size, layers, heads, kv_heads, head_dim, dim, ffn_dim, context;
    ingot_dtype dtype;      /* of its graphs */
    int tied, rotary;       /* rotary: `context` is no hard limit */
    int64_t parameters;     /* elements, a tied head counted once */
    int64_t trainable;      /* of these */
    int64_t tensors;        /* parameters as tensors */
    int64_t image, classes; /* convnet: pictures are (image, image, 3); 0 for language models */
    int eos_count;
    const int32_t *eos_tokens;
    int32_t bos_token; /* -1: none */
} ingot_model_info;
INGOT_API ingot_model_info ingot_model_describe(const ingot_model *m);

/* The parameters, in the order of the graph. */
typedef struct ingot_parameter {
    const char *name;  /* of the state, and of the tensor in files */
    const char *group; /* "weight.decay", "weight.no_decay" or "frozen" */
    ingot_dtype dtype;
    ingot_shape shape;
    int trainable, decay, adapter;
} ingot_parameter;
INGOT_API ingot_parameter ingot_model_parameter(const ingot_model *m, int64_t index); /* from 0 to info.tensors - 1 */

/* LoRA: from here on graphs have adapters on linears, and all else is frozen. Before the first graph is built. */
typedef struct ingot_lora_options {
    int64_t rank;
    double alpha; /* 0: 2 * rank */
    double dropout;
    const char *const *targets; /* last parts of layer names ("q_proj", "c_attn"), ended by NULL; NULL: all linears */
} ingot_lora_options;
INGOT_API ingot_status ingot_model_add_lora(ingot_model *m, const ingot_lora_options *options);

/* ---- graphs ---- */

typedef struct ingot_training_options {
    int64_t batch, length; /* B, T; of pictures: B, and T is 0 */
    int segments;          /* inputs "positions" and "segment_start" (B, T) int32 for packed rows */
    int frozen;            /* 1: nothing is trained from this store: no float32 masters of matrices in 16 bits */
    int logits;            /* 1: training.logits is needed; else chunks of it are made, and never all at once */
    double dropout;        /* < 0: the model's; needs `rng` */
    ingot_value *rng;      /* counter of ingot_dropout; NULL: no dropout, as in evaluation */
} ingot_training_options;

/* Makes inputs "tokens" and "targets" (B, T) int32, a target < 0 not counting; for convnet "images" (B, image, image, 3)
 * float32 and "targets" (B). */
typedef struct ingot_training {
    ingot_value *loss;   /* scalar: the sum of the losses of targets that count, in nats */
    ingot_value *count;  /* scalar float32: how many those are */
    ingot_value *losses; /* (N) each target's own, 0 where it does not count; N = B*T, or B pictures */
    ingot_value *logits; /* (N, V); NULL where only chunks of it are ever in memory */
} ingot_training;
INGOT_API ingot_training ingot_model_training(const ingot_model *m, ingot_build *b, const ingot_training_options *o);

typedef struct ingot_rows_options {
    int64_t rows;                          /* N */
    int64_t logit_rows;                    /* M: input "wanted" (M) int32 says which; 0: all rows' */
    int64_t sequences, pages_per_sequence; /* input "block_table" (S, P) int32 */
    int frozen;                            /* as in training */
    int64_t page_size, pages; /* the pool, states "kv.<layer>.k" and ".v" (pages * page_size, kv_heads, head_dim) */
} ingot_rows_options;
/* Inputs "tokens", "position", "sequence", "slot" (N) int32: the token, its place in its sequence, the sequence's row of
 * block_table, and page * page_size + offset where its key and value go; padding rows have -1 in all three. A row sees the
 * keys of its sequence up to its own position, those of this run among them. Returns the logits (M, V), float32. */
INGOT_API ingot_value *ingot_model_rows(const ingot_model *m, ingot_build *b, const ingot_rows_options *o);

/* ---- weights: the store must know them, from a program compiled with it ---- */

/* Fresh values: a function of the seed and each parameter's name. */
INGOT_API ingot_status ingot_model_init(const ingot_model *m, ingot_store *store, uint64_t seed);
/* From the directory that the model was loaded from; fresh adapters begin as `seed` says (ingot_model_init). */
INGOT_API ingot_status ingot_model_read(const ingot_model *m, ingot_store *store, uint64_t seed);
/* A Hugging Face directory: config.json, generation_config.json, model.safetensors; with LoRA a PEFT directory. Tokenizer
 * files are copied from `tokenizer`, a file or a directory, or, when NULL, from where the model came from. `directory`
 * is made; files in it are replaced one by one, each whole. */
INGOT_API ingot_status ingot_model_save(const ingot_model *m, ingot_store *store, const char *directory,
                                        const char *tokenizer);

/* The files of the directory that the model was loaded from, written anew to `directory` as ingot_model_save does, but a
 * tensor at a time and without a store: names, shards and configuration become ours, adapters are merged into their base.
 * dtype: of the weights; NULL: as they
 * are. */
INGOT_API ingot_status ingot_model_convert(const ingot_model *m, const char *directory, const ingot_dtype *dtype);

#ifdef __cplusplus
}
#endif
#endif
