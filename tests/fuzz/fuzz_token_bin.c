/* Any bytes as a token file: refused, or every id can be read. */
#include "formats/token_bin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    context *ctx;
    if (ingot_context_new(NULL, &ctx)) return 0;
    for (int raw = 0; raw < 2; raw++) {
        token_bin t;
        if (token_bin_parse(ctx, "fuzz", data, size, raw, &t)) continue;
        int32_t ids[64];
        for (int64_t i = 0; i < t.count; i += 64) token_bin_read(&t, i, MIN(64, t.count - i), ids);
    }
    ingot_context_free(ctx);
    return 0;
}
