/* Attributes of everything that slides a window over an image, and where its taps lie. */
#ifndef OPS_WINDOWS_WINDOWS_H
#define OPS_WINDOWS_WINDOWS_H

#include "graph/kernel.h"
#include "ops/table.h"

typedef struct window_attrs {
    int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
    int64_t height, width; /* of the image: windows_add only, 0 elsewhere */
    double pad_value;      /* windows only */
} window_attrs;

#define WINDOW_ATTRS                                                                                                   \
    ATTRS(window_attrs, ATTR(window_attrs, kernel_h, ATTR_I64, .minimum = 1, .maximum = 65536),                        \
          ATTR(window_attrs, kernel_w, ATTR_I64, .minimum = 1, .maximum = 65536),                                      \
          ATTR(window_attrs, stride_h, ATTR_I64, .minimum = 1, .maximum = 65536),                                      \
          ATTR(window_attrs, stride_w, ATTR_I64, .minimum = 1, .maximum = 65536),                                      \
          ATTR(window_attrs, pad_h, ATTR_I64, .minimum = 0, .maximum = 65536),                                         \
          ATTR(window_attrs, pad_w, ATTR_I64, .minimum = 0, .maximum = 65536), ATTR(window_attrs, height, ATTR_I64),   \
          ATTR(window_attrs, width, ATTR_I64), ATTR(window_attrs, pad_value, ATTR_F64))

/* In a sample: kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, ... */
#define WINDOW(...)                                                                                                    \
    .attrs = &(const window_attrs)                                                                                     \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

#ifdef __cplusplus
extern "C" {
#endif
window_attrs window_attrs_of(const ingot_window *w);
/* (OH, OW) of an image (H, W); false, and an error, when no window fits. */
bool window_outputs(build *b, const node *n, int64_t height, int64_t width, int64_t *oh, int64_t *ow);
/* Pooling: x (N, H, W, C) -> y (N, OH, OW, C), one look at each element of each window. */
status window_pool_infer(build *b, const node *n, inferred *out);
op_cost window_pool_cost(const node *n);
value *window_taps(build *b, const node *n, double pad_value); /* of x: (N, OH, OW, KH KW, C) */

/* The sizes of one launch: image (N, H, W, C), windows (N, OH, OW, KH, KW, C). */
typedef struct window_sizes {
    int64_t n, h, w, c, oh, ow;
    window_attrs a;
} window_sizes;
window_sizes window_sizes_of(const step *s, const tensor *image, const tensor *out);
#ifdef __cplusplus
}
#endif

#endif
