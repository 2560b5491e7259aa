/* GPT-2 (Radford et al. 2019). By flag: positions that are fixed sinusoids and norms after the sum (both Vaswani et al.
 * 2017), no biases, a head of its own.
 *
 * N rows, C dim, H heads, D head dim, F ffn dim, V vocabulary, T positions.
 */
#include "models/model.h"

#include "ingot/ops.h"

#include <math.h>

static value *attention(build *b, const config *c, value *x, const rows *r) /* x (N, C) */
{
    value *qkv = nn_conv1d(b, "c_attn", x, 3 * c->dim, c->attention_bias); /* (N, 3*C) */
    value *q = ingot_slice(b, qkv, 1, 0, c->dim);
    value *k = ingot_slice(b, qkv, 1, c->dim, c->dim);
    value *v = ingot_slice(b, qkv, 1, 2 * c->dim, c->dim);
    value *a = nn_attention(b, q, k, v, r, c->heads, c->heads);
    return nn_dropout(b, nn_conv1d(b, "c_proj", a, c->dim, c->attention_bias), r);
}

static value *mlp(build *b, const config *c, value *x, const rows *r) /* x (N, C) */
{
    value *h = nn_conv1d(b, "c_fc", x, c->ffn_dim, c->mlp_bias); /* (N, F) */
    h = nn_activation(b, c->activation, h);
    return nn_dropout(b, nn_conv1d(b, "c_proj", h, c->dim, c->mlp_bias), r);
}

static value *branch(build *b, const config *c, value *x, const rows *r, bool attends)
{
    ingot_scope_begin(b, attends ? "attn" : "mlp");
    x = attends ? attention(b, c, x, r) : mlp(b, c, x, r);
    ingot_scope_end(b);
    return x;
}

static value *block(build *b, const config *c, value *x, const rows *r) /* x (N, C) */
{
    for (int half = 0; half < 2; half++) {
        const char *norm = half ? "ln_2" : "ln_1";
        value *h = c->post_norm ? x : nn_layer_norm(b, norm, x, c->norm_eps);
        x = ingot_add(b, x, branch(b, c, h, r, !half));
        if (c->post_norm) x = nn_layer_norm(b, norm, x, c->norm_eps);
    }
    return x;
}

static value *positions(build *b, const config *c) /* (T, C) */
{
    param p = {.name = "wpe.weight",
               .dtype = INGOT_F32,
               .shape = INGOT_SHAPE(c->context, c->dim),
               .init = {c->sinusoidal ? INIT_SINUSOID : INIT_NORMAL, c->init_std},
               .trainable = !c->sinusoidal,
               .decay = !c->sinusoidal};
    return nn_param_with(b, p);
}

static value *gpt2_build(build *b, const config *c, rows *r) /* -> logits (M, V) */
{
    if (r->length > c->context)
        return build_fail(b, INGOT_ERROR_ARGUMENT,
                          "%lld tokens a row are more than the %lld positions of this model (gpt2, learned positions). "
                          "Use --context %lld or less, or train a family with rotary positions (--family llama)",
                          (long long)r->length, (long long)c->context, (long long)c->context);
    ingot_scope_begin(b, "transformer");
    value *x = nn_embedding(b, "wte", r->tokens, c->vocab_size, c->dim); /* (N, C) */
    x = ingot_add(b, x, ingot_gather(b, positions(b, c), r->position));
    x = nn_dropout(b, x, r);
    for (r->layer = 0; r->layer < c->layers; r->layer++) {
        nn_layer_begin(b, "h.%d", r->layer);
        x = block(b, c, x, r);
        nn_layer_end(b);
    }
    x = nn_wanted(b, x, r);
    if (!c->post_norm) x = nn_layer_norm(b, "ln_f", x, c->norm_eps);
    ingot_scope_end(b);
    return nn_head(b, x, c->vocab_size, c->tied ? "transformer.wte" : NULL, r);
}

static status finish(context *ctx, config *c)
{
    if (!c->ffn_dim) c->ffn_dim = 4 * c->dim;
    TRY(config_finish_heads(ctx, c));
    if (c->kv_heads != c->heads)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                          "gpt2 has no grouped queries: kv-heads %lld of heads %lld; "
                          "leave kv-heads out, or --family llama",
                          (long long)c->kv_heads, (long long)c->heads);
    if (c->heads * c->head_dim != c->dim)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "gpt2's heads fill its dim: %lld heads of %lld are not %lld",
                          (long long)c->heads, (long long)c->head_dim, (long long)c->dim);
    return INGOT_OK;
}

/* Each layer adds twice to the residual stream: those products begin smaller, so that the sum's variance does not grow
 * with depth. */
static void init_of(const config *c, param *p)
{
    const char *end = strstr(p->name, "c_proj.weight");
    if (end && p->init.kind == INIT_NORMAL) p->init.scale = c->init_std / sqrt(2.0 * (double)c->layers);
}

/* ---- Hugging Face ---- */

static const config_key keys[] = {
    {"vocab_size", INT_KEY(vocab_size), 50257},
    {"n_positions", INT_KEY(context), 1024},
    {"n_embd", INT_KEY(dim), 768},
    {"n_layer", INT_KEY(layers), 12},
    {"n_head", INT_KEY(heads), 12},
    {"n_inner", INT_KEY(ffn_dim), 0},
    {"layer_norm_epsilon", DOUBLE_KEY(norm_eps), 1e-5},
    {"initializer_range", DOUBLE_KEY(init_std), 0.02},
    {"resid_pdrop", DOUBLE_KEY(dropout), 0.1},
    {"tie_word_embeddings", BOOL_KEY(tied), true},
};

static bool hf_can(const config *c)
{
    return !c->post_norm && c->attention_bias && c->mlp_bias;
}

/* Keys that transformers does not know, and does not mind, say what its class lacks. */
static void read(json_fields *f, config *c)
{
    c->activation = activation_read(f, "activation_function", GELU_TANH);
    c->attention_bias = c->mlp_bias = field_bool_or(f, "bias", true);
    c->post_norm = field_bool_or(f, "post_norm", false);
    const char *kind = field_string_or(f, "position_embedding", "learned");
    c->sinusoidal = kind && !strcmp(kind, "sinusoidal");
    if (kind && !c->sinusoidal && strcmp(kind, "learned"))
        field_refuse(f, "position_embedding", "is \"%s\"; Ingot knows \"learned\" and \"sinusoidal\"", kind);
    if (!field_bool_or(f, "scale_attn_weights", true)) field_refuse(f, "scale_attn_weights", "must be true");
    if (field_bool_or(f, "scale_attn_by_inverse_layer_idx", false))
        field_refuse(f, "scale_attn_by_inverse_layer_idx", "must be false");
    if (field_bool_or(f, "add_cross_attention", false)) field_refuse(f, "add_cross_attention", "must be false");
}

static void write(const config *c, json_t *root)
{
    json_object_set_new(root, "n_ctx", json_integer(c->context));
    json_object_set_new(root, "activation_function", json_string(activation_name(c->activation)));
    json_object_set_new(root, "embd_pdrop", json_real(c->dropout));
    json_object_set_new(root, "attn_pdrop", json_real(0));
    if (c->sinusoidal) json_object_set_new(root, "position_embedding", json_string("sinusoidal"));
    if (c->post_norm) json_object_set_new(root, "post_norm", json_true());
    if (!c->attention_bias) json_object_set_new(root, "bias", json_false());
}

/* GPT2LMHeadModel writes "transformer.h.0..", GPT2Model and the files on the hub "h.0..". */
static const char *file_name(const char *name)
{
    return strncmp(name, "transformer.", 12) ? NULL : name + 12;
}

static const char *const ignored[] = {".attn.bias", ".attn.masked_bias", NULL};

/* ---- shapes ---- */

#define SHAPE(V, L, H, C, T)                                                                                           \
    .vocab_size = (V), .layers = (L), .heads = (H), .dim = (C), .context = (T), .norm_eps = 1e-5, .tied = true,        \
    .init_std = 0.02, .attention_bias = true, .mlp_bias = true
static const preset presets[] = {
    {"gpt2-124m", {SHAPE(50257, 12, 12, 768, 1024)}},
    {"gpt2-350m", {SHAPE(50257, 24, 16, 1024, 1024)}},
    {"gpt2-774m", {SHAPE(50257, 36, 20, 1280, 1024)}},
    {"gpt2-1558m", {SHAPE(50257, 48, 25, 1600, 1024)}},
    {0},
};
static const config defaults = {SHAPE(1776, 4, 4, 128, 128)};

const model_family model_gpt2 = {
    .name = "gpt2",
    .model_type = "gpt2",
    .own_type = "ingot_gpt2",
    .hf_class = "GPT2LMHeadModel",
    .defaults = &defaults,
    .presets = presets,
    .keys = keys,
    .key_count = COUNT(keys),
    .read = read,
    .write = write,
    .hf_can = hf_can,
    .finish = finish,
    .init = init_of,
    .build = gpt2_build,
    .file_name = file_name,
    .ignored = ignored,
    .conv1d = true,
};
