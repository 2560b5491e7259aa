/* A small model of each family through the tester: every parameter's gradient, the loss, the logits. */
#include "check/check.h"
#include "ingot/model.h"

typedef struct model_case {
    const char *name;
    ingot_model_options options;
    int64_t lora_rank;
    bool segments;
} model_case;

#define SMALL .vocab_size = 37, .layers = 2, .heads = 3, .dim = 24, .ffn_dim = 40, .context = 16

static const model_case cases[] = {
    {"model llama", {.family = "llama", SMALL, .kv_heads = 1}, .segments = true},
    {"model llama tied", {.family = "llama", SMALL, .kv_heads = 3, .tied = INGOT_YES}},
    {"model gpt2", {.family = "gpt2", SMALL}, .segments = true},
    {"model gpt2 post-norm", {.family = "gpt2", SMALL, .post_norm = INGOT_YES, .sinusoidal = INGOT_YES}},
    {"model llama + LoRA", {.family = "llama", SMALL, .kv_heads = 1}, .lora_rank = 2},
    {"model convnet", {.family = "convnet"}},
};

enum { BATCH = 2, LENGTH = 7, PICTURES = 2 };

typedef struct model_user {
    const model_case *of;
    const ingot_model *model;
} model_user;

static void build_model(check_graph *g, const void *user)
{
    const model_user *u = user;
    build *b = check_builder(g);
    bool pictures = ingot_model_describe(u->model).image > 0;
    ingot_training_options o = {.batch = pictures ? PICTURES : BATCH,
                                .length = pictures ? 0 : LENGTH,
                                .segments = u->of->segments,
                                .logits = 1,
                                .dropout = 0};
    ingot_training t = ingot_model_training(u->model, b, &o);
    check_output(g, "loss", t.loss);
    check_side_output(g, "logits", t.logits);
}

/* Segments that begin at 0 attend over the whole row; those of the sample begin anywhere before their end. */
static check_fill fill(const void *user, const value *port)
{
    const model_user *u = user;
    ingot_model_info info = ingot_model_describe(u->model);
    if (value_is_state(port)) {
        bool trainable = true;
        for (int64_t i = 0; i < info.tensors; i++) {
            ingot_parameter p = ingot_model_parameter(u->model, i);
            if (!strcmp(p.name, port->name)) trainable = p.trainable;
        }
        return (check_fill){.scale = info.image ? 0.05 : 0.3, .constant = !trainable};
    }
    if (!strcmp(port->name, "segment_start")) return (check_fill){.below = 1};
    if (!strcmp(port->name, "positions")) return (check_fill){.below = LENGTH};
    if (!strcmp(port->name, "images")) return (check_fill){.constant = true};
    return (check_fill){.below = info.image ? info.classes : info.vocab_size, .constant = true};
}

static status check_model(context *ctx, const check_options *o, const model_case *c, check_report *out)
{
    ingot_model *m;
    TRY(ingot_model_new(ctx, &c->options, &m));
    status s = INGOT_OK;
    if (c->lora_rank) s = ingot_model_add_lora(m, &(ingot_lora_options){.rank = c->lora_rank});
    model_user user = {c, m};
    check_subject subject = {.name = c->name,
                             .build = build_model,
                             .fill = fill,
                             .user = &user,
                             .differentiable = true,
                             .deep = true,
                             .warns = true};
    if (!s) s = check_subject_run(ctx, o, &subject, out);
    ingot_model_free(m);
    return s;
}

status check_models(context *ctx, const check_options *o, check_report *out)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        progress(ctx, cases[i].name, (double)i, (double)COUNT(cases), "models");
        TRY(check_model(ctx, o, &cases[i], out));
    }
    return INGOT_OK;
}
