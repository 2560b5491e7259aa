/* Attributes of adamw, and the numbers of one step that do not depend on the element. */
#ifndef OPS_ADAMW_ADAMW_H
#define OPS_ADAMW_ADAMW_H

#include "graph/kernel.h"
#include "ops/table.h"

typedef struct adamw_attrs {
    double beta1, beta2, eps, weight_decay;
    int64_t decoupled;
    int64_t copy; /* INGOT_BF16 or INGOT_F16: dtype of output low */
} adamw_attrs;

/* In f64: 1 - beta^t loses all but a few bits of a float32 in the first steps. */
typedef struct adamw_step {
    double scale, decay, l2; /* w * decay; g * scale + w * l2 */
    double rate, root_scale; /* lr / (1 - beta1^t); 1 / sqrt(1 - beta2^t) */
    bool apply;
} adamw_step;
adamw_step adamw_step_of(const step *s);

/* What a CPU kernel's loop works on. */
typedef struct adamw_span {
    const float *w, *g, *m, *v;
    float *new_w, *new_m, *new_v;
    float scale, l2, decay, rate, root_scale, eps, beta2, rest1, rest2;
} adamw_span;

#ifdef __cplusplus
extern "C"
#endif
    bool
    adamw_match(const node *n, const device_caps *caps); /* float32, `low` apart */

#endif
