/* LoRA (Hu et al. 2021): a product x W becomes x W + scale * (x A) B, W frozen; as a builder's hook, for any family.
 *
 * States are named as PEFT names its tensors: <layer>.lora_A.weight (r, in), <layer>.lora_B.weight (out, r).
 */
#ifndef NN_LORA_H
#define NN_LORA_H

#include "nn/nn.h"

#define LORA_MOST_TARGETS 32

typedef struct lora_config {
    int64_t rank; /* 0: no LoRA */
    double alpha; /* scale = alpha / rank */
    double dropout;
    bool rank_stabilized;                   /* scale = alpha / sqrt(rank); Kalajdzievski 2023 */
    const char *targets[LORA_MOST_TARGETS]; /* ends of layer names: "q_proj"; ended by NULL; none: all linears */
} lora_config;

typedef struct lora_hooks {
    build_hooks hooks; /* first: a build_hooks pointer to it is one to this */
    const lora_config *config;
    value *rng; /* of dropout on the adapters' input; NULL: none */
} lora_hooks;

lora_hooks lora_hooks_of(const lora_config *config, param_list *params, value *rng);
double lora_scale(const lora_config *config);
bool lora_targets(const lora_config *config, const char *layer); /* layer: with its scopes */

#endif
