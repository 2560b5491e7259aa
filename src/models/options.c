/* A fresh model's configuration: a family's defaults or a preset, then what the caller asked for. */
#include "models/model.h"

#include <math.h>

static status unknown(context *ctx, const char *what, const char *name, bool presets)
{
    text list = {0};
    const char *names[128];
    size_t count = 0;
    for (const model_family *const *f = model_families; *f; f++) {
        if (!presets) names[count++] = (*f)->name;
        for (const preset *p = presets ? (*f)->presets : NULL; p && p->name && count < COUNT(names); p++)
            names[count++] = p->name;
    }
    for (size_t i = 0; i < count; i++) text_printf(&list, "%s%s", i ? ", " : "", names[i]);
    const char *near = nearest_name(name, names, count);
    status s = ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "there is no %s \"%s\"%s%s%s; there are %s", what, name,
                          near ? " (did you mean " : "", near ? near : "", near ? "?)" : "", list.at ? list.at : "");
    text_free(&list);
    return s;
}

static const preset *find_preset(const char *name, const model_family **family)
{
    for (const model_family *const *f = model_families; *f; f++)
        for (const preset *p = (*f)->presets; p && p->name; p++)
            if (!strcmp(p->name, name)) return *family = *f, p;
    return NULL;
}

static status start(context *ctx, const ingot_model_options *o, config *c)
{
    const model_family *family = NULL;
    if (o->preset) {
        const preset *p = find_preset(o->preset, &family);
        if (!p) return unknown(ctx, "preset", o->preset, true);
        *c = p->config;
        if (o->family && strcmp(o->family, family->name))
            return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "preset %s is of family %s, not %s; leave out the family",
                              p->name, family->name, o->family);
    } else {
        family = family_find(o->family ? o->family : "llama");
        if (!family) return unknown(ctx, "family", o->family, false);
        *c = *family->defaults;
    }
    c->family = family;
    c->bos = -1;
    return INGOT_OK;
}

static void override(int64_t *field, int64_t given)
{
    if (given) *field = given;
}

static void choose(bool *field, ingot_choice given)
{
    if (given != INGOT_AS_FAMILY) *field = given == INGOT_YES;
}

/* What follows from a changed size is derived anew, unless it was given too. */
static void override_shape(config *c, const ingot_model_options *o)
{
    if (o->dim || o->heads) c->head_dim = 0;
    if (o->dim) c->ffn_dim = 0;
    if (o->heads) c->kv_heads = 0;
    override(&c->vocab_size, o->vocab_size);
    override(&c->layers, o->layers);
    override(&c->heads, o->heads);
    override(&c->kv_heads, o->kv_heads);
    override(&c->head_dim, o->head_dim);
    override(&c->dim, o->dim);
    override(&c->ffn_dim, o->ffn_dim);
    override(&c->context, o->context);
    override(&c->classes, o->classes);
    if (c->image) override(&c->image, o->image); /* a family of pictures */
}

static status refuse_negative(context *ctx, const ingot_model_options *o)
{
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {
        {"vocab-size", o->vocab_size}, {"layers", o->layers}, {"heads", o->heads},     {"kv-heads", o->kv_heads},
        {"head-dim", o->head_dim},     {"dim", o->dim},       {"ffn-dim", o->ffn_dim}, {"context", o->context},
        {"classes", o->classes},       {"image", o->image}};
    for (size_t i = 0; i < COUNT(sizes); i++)
        if (sizes[i].value < 0 || sizes[i].value > CONFIG_MOST_SIZE)
            return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%s is %lld; it must be from 1 to %d", sizes[i].name,
                              (long long)sizes[i].value, CONFIG_MOST_SIZE);
    if (!(o->dropout >= 0 && o->dropout < 1))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "dropout is %g; it must be at least 0 and less than 1",
                          o->dropout);
    return INGOT_OK;
}

status config_from_options(context *ctx, const ingot_model_options *o, config *out)
{
    TRY(refuse_negative(ctx, o));
    TRY(start(ctx, o, out));
    override_shape(out, o);
    if (o->rope_theta != 0) out->rope_theta = o->rope_theta;
    if (o->norm_eps != 0) out->norm_eps = o->norm_eps;
    if (o->init_std != 0) out->init_std = o->init_std;
    if (o->dropout != 0) out->dropout = o->dropout;
    choose(&out->tied, o->tied);
    choose(&out->attention_bias, o->bias);
    choose(&out->mlp_bias, o->bias);
    choose(&out->post_norm, o->post_norm);
    choose(&out->sinusoidal, o->sinusoidal);
    if (o->eos_count < 0 || o->eos_count > CONFIG_MOST_EOS)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%d ids that end a text; there can be %d", o->eos_count,
                          CONFIG_MOST_EOS);
    for (int i = 0; i < o->eos_count; i++) out->eos[out->eos_count++] = o->eos_tokens[i];
    if (o->eos_count) out->bos = o->eos_tokens[0];
    return config_finish(ctx, out);
}

static status positive(context *ctx, const char *name, double v)
{
    if (v > 0 && isfinite(v)) return INGOT_OK;
    return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%s is %g; it must be a positive number", name, v);
}

status config_finish(context *ctx, config *c)
{
    if (c->layers > CONFIG_MOST_LAYERS)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%lld layers are more than %d", (long long)c->layers,
                          CONFIG_MOST_LAYERS);
    if (c->family->finish) TRY(c->family->finish(ctx, c));
    if (!c->vocab_size) return INGOT_OK; /* convnet */
    TRY(positive(ctx, "the norms' epsilon", c->norm_eps));
    TRY(positive(ctx, "the standard deviation of fresh weights", c->init_std));
    for (int64_t i = 0; i < c->eos_count; i++)
        if (c->eos[i] >= c->vocab_size)
            log_line(ctx, INGOT_LOG_WARNING, "end-of-text id %d is outside the vocabulary of %lld", c->eos[i],
                     (long long)c->vocab_size);
    return INGOT_OK;
}

/* Heads and widths of a transformer that fit together; derives kv_heads and head_dim. */
status config_finish_heads(context *ctx, config *c)
{
    if (!c->kv_heads) c->kv_heads = c->heads;
    if (!c->head_dim && c->dim % c->heads)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                          "dim %lld does not divide into %lld heads; choose a multiple of the heads, or a head-dim",
                          (long long)c->dim, (long long)c->heads);
    if (!c->head_dim) c->head_dim = c->dim / c->heads;
    if (c->heads * c->head_dim > CONFIG_MOST_SIZE)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%lld heads of %lld are wider than %d", (long long)c->heads,
                          (long long)c->head_dim, CONFIG_MOST_SIZE);
    if (c->heads % c->kv_heads)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%lld heads do not divide among %lld kv-heads",
                          (long long)c->heads, (long long)c->kv_heads);
    return INGOT_OK;
}
