/* A small network for pictures: stages of convolution, ReLU and max pooling, then one linear.
 *
 * B pictures of S x S pixels, C channels of the first stage, doubled by each that follows.
 */
#include "models/model.h"

#include "ingot/ops.h"

#include <math.h>
#include <stdio.h>

static value *convnet_build(build *b, const config *c, value *images, const rows *r) /* (B, S, S, 3) -> (B, classes) */
{
    const ingot_window halve = ingot_window_of(2, 2, 0);
    value *x = images;
    for (int64_t i = 0; i < c->layers; i++) {
        nn_layer_begin(b, "features.%d", i);
        x = ingot_relu(b, nn_conv2d(b, "conv", x, c->dim << i, 3, 1, WITH_BIAS));
        x = ingot_max_pool2d(b, x, &halve); /* (B, S / 2^(i+1), the same, C * 2^i) */
        nn_layer_end(b);
    }
    return nn_linear(b, "classifier", nn_dropout(b, ingot_flatten(b, x), r), c->classes, WITH_BIAS);
}

static status finish(context *ctx, config *c)
{
    if (c->vocab_size || c->heads || c->kv_heads || c->head_dim || c->ffn_dim || c->context)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                          "family convnet has neither vocabulary nor heads, ffn-dim or "
                          "context; its shape is layers, dim and classes");
    if (c->layers > 8 || c->image % ((int64_t)1 << c->layers))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                          "%lld stages halve pictures of %lld pixels a side too often; use fewer layers",
                          (long long)c->layers, (long long)c->image);
    if (c->dim << c->layers > CONFIG_MOST_SIZE)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "dim %lld doubled by %lld stages is too large", (long long)c->dim,
                          (long long)c->layers);
    return INGOT_OK;
}

/* Weights that keep the variance through ReLUs (He et al. 2015); the classifier begins near 0, so that the first
 * gradients are small enough for SGD without a warm-up. */
static void init_of(const config *c, param *p)
{
    (void)c;
    if (p->init.kind != INIT_NORMAL) return;
    double fan_in = (double)param_elements(p) / (double)p->shape.dim[0];
    p->init.scale = p->shape.rank == 2 ? 1 / fan_in : sqrt(2 / fan_in);
}

static const config_key keys[] = {
    {"image_size", INT_KEY(image), 32},   {"num_stages", INT_KEY(layers), 3},  {"num_channels", INT_KEY(dim), 32},
    {"num_labels", INT_KEY(classes), 10}, {"dropout", DOUBLE_KEY(dropout), 0},
};

static const config defaults = {.image = 32, .layers = 3, .dim = 32, .classes = 10};
static const preset presets[] = {{0}};

const model_family model_convnet = {
    .name = "convnet",
    .own_type = "ingot_convnet",
    .defaults = &defaults,
    .presets = presets,
    .keys = keys,
    .key_count = COUNT(keys),
    .finish = finish,
    .init = init_of,
    .build_images = convnet_build,
};
