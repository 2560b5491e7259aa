/* Any bytes as a line of jsonl: an error message, or the text of a field. */
#include "formats/jsonl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    context *ctx;
    if (ingot_context_new(NULL, &ctx)) return 0;
    text out = {0};
    status s = jsonl_string(ctx, "fuzz", 1, (const char *)data, (int64_t)size, "text", &out);
    if (!s != !*ingot_message(ctx)) abort();
    text_free(&out);
    ingot_context_free(ctx);
    return 0;
}
