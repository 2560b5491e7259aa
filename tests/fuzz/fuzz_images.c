/* Any bytes as a file of pictures: refused, or whole records with labels below 10. */
#include "data/images.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    context *ctx;
    if (ingot_context_new(NULL, &ctx)) return 0;
    int64_t records;
    if (!images_parse(ctx, "fuzz", data, size, &records) && (uint64_t)records * IMAGE_RECORD_BYTES != size) abort();
    ingot_context_free(ctx);
    return 0;
}
