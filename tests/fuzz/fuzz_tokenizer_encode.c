/* Any bytes, through every pattern: plain encoding decodes to the very bytes, at once and id by id; an encoder that has
 * seen other text gives the same ids; training takes the bytes too. */
#include "ingot/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct document {
    const char *bytes;
    int64_t count;
} document;

static ingot_status next_document(void *user, const char **bytes, int64_t *count)
{
    document *d = user;
    *bytes = d->bytes;
    *count = d->bytes ? d->count : -1;
    d->bytes = NULL;
    return INGOT_OK;
}

static void check(int fine)
{
    if (!fine) abort();
}

static void check_stream(const ingot_tokenizer *t, const int32_t *ids, int64_t count, const char *expected, size_t size)
{
    ingot_decoder *d;
    const char *bytes;
    int64_t length;
    size_t at = 0;
    if (ingot_decoder_new(t, &d)) return;
    for (int64_t i = 0; i <= count; i++) {
        if (i < count)
            check(!ingot_decoder_next(d, ids[i], &bytes, &length));
        else
            ingot_decoder_end(d, &bytes, &length);
        check(at + (size_t)length <= size && !memcmp(bytes, expected + at, (size_t)length));
        at += (size_t)length;
    }
    check(at == size);
    ingot_decoder_free(d);
}

static void check_round_trip(ingot_context *ctx, const char *pattern, const char *bytes, size_t size)
{
    document d = {bytes, (int64_t)size};
    ingot_tokenizer *t;
    ingot_encoder *e;
    ingot_tokenizer_training options = {.vocab_size = 257 + (int)(size % 64), .pattern = pattern};
    check(!ingot_tokenizer_train(ctx, &options, next_document, &d, &t));
    check(!ingot_encoder_new(t, &e));
    int32_t *ids;
    const int32_t *again;
    char *decoded;
    int64_t count, again_count, length;
    check(!ingot_encode(t, bytes, (int64_t)size, INGOT_ENCODE_PLAIN, &ids, &count));
    check(!ingot_decode(t, ids, count, &decoded, &length));
    check((size_t)length == size && !memcmp(decoded, bytes, size));
    check_stream(t, ids, count, bytes, size);
    for (int round = 0; round < 3; round++) {
        check(!ingot_encoder_run(e, bytes, (int64_t)size, INGOT_ENCODE_PLAIN, &again, &again_count));
        check(again_count == count && (!count || !memcmp(again, ids, (size_t)count * sizeof *ids)));
    }
    free(ids);
    free(decoded);
    ingot_encoder_free(e);
    ingot_tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const patterns[] = {"gpt-2", "llama-bpe", "qwen2", "smollm"};
    ingot_context *ctx;
    if (!size || ingot_context_new(&(ingot_context_options){.threads = 1}, &ctx)) return 0;
    char *exact = malloc(size); /* so that a read beyond the end is seen */
    if (exact) {
        memcpy(exact, data, size);
        check_round_trip(ctx, patterns[data[0] % 4], exact, size);
    }
    free(exact);
    ingot_context_free(ctx);
    return 0;
}
