/* LoRA as a hook: targeted products get adapters, and every parameter that is none is frozen. */
#include "nn/lora.h"

#include "ingot/ops.h"

#include <math.h>

double lora_scale(const lora_config *config)
{
    double rank = (double)config->rank;
    return config->alpha / (config->rank_stabilized ? sqrt(rank) : rank);
}

/* "q_proj" and "self_attn.q_proj" are both ends of "model.layers.0.self_attn.q_proj", as PEFT matches them. */
bool lora_targets(const lora_config *config, const char *layer)
{
    size_t length = strlen(layer);
    if (!config->targets[0]) return strcmp(layer, "lm_head") != 0; /* as PEFT's "all-linear" */
    for (int i = 0; i < LORA_MOST_TARGETS && config->targets[i]; i++) {
        size_t end = strlen(config->targets[i]);
        if (end <= length && !strcmp(layer + length - end, config->targets[i]) &&
            (end == length || layer[length - end - 1] == '.'))
            return true;
    }
    return false;
}

static void freeze(const build_hooks *hooks, build *b, param *p)
{
    (void)hooks, (void)b;
    if (!p->adapter) p->trainable = false;
}

static value *adapter(build *b, const char *layer, const char *which, int64_t rows, int64_t columns, init how)
{
    const char *name = arena_printf(b->arena, "%s.%s.weight", layer, which);
    if (!name) return build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
    return nn_computed(b, nn_param_with(b, (param){.name = name,
                                                   .dtype = INGOT_F32,
                                                   .shape = INGOT_SHAPE(rows, columns),
                                                   .init = how,
                                                   .trainable = true,
                                                   .decay = true,
                                                   .adapter = true}));
}

/* Where the fused op cannot say it: a bias, GPT-2's layout, dropout before the adapters. */
static value *product_in_parts(build *b, const lora_hooks *h, const product *p, value *x, value *A, value *B)
{
    const lora_config *c = h->config;
    value *input = h->rng && c->dropout > 0 ? ingot_dropout(b, x, h->rng, c->dropout, b->streams++) : x;
    value *delta = ingot_linear(b, ingot_linear(b, input, A, NULL), B, NULL);
    return ingot_add(b, nn_product_plain(b, p, x), ingot_mul_scalar(b, delta, lora_scale(c)));
}

static value *product_with_adapters(const build_hooks *hooks, build *b, const product *p, value *x)
{
    const lora_hooks *h = (const lora_hooks *)hooks;
    const lora_config *c = h->config;
    const char *layer = build_scoped(b, p->name);
    if (!layer || !lora_targets(c, layer)) return nn_product_plain(b, p, x);
    /* Kaiming-uniform with a = sqrt(5), as torch.nn.Linear and PEFT: bound sqrt(6 / ((1 + a^2) in)). */
    value *A = adapter(b, p->name, "lora_A", c->rank, p->in, (init){INIT_UNIFORM, 1 / sqrt((double)p->in)});
    value *B = adapter(b, p->name, "lora_B", p->out, c->rank, (init){INIT_ZEROS});
    if (p->bias || p->transposed || (h->rng && c->dropout > 0)) return product_in_parts(b, h, p, x, A, B);
    value *w = nn_product_weight(b, p);
    return ingot_lora_linear(b, x, w, A, B, lora_scale(c));
}

lora_hooks lora_hooks_of(const lora_config *config, param_list *params, value *rng)
{
    return (lora_hooks){
        .hooks = {.params = params, .parameter = freeze, .product = product_with_adapters},
        .config = config,
        .rng = rng,
    };
}
