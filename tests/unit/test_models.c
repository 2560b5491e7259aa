/* Shapes, presets, initial values, names and files of models; what is refused, and in which words. */
#include "context.h"
#include "base/file.h"
#include "models/model.h"

#include <math.h>
#include <stdio.h>

static ingot_model_info info_of(ingot_model_options o)
{
    ingot_model *m;
    OK(ingot_model_new(ctx, &o, &m));
    ingot_model_info info = ingot_model_describe(m);
    ingot_model_free(m);
    return info;
}

/* Counts that the papers and model cards give. */
static void test_presets(void **state)
{
    (void)state;
    static const struct {
        const char *preset;
        int64_t parameters;
    } known[] = {{"tiny-1m", 965760},          {"gpt2-124m", 124439808},    {"gpt2-350m", 354823168},
                 {"gpt2-1558m", 1557611200},   {"smollm2-135m", 134515008}, {"smollm2-360m", 361821120},
                 {"smollm2-1.7b", 1711376384}, {"llama-1b", 1235814400}};
    for (size_t i = 0; i < COUNT(known); i++) {
        int64_t parameters = info_of((ingot_model_options){.preset = known[i].preset}).parameters;
        if (parameters != known[i].parameters)
            fail_msg("%s has %lld parameters", known[i].preset, (long long)parameters);
    }
    assert_int_equal(info_of((ingot_model_options){.preset = "tiny-1m", .tied = INGOT_NO}).parameters,
                     965760 + 1776 * 128);
}

static void test_shapes(void **state)
{
    (void)state;
    ingot_model_info i = info_of((ingot_model_options){.family = "llama",
                                                       .layers = 4,
                                                       .heads = 4,
                                                       .kv_heads = 2,
                                                       .dim = 128,
                                                       .ffn_dim = 352,
                                                       .context = 128,
                                                       .vocab_size = 1776});
    assert_int_equal(i.parameters, 965760 + 1776 * 128); /* untied, as Hugging Face has llama */
    assert_string_equal(i.model_type, "llama");
    i = info_of((ingot_model_options){.family = "gpt2", .heads = 3, .dim = 48});
    assert_int_equal(i.ffn_dim, 192);
    assert_int_equal(i.kv_heads, 3);
    assert_true(i.tied && !i.rotary);
    assert_string_equal(info_of((ingot_model_options){.family = "gpt2", .post_norm = INGOT_YES}).model_type,
                        "ingot_gpt2");
    assert_string_equal(info_of((ingot_model_options){.family = "gpt2", .bias = INGOT_NO}).model_type, "ingot_gpt2");
    i = info_of((ingot_model_options){.family = "convnet"});
    assert_int_equal(i.parameters, (27 + 1) * 32 + (288 + 1) * 64 + (576 + 1) * 128 + (128 * 16 + 1) * 10);
    assert_string_equal(i.model_type, "ingot_convnet");
    i = info_of((ingot_model_options){.family = "gpt2", .sinusoidal = INGOT_YES});
    assert_string_equal(i.model_type, "gpt2");
    assert_int_equal(i.parameters - i.trainable, 128 * 128);
}

static void refused(ingot_model_options o, const char *words)
{
    ingot_model *m;
    assert_int_not_equal(ingot_model_new(ctx, &o, &m), INGOT_OK);
    assert_null(m);
    if (!strstr(ingot_message(ctx), words)) fail_msg("\"%s\" does not say \"%s\"", ingot_message(ctx), words);
}

static void test_refused(void **state)
{
    (void)state;
    refused((ingot_model_options){.preset = "tiny-2m"}, "did you mean tiny-1m");
    refused((ingot_model_options){.family = "lama"}, "did you mean llama");
    refused((ingot_model_options){.preset = "tiny-1m", .family = "gpt2"}, "is of family llama");
    refused((ingot_model_options){.heads = 5}, "does not divide into 5 heads");
    refused((ingot_model_options){.heads = 4, .kv_heads = 3}, "do not divide among 3 kv-heads");
    refused((ingot_model_options){.family = "gpt2", .heads = 4, .kv_heads = 2}, "no grouped queries");
    refused((ingot_model_options){.head_dim = 33}, "odd");
    refused((ingot_model_options){.post_norm = INGOT_YES}, "--family gpt2");
    refused((ingot_model_options){.family = "convnet", .heads = 2}, "neither vocabulary nor heads");
    refused((ingot_model_options){.family = "convnet", .layers = 6}, "too often");
    refused((ingot_model_options){.layers = -1}, "layers is -1");
    refused((ingot_model_options){.dim = INT64_MAX}, "dim is");
    refused((ingot_model_options){.dropout = 1}, "dropout is 1");
    refused((ingot_model_options){.norm_eps = -1}, "epsilon");
}

/* A draw depends on seed and name alone; its moments are those asked for. */
static void test_fill(void **state)
{
    (void)state;
    enum { N = 20001 };
    static float one[N], again[N], other[N];
    param p = {.name = "a.weight", .shape = INGOT_SHAPE(N), .init = {INIT_NORMAL, 0.02}};
    param_fill(ctx, &p, 1, one);
    param_fill(ctx, &p, 1, again);
    assert_memory_equal(one, again, sizeof one);
    double sum = 0, squares = 0, dot = 0;
    param_fill(ctx, &(param){.name = "b.weight", .shape = p.shape, .init = p.init}, 1, other);
    for (int i = 0; i < N; i++) sum += one[i], squares += one[i] * one[i], dot += one[i] * other[i];
    assert_float_equal(sum / N, 0, 6e-4);
    assert_float_equal(sqrt(squares / N), 0.02, 5e-4);
    assert_float_equal(dot / squares, 0, 0.03);
    param_fill(ctx, &p, 2, other);
    assert_memory_not_equal(one, other, sizeof one);
    p.init = (init){INIT_UNIFORM, 0.5};
    param_fill(ctx, &p, 1, one);
    float low = 1, high = -1;
    for (int i = 0; i < N; i++) low = fminf(low, one[i]), high = fmaxf(high, one[i]);
    assert_true(low >= -0.5f && low < -0.499f && high < 0.5f && high > 0.499f);
    param pe = {.name = "wpe.weight", .shape = INGOT_SHAPE(3, 4), .init = {INIT_SINUSOID}};
    param_fill(ctx, &pe, 1, one);
    assert_float_equal(one[0], 0, 0);
    assert_float_equal(one[1], 1, 0);
    assert_float_equal(one[8], sin(2), 1e-7);
    assert_float_equal(one[11], cos(2 * 0.01), 1e-7);
}

/* GPT-2's products that add to the residual stream begin smaller. */
static void test_gpt2_init(void **state)
{
    (void)state;
    ingot_model *m;
    OK(ingot_model_new(ctx, &(ingot_model_options){.family = "gpt2", .layers = 8}, &m));
    assert_float_equal(param_find(m->params, "transformer.h.3.mlp.c_fc.weight")->init.scale, 0.02, 1e-12);
    assert_float_equal(param_find(m->params, "transformer.h.3.mlp.c_proj.weight")->init.scale, 0.005, 1e-12);
    assert_false(param_find(m->params, "transformer.h.3.ln_1.weight")->decay);
    assert_null(param_find(m->params, "lm_head.weight"));
    ingot_model_free(m);
    OK(ingot_model_new(ctx, &(ingot_model_options){.family = "llama", .init_std = 0.1}, &m));
    assert_float_equal(param_find(m->params, "model.embed_tokens.weight")->init.scale, 0.1, 1e-12);
    assert_int_equal(param_find(m->params, "model.norm.weight")->init.kind, INIT_ONES);
    ingot_model_free(m);
}

static const param *lora_param(ingot_model *m, const char *name)
{
    const param *p = param_find(m->params, name);
    if (!p) fail_msg("there is no %s", name);
    return p;
}

static void test_lora_params(void **state)
{
    (void)state;
    ingot_model *m;
    const char *targets[] = {"q_proj", "mlp.down_proj", NULL};
    OK(ingot_model_new(ctx, &(ingot_model_options){.preset = "tiny-1m"}, &m));
    OK(ingot_model_add_lora(m, &(ingot_lora_options){.rank = 3, .targets = targets}));
    const param *a = lora_param(m, "model.layers.2.self_attn.q_proj.lora_A.weight");
    assert_true(a->trainable && a->adapter && a->shape.dim[0] == 3 && a->shape.dim[1] == 128);
    assert_float_equal(a->init.scale, sqrt(6.0 / (6 * 128)), 1e-12);
    assert_int_equal(lora_param(m, "model.layers.0.mlp.down_proj.lora_B.weight")->init.kind, INIT_ZEROS);
    assert_null(param_find(m->params, "model.layers.0.self_attn.k_proj.lora_A.weight"));
    assert_string_equal(param_group(lora_param(m, "model.norm.weight")), "frozen");
    assert_int_equal(ingot_model_describe(m).trainable, 4 * (3 * (128 + 128) + 3 * (352 + 128)));
    assert_int_not_equal(ingot_model_add_lora(m, &(ingot_lora_options){.rank = 3}), INGOT_OK);
    ingot_model_free(m);
}

/* ---- config.json ---- */

#define LLAMA_BASE                                                                                                     \
    "\"model_type\": \"llama\", \"hidden_size\": 64, \"num_attention_heads\": 4, \"intermediate_size\": 96, "          \
    "\"num_hidden_layers\": 2, \"vocab_size\": 100"

static status read_config(const char *json, const char *generation, config *c)
{
    OK(directory_create(ctx, "model_config"));
    OK(file_write_whole(ctx, "model_config/config.json", json, strlen(json)));
    if (generation) OK(file_write_whole(ctx, "model_config/generation_config.json", generation, strlen(generation)));
    status s = config_read(ctx, "model_config", c);
    OK(directory_remove(ctx, "model_config"));
    return s;
}

static void test_config(void **state)
{
    (void)state;
    config c;
    OK(read_config("{" LLAMA_BASE "}", NULL, &c));
    assert_true(!c.tied && !c.attention_bias && !c.scaled); /* Hugging Face's defaults */
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.head_dim, 16);
    assert_float_equal(c.rope_theta, 10000, 0);
    assert_float_equal(c.norm_eps, 1e-6, 0);
    assert_int_equal(c.eos_count, 0);

    OK(read_config("{" LLAMA_BASE ", \"rope_theta\": 5e5, \"eos_token_id\": 7, \"bos_token_id\": 3, "
                   "\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
                   "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 32}}",
                   "{\"eos_token_id\": [7, 9]}", &c));
    assert_true(c.scaled && c.scaling.original_positions == 32);
    assert_float_equal(c.rope_theta, 5e5, 0);
    assert_true(c.eos_count == 2 && c.eos[1] == 9 && c.bos == 3);

    OK(read_config("{" LLAMA_BASE ", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 123.0}}", NULL,
                   &c));
    assert_float_equal(c.rope_theta, 123, 0);

    OK(read_config("{\"model_type\": \"gpt2\", \"n_embd\": 48, \"n_head\": 3, \"n_inner\": null}", NULL, &c));
    assert_true(c.tied && c.ffn_dim == 192 && c.layers == 12 && c.context == 1024);
}

static void config_refused(const char *json, const char *words)
{
    config c;
    assert_int_not_equal(read_config(json, NULL, &c), INGOT_OK);
    if (!strstr(ingot_message(ctx), words)) fail_msg("\"%s\" does not say \"%s\"", ingot_message(ctx), words);
}

static void test_config_refused(void **state)
{
    (void)state;
    config_refused("{\"model_type\": \"mamba\"}", "Ingot knows llama, gpt2");
    config_refused("{}", "model_type is missing");
    config_refused("[]", "an object");
    config_refused("{" LLAMA_BASE ", \"num_key_value_heads\": 3}", "kv-heads");
    config_refused("{" LLAMA_BASE ", \"num_key_value_heads\": -1}", "num_key_value_heads");
    config_refused("{" LLAMA_BASE ", \"head_dim\": 1e30}", "head_dim");
    config_refused("{" LLAMA_BASE ", \"rms_norm_eps\": 0}", "epsilon");
    config_refused("{" LLAMA_BASE ", \"hidden_act\": \"gelu\"}", "hidden_act must be");
    config_refused("{" LLAMA_BASE ", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}}",
                   "rope_scaling.rope_type is \"yarn\"");
    config_refused("{" LLAMA_BASE ", \"eos_token_id\": \"x\"}", "eos_token_id");
    config_refused("{\"model_type\": \"gpt2\", \"scale_attn_by_inverse_layer_idx\": true}",
                   "scale_attn_by_inverse_layer_idx");
}

static status write_config(const ingot_model *m)
{
    return config_write(ctx, "model_round", &m->config, INGOT_F32);
}

/* What is written is read as it was. */
static void test_config_round_trip(void **state)
{
    (void)state;
    const int32_t eos[] = {0, 5};
    const ingot_model_options made[] = {
        {.preset = "llama-1b", .eos_tokens = eos, .eos_count = 2},
        {.family = "llama", .bias = INGOT_YES, .head_dim = 40, .heads = 6, .kv_heads = 3, .dropout = 0.1},
        {.family = "gpt2", .post_norm = INGOT_YES, .bias = INGOT_NO, .sinusoidal = INGOT_YES, .dropout = 0.25},
        {.family = "convnet", .dim = 8, .layers = 2, .classes = 7, .dropout = 0.5},
        {.family = "gpt2", .tied = INGOT_NO, .ffn_dim = 100, .eos_tokens = eos, .eos_count = 1},
    };
    OK(directory_create(ctx, "model_round"));
    for (size_t i = 0; i < COUNT(made); i++) {
        ingot_model *m;
        config c;
        OK(ingot_model_new(ctx, &made[i], &m));
        OK(write_config(m));
        OK(config_read(ctx, "model_round", &c));
        if (memcmp(&c, &m->config, sizeof c)) fail_msg("configuration %d comes back changed", (int)i);
        ingot_model_free(m);
    }
    OK(directory_remove(ctx, "model_round"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets), cmocka_unit_test(test_shapes),         cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fill),    cmocka_unit_test(test_gpt2_init),      cmocka_unit_test(test_lora_params),
        cmocka_unit_test(test_config),  cmocka_unit_test(test_config_refused), cmocka_unit_test(test_config_round_trip),
    };
    return cmocka_run_group_tests(tests, context_open, context_close);
}
