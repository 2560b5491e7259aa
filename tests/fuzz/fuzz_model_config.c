/* Any bytes as config.json and as adapter_config.json: a message, or a shape whose parameters can be listed. */
#include "models/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_config(context *ctx, const char *bytes, size_t size)
{
    config c;
    ingot_model *m;
    if (config_parse(ctx, "config.json", bytes, size, &c)) {
        if (!*ingot_message(ctx)) abort();
        return;
    }
    if (c.layers > 3 || model_of_config(ctx, &c, &m)) return;
    ingot_model_info info = ingot_model_describe(m);
    if (info.parameters < 1 || info.trainable > info.parameters || info.tensors < 3) abort();
    ingot_model_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    context *ctx;
    if (ingot_context_new(&(ingot_context_options){.threads = 1}, &ctx)) return 0;
    try_config(ctx, (const char *)data, size);
    arena *a = arena_new();
    lora_config lora;
    char *base = NULL;
    if (a && !adapter_config_parse(ctx, "adapter_config.json", (const char *)data, size, a, &lora, &base) &&
        (lora.rank < 1 || !base))
        abort();
    arena_free(a);
    ingot_context_free(ctx);
    return 0;
}
