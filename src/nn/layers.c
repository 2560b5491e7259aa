/* Linears, embeddings, norms. */
#include "nn/nn.h"

#include "ingot/ops.h"

#include <stdio.h>

#define INITIAL_STD 0.02 /* of matrices; families with another say so in their `init` */

/* "q_proj" and "weight": "q_proj.weight", in the builder's arena. */
static const char *member(build *b, const char *layer, const char *name)
{
    const char *joined = b->status ? NULL : arena_printf(b->arena, "%s.%s", layer, name);
    return joined ? joined : build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
}

static value *parameter(build *b, const char *layer, const char *name, shape s, init how)
{
    const char *joined = member(b, layer, name);
    return joined ? nn_param(b, joined, s, how) : NULL;
}

value *nn_product_weight(build *b, const product *p)
{
    const char *name = member(b, p->name, "weight");
    if (!name) return NULL;
    const param w = {.name = name,
                     .dtype = INGOT_F32,
                     .shape = p->transposed ? INGOT_SHAPE(p->in, p->out) : INGOT_SHAPE(p->out, p->in),
                     .init = {INIT_NORMAL, INITIAL_STD},
                     .trainable = true,
                     .decay = true,
                     .in_out = p->transposed,
                     .product = true};
    return nn_computed(b, nn_param_with(b, w));
}

value *nn_product_plain(build *b, const product *p, value *x)
{
    value *w = nn_product_weight(b, p);
    value *bias = p->bias ? parameter(b, p->name, "bias", INGOT_SHAPE(p->out), (init){INIT_ZEROS}) : NULL;
    return ingot_linear_with(b, x, w, bias, p->transposed);
}

static value *make_product(build *b, const product *p, value *x)
{
    x = nn_computed(b, x);
    if (!x || b->status) return NULL;
    if (b->hooks && b->hooks->product) return b->hooks->product(b->hooks, b, p, x);
    return nn_product_plain(b, p, x);
}

static int64_t last_dim(const value *x)
{
    return x && x->shape.rank ? x->shape.dim[x->shape.rank - 1] : 1;
}

value *nn_linear(build *b, const char *name, value *x, int64_t out, int bias)
{
    return make_product(b, &(product){.name = name, .in = last_dim(x), .out = out, .bias = bias}, x);
}

value *nn_conv1d(build *b, const char *name, value *x, int64_t out, int bias)
{
    return make_product(b, &(product){.name = name, .in = last_dim(x), .out = out, .bias = bias, .transposed = true},
                        x);
}

value *nn_embedding(build *b, const char *name, value *ids, int64_t entries, int64_t dim)
{
    value *table = parameter(b, name, "weight", INGOT_SHAPE(entries, dim), (init){INIT_NORMAL, INITIAL_STD});
    return nn_computed(b, ingot_gather(b, table, ids)); /* in this order, so that its gradient adds up in float32 */
}

value *nn_head(build *b, value *x, int64_t entries, const char *tied, rows *r)
{
    if (!tied && !r->targets) return nn_linear(b, "lm_head", x, entries, NO_BIAS);
    value *w = parameter(b, tied ? tied : "lm_head", "weight", INGOT_SHAPE(entries, last_dim(x)),
                         (init){INIT_NORMAL, INITIAL_STD});
    w = nn_computed(b, w);
    if (!r->targets) return ingot_linear(b, x, w, NULL);
    r->losses = ingot_linear_cross_entropy(b, x, w, r->targets);
    return NULL;
}

value *nn_rms_norm(build *b, const char *name, value *x, double eps)
{
    return ingot_rms_norm(b, x, parameter(b, name, "weight", INGOT_SHAPE(last_dim(x)), (init){INIT_ONES}), eps);
}

value *nn_layer_norm(build *b, const char *name, value *x, double eps)
{
    value *w = parameter(b, name, "weight", INGOT_SHAPE(last_dim(x)), (init){INIT_ONES});
    value *bias = parameter(b, name, "bias", INGOT_SHAPE(last_dim(x)), (init){INIT_ZEROS});
    return ingot_layer_norm(b, x, w, bias, eps);
}

value *nn_activation(build *b, activation a, value *x)
{
    switch (a) {
    case GELU_TANH: return ingot_gelu(b, x);
    case GELU_ERF: return ingot_gelu_erf(b, x);
    case RELU: return ingot_relu(b, x);
    case SILU: return ingot_silu(b, x);
    }
    return build_fail(b, INGOT_ERROR_INTERNAL, "activation %d is none", (int)a);
}

void nn_layer_begin(build *b, const char *format, int64_t index)
{
    char name[64];
    snprintf(name, sizeof name, format, (int)index);
    ingot_scope_begin(b, "%s", name);
    ingot_recompute_begin(b);
}

void nn_layer_end(build *b)
{
    ingot_recompute_end(b);
    ingot_scope_end(b);
}
