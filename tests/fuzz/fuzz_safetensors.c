/* Any bytes as a safetensors file: refused with a message, or read to the last element. */
#include "formats/archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    context *ctx;
    archive *a;
    if (ingot_context_new(NULL, &ctx)) return 0;
    if (!archive_open_bytes(ctx, "input", data, size, &a)) {
        for (int64_t i = 0; i < archive_count(a); i++) {
            const archive_tensor *t = archive_at(a, i);
            float *out = malloc((size_t)t->elements * sizeof *out + 1);
            char shape[192];
            archive_shape_text(t, shape);
            if (out && t->readable && archive_read(a, t, INGOT_F32, out)) abort();
            if (archive_find(a, t->name) != t) abort();
            free(out);
        }
    } else if (!*ingot_message(ctx)) {
        abort();
    }
    archive_close(a);
    ingot_context_free(ctx);
    return 0;
}
