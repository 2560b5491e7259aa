/* Convolution of pictures, NHWC. */
#include "nn/nn.h"

#include <stdio.h>

value *nn_conv2d(build *b, const char *name, value *x, int64_t out, int64_t kernel, int64_t stride, int bias)
{
    if (!x || b->status) return NULL;
    if (x->shape.rank != 4)
        return build_fail(b, INGOT_ERROR_SHAPE, "%s takes pictures (B, height, width, channels)", name);
    char member[64];
    snprintf(member, sizeof member, "%s.weight", name);
    value *w = nn_param(b, member, INGOT_SHAPE(out, kernel, kernel, x->shape.dim[3]), (init){INIT_NORMAL, 0.02});
    snprintf(member, sizeof member, "%s.bias", name);
    value *shift = bias ? nn_param(b, member, INGOT_SHAPE(out), (init){INIT_ZEROS}) : NULL;
    return ingot_conv2d(b, nn_computed(b, x), nn_computed(b, w), shift, (int)stride, (int)(kernel / 2));
}
