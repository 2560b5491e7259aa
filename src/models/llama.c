/* Llama (Touvron et al. 2023), grouped queries (Ainslie et al. 2023). SmolLM2 and Llama 3 are this family.
 *
 * N rows, C dim, H heads, K kv heads, D head dim, F ffn dim, V vocabulary.
 */
#include "models/model.h"

#include "ingot/ops.h"

static value *attention(build *b, const config *c, value *x, value *table, const rows *r) /* x (N, C) */
{
    int bias = c->attention_bias;
    value *q = nn_linear(b, "q_proj", x, c->heads * c->head_dim, bias);    /* (N, H*D) */
    value *k = nn_linear(b, "k_proj", x, c->kv_heads * c->head_dim, bias); /* (N, K*D) */
    value *v = nn_linear(b, "v_proj", x, c->kv_heads * c->head_dim, bias);
    q = nn_rope(b, q, table, c->heads, r);
    k = nn_rope(b, k, table, c->kv_heads, r);
    value *a = nn_attention(b, q, k, v, r, c->heads, c->kv_heads);
    return nn_linear(b, "o_proj", a, c->dim, bias);
}

static value *mlp(build *b, const config *c, value *x) /* x (N, C) */
{
    value *gate = nn_linear(b, "gate_proj", x, c->ffn_dim, c->mlp_bias); /* (N, F) */
    value *up = nn_linear(b, "up_proj", x, c->ffn_dim, c->mlp_bias);
    return nn_linear(b, "down_proj", ingot_swiglu(b, gate, up), c->dim, c->mlp_bias);
}

static value *block(build *b, const config *c, value *x, value *table, const rows *r) /* x (N, C) */
{
    value *h = nn_rms_norm(b, "input_layernorm", x, c->norm_eps);
    ingot_scope_begin(b, "self_attn");
    h = attention(b, c, h, table, r);
    ingot_scope_end(b);
    x = ingot_add(b, x, nn_dropout(b, h, r));

    h = nn_rms_norm(b, "post_attention_layernorm", x, c->norm_eps);
    ingot_scope_begin(b, "mlp");
    h = mlp(b, c, h);
    ingot_scope_end(b);
    return ingot_add(b, x, nn_dropout(b, h, r));
}

static value *llama_build(build *b, const config *c, rows *r) /* -> logits (M, V) */
{
    value *table = nn_rope_table(b, c->head_dim, c->rope_theta, c->scaled ? &c->scaling : NULL, r); /* (T, D) */
    ingot_scope_begin(b, "model");
    value *x = nn_dropout(b, nn_embedding(b, "embed_tokens", r->tokens, c->vocab_size, c->dim), r); /* (N, C) */
    for (r->layer = 0; r->layer < c->layers; r->layer++) {
        nn_layer_begin(b, "layers.%d", r->layer);
        x = block(b, c, x, table, r);
        nn_layer_end(b);
    }
    x = nn_rms_norm(b, "norm", nn_wanted(b, x, r), c->norm_eps);
    ingot_scope_end(b);
    return nn_head(b, x, c->vocab_size, c->tied ? "model.embed_tokens" : NULL, r);
}

static status finish(context *ctx, config *c)
{
    if (!c->ffn_dim) c->ffn_dim = (c->dim * 8 / 3 + 31) / 32 * 32; /* as many parameters as GPT-2's 4 C */
    TRY(config_finish_heads(ctx, c));
    if (c->head_dim % 2)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "head-dim %lld is odd; rotary positions turn pairs",
                          (long long)c->head_dim);
    if (c->post_norm || c->sinusoidal)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "family llama has no %s; --family gpt2 has it",
                          c->post_norm ? "post-norm" : "sinusoidal positions");
    if (!(c->rope_theta > 0) || (c->scaled && !(c->scaling.factor >= 1 && c->scaling.low_freq_factor > 0 &&
                                                c->scaling.high_freq_factor > c->scaling.low_freq_factor)))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                          "rope theta and its scaling factors must be positive numbers, "
                          "the factor at least 1, high_freq_factor above low_freq_factor");
    return INGOT_OK;
}

/* ---- Hugging Face ---- */

static const config_key keys[] = {
    {"vocab_size", INT_KEY(vocab_size), 32000},
    {"hidden_size", INT_KEY(dim), 4096},
    {"intermediate_size", INT_KEY(ffn_dim), 11008},
    {"num_hidden_layers", INT_KEY(layers), 32},
    {"num_attention_heads", INT_KEY(heads), 32},
    {"num_key_value_heads", INT_KEY(kv_heads), 0},
    {"head_dim", INT_KEY(head_dim), 0},
    {"max_position_embeddings", INT_KEY(context), 2048},
    {"rms_norm_eps", DOUBLE_KEY(norm_eps), 1e-6},
    {"initializer_range", DOUBLE_KEY(init_std), 0.02},
    {"dropout", DOUBLE_KEY(dropout), 0}, /* transformers has none in llama, and does not mind */
    {"tie_word_embeddings", BOOL_KEY(tied), false},
    {"attention_bias", BOOL_KEY(attention_bias), false},
    {"mlp_bias", BOOL_KEY(mlp_bias), false},
};

static void read_scaling(json_fields *f, config *c)
{
    const char *type = field_string_or(f, "rope_type", field_string_or(f, "type", "default"));
    if (f->error || !strcmp(type, "default")) return;
    if (strcmp(type, "llama3")) {
        field_refuse(f, "rope_type", "is \"%s\"; Ingot knows \"default\" and \"llama3\"", type);
        return;
    }
    c->scaled = true;
    c->scaling.factor = field_double(f, "factor");
    c->scaling.low_freq_factor = field_double(f, "low_freq_factor");
    c->scaling.high_freq_factor = field_double(f, "high_freq_factor");
    c->scaling.original_positions = field_int(f, "original_max_position_embeddings", 1, CONFIG_MOST_SIZE);
}

/* transformers 5 has rope_parameters, with theta inside; before it were rope_theta and rope_scaling. */
static void read(json_fields *f, config *c)
{
    c->rope_theta = field_double_or(f, "rope_theta", 10000);
    bool five = field_has(f, "rope_parameters");
    json_fields scaling = json_fields_in(f, five ? "rope_parameters" : "rope_scaling");
    if (scaling.object && !f->error) {
        c->rope_theta = field_double_or(&scaling, "rope_theta", c->rope_theta);
        read_scaling(&scaling, c);
    }
    if (activation_read(f, "hidden_act", SILU) != SILU) field_refuse(f, "hidden_act", "must be \"silu\" in llama");
}

static json_t *scaling_object(const config *c)
{
    if (!c->scaled) return json_pack("{s:s}", "rope_type", "default");
    return json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", c->scaling.factor, "low_freq_factor",
                     c->scaling.low_freq_factor, "high_freq_factor", c->scaling.high_freq_factor,
                     "original_max_position_embeddings", (json_int_t)c->scaling.original_positions);
}

static void write(const config *c, json_t *root)
{
    json_t *parameters = scaling_object(c);
    json_object_set_new(parameters, "rope_theta", json_real(c->rope_theta));
    json_object_set_new(root, "hidden_act", json_string("silu"));
    json_object_set_new(root, "rope_parameters", parameters);
    json_object_set_new(root, "rope_theta", json_real(c->rope_theta));
    json_object_set_new(root, "rope_scaling", c->scaled ? scaling_object(c) : json_null());
}

/* ---- shapes ---- */

#define SHAPE(V, L, H, K, D, C, F, T, theta, eps, tie)                                                                 \
    .vocab_size = (V), .layers = (L), .heads = (H), .kv_heads = (K), .head_dim = (D), .dim = (C), .ffn_dim = (F),      \
    .context = (T), .rope_theta = (theta), .norm_eps = (eps), .tied = (tie), .init_std = 0.02
static const preset presets[] = {
    {"tiny-1m", {SHAPE(1776, 4, 4, 2, 32, 128, 352, 128, 1e4, 1e-5, true)}},
    {"smollm2-135m", {SHAPE(49152, 30, 9, 3, 64, 576, 1536, 8192, 1e5, 1e-5, true)}},
    {"smollm2-360m", {SHAPE(49152, 32, 15, 5, 64, 960, 2560, 8192, 1e5, 1e-5, true)}},
    {"smollm2-1.7b", {SHAPE(49152, 24, 32, 32, 64, 2048, 8192, 8192, 1.3e5, 1e-5, true)}},
    {"llama-1b",
     {SHAPE(128256, 16, 32, 8, 64, 2048, 8192, 131072, 5e5, 1e-5, true), .scaled = true,
      .scaling = {32, 1, 4, 8192}}}, /* Llama 3.2 1B */
    {0},
};
static const config defaults = {SHAPE(1776, 4, 4, 2, 32, 128, 352, 128, 1e4, 1e-5, false)};

static const char *const ignored[] = {"rotary_emb.inv_freq", NULL};

const model_family model_llama = {
    .name = "llama",
    .model_type = "llama",
    .own_type = "ingot_llama",
    .hf_class = "LlamaForCausalLM",
    .defaults = &defaults,
    .presets = presets,
    .keys = keys,
    .key_count = COUNT(keys),
    .read = read,
    .write = write,
    .finish = finish,
    .build = llama_build,
    .ignored = ignored,
    .rotary = true,
};
