/* Layers: functions that build graph pieces, each under its name in the builder's scope.
 *
 *     ingot_scope_begin(b, "mlp");
 *     value *h = nn_linear(b, "up_proj", x, 352, NO_BIAS);       // state mlp.up_proj.weight (352, C)
 *     ingot_scope_end(b);
 *
 * A parameter is a state named as Hugging Face names the tensor. How parameters and products are made can be changed
 * from outside by hooks on the builder: LoRA, quantized weights and sharding reach every family that way, unedited.
 * Activations are rows, (N, C); `rows` says what a row is. N rows, B sequences, T positions, C channels, H heads,
 * K kv heads, D head dim, V vocabulary.
 */
#ifndef NN_NN_H
#define NN_NN_H

#include "graph/graph.h"
#include "ingot/ops.h"

/* ---- parameters ---- */

typedef enum init_kind { INIT_ZEROS, INIT_ONES, INIT_NORMAL, INIT_UNIFORM, INIT_SINUSOID } init_kind;

typedef struct init {
    init_kind kind;
    double scale; /* INIT_NORMAL: standard deviation; INIT_UNIFORM: uniform in [-scale, scale) */
} init;

typedef struct param {
    const char *name; /* with its scopes */
    dtype dtype;
    shape shape;
    init init;
    bool trainable; /* else in group "frozen", without gradient */
    bool decay;     /* weight decay: matrices yes, biases and norms no */
    bool adapter;   /* LoRA's A and B: saved apart from the model */
    bool in_out;    /* a product's weight stored (in, out), as GPT-2's Conv1D */
    bool product;   /* read by products only: kept in the dtype they are computed in, where it is not trained */
} param;

/* Every parameter of a graph once, in the order of declaration. */
typedef struct param_list {
    context *ctx;
    arena *arena;
    ARRAY(param) params;
} param_list;
param_list *param_list_new(context *ctx); /* NULL when memory is out */
void param_list_free(param_list *list);
const param *param_find(const param_list *list, const char *name);
int64_t param_elements(const param *p);
/* "weight.decay", "weight.no_decay" or "frozen": the flat buffer that the state lies in; with ".16" behind it where
 * it is 16-bit */
const char *param_group(const param *p);
/* Fills `out` (elements of p->shape) as p->init says: a function of (seed, name, index), so order does not matter. */
void param_fill(context *ctx, const param *p, uint64_t seed, float *out);

/* ---- hooks: b->hooks, NULL for none ---- */

/* A product with a weight, before it is made: w (out, in), or (in, out) when `transposed` (GPT-2's Conv1D). */
typedef struct product {
    const char *name; /* of the layer, in the scope: "q_proj" */
    int64_t in, out;
    bool bias, transposed;
} product;

struct build_hooks {
    param_list *params; /* each new parameter is added; NULL: not kept */
    /* Sees each parameter before its state is made, and may change dtype, init, trainable, decay. NULL: as it is. */
    void (*parameter)(const build_hooks *hooks, build *b, param *p);
    /* Makes the product instead of nn_product_plain. NULL: plain. x (N, in) -> (N, out). */
    value *(*product)(const build_hooks *hooks, build *b, const product *p, value *x);
};

/* ---- layers ---- */

enum { NO_BIAS, WITH_BIAS };

value *nn_param(build *b, const char *name, shape s, init how); /* decay: rank > 1; trainable */
value *nn_param_with(build *b, param p);                        /* p.name in the scope */
/* A value in the dtype that the graph computes in (ingot_build.compute): the precision policy is this and nn_param_with.
 * Products, and all that stands between them, take and give that dtype; gains, biases, statistics, losses, masters,
 * gradients and moments are float32. */
value *nn_computed(build *b, value *v);

value *nn_linear(build *b, const char *name, value *x, int64_t out, int bias); /* name.weight (out, in), name.bias */
value *nn_conv1d(build *b, const char *name, value *x, int64_t out, int bias); /* name.weight (in, out), name.bias */
/* What hooks are made of: the product as it is without any, and its weight alone. */
value *nn_product_plain(build *b, const product *p, value *x);
value *nn_product_weight(build *b, const product *p);
value *nn_embedding(build *b, const char *name, value *ids, int64_t entries, int64_t dim); /* (N) -> (N, dim) */
value *nn_rms_norm(build *b, const char *name, value *x, double eps);                      /* name.weight (C) */
value *nn_layer_norm(build *b, const char *name, value *x, double eps); /* name.weight (C), name.bias (C) */
/* What stands between the two products of an MLP; the names of transformers' ACT2FN. */
typedef enum activation { GELU_TANH, GELU_ERF, RELU, SILU } activation;
value *nn_activation(build *b, activation a, value *x);
/* x (B, height, width, in) -> (B, height', width', out); name.weight, name.bias. Padding keeps the size at stride 1. */
value *nn_conv2d(build *b, const char *name, value *x, int64_t out, int64_t kernel, int64_t stride, int bias);

/* ---- rows ---- */

/* What the N rows of a graph are: B sequences of T tokens in training and evaluation, or, in inference, N tokens of any
 * sequences whose keys and values lie in pages. Row vectors are int32 (N). */
typedef struct rows {
    int64_t count;   /* N */
    value *tokens;   /* (N) */
    value *position; /* (N) of the token in its sequence, from 0 */

    int64_t batch, length; /* training: B, T; N = B*T, sequence after sequence. 0 in inference */
    value *segment_start;  /* (B, T): a token sees its sequence from this index on; NULL: from 0 */
    value *rng;            /* counter of dropout (ingot_dropout); NULL: no dropout */
    double dropout;

    value *targets, *losses; /* targets (N): only the losses (N) are wanted, logits would take too much memory */

    value *sequence;          /* inference: (N) row of block_table; a padding row's is -1 */
    value *slot;              /* (N) where this row's key and value go: page * page_size + offset; -1 for padding */
    value *block_table;       /* (S, P) pages of each sequence, in order */
    int64_t page_size, pages; /* tokens a page, pages in the pool */
    int64_t positions;        /* most that a sequence can have: pages of a row of block_table * page_size */
    value *wanted;            /* (M) rows whose logits are wanted; NULL: all */

    /* Set by the family before each layer: names the cache, states kv.<layer>.k and .v (pages * page_size, K, D). */
    int64_t layer;
} rows;

/* Rotary positions (Su et al. 2021), halves of a head paired as in Hugging Face's files: the table once, then x
 * (N, heads*D) turned by its rows' positions. scaling may be NULL. */
value *nn_rope_table(build *b, int64_t head_dim, double theta, const ingot_rope_scaling *scaling, const rows *r);
value *nn_rope(build *b, value *x, value *table, int64_t heads, const rows *r);
/* Causal attention of q (N, H*D) over k, v (N, K*D) and, in inference, the cache; -> (N, H*D). Scale 1 / sqrt(D). */
value *nn_attention(build *b, value *q, value *k, value *v, const rows *r, int64_t heads, int64_t kv_heads);
value *nn_dropout(build *b, value *x, const rows *r);
value *nn_wanted(build *b, value *x, const rows *r); /* rows whose logits are wanted: (N, C) -> (M, C) */

/* Logits (M, V) of x (M, C): by lm_head.weight or, with `tied`, by that embedding's (a name without scope). Where only the
 * losses are wanted (r->targets) they are left in r->losses, and there are no logits: NULL. */
value *nn_head(build *b, value *x, int64_t entries, const char *tied, rows *r);

/* A layer of a stack: its scope, and a segment that --recompute may compute twice. */
void nn_layer_begin(build *b, const char *format, int64_t index);
void nn_layer_end(build *b);

#endif
