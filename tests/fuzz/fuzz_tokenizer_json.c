/* tokenizer.json from outside: it is refused, or it loads, encodes and decodes, and is written and read again. */
#include "ingot/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ingot_context *ctx;
    ingot_tokenizer *t;
    if (ingot_context_new(&(ingot_context_options){.threads = 1}, &ctx)) return 0;
    if (!ingot_tokenizer_parse(ctx, (const char *)data, (int64_t)size, "fuzz", &t)) {
        int32_t *ids;
        char *decoded;
        int64_t count, bytes, most = size < 4096 ? (int64_t)size : 4096;
        if (!ingot_encode(t, (const char *)data, most, INGOT_ENCODE_SPECIALS, &ids, &count)) {
            if (ingot_decode(t, ids, count, &decoded, &bytes)) abort(); /* its own ids are known */
            free(decoded);
        }
        free(ids);
        for (int id = 0; id < ingot_tokenizer_vocab_size(t); id++)
            if (!ingot_token_bytes(t, id, &bytes)) abort();
        ingot_tokenizer_free(t);
    }
    ingot_context_free(ctx);
    return 0;
}
