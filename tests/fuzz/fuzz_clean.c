/* Any bytes through the cleaner: the result is valid UTF-8 without controls, and cleaning it again changes no bytes but
 * markup that the first pass uncovered. */
#include "data/clean.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    context *ctx;
    if (ingot_context_new(NULL, &ctx)) return 0;
    for (int markup = 0; markup < 2; markup++) {
        ingot_clean_options options = {.enabled = 1, .nfc = 1, .keep_markup = !markup};
        text once = {0}, twice = {0};
        clean_counts counts = {0};
        if (clean_text(ctx, &options, (const char *)data, (int64_t)size, &once, &counts)) abort();
        if (clean_count_broken(once.at, (int64_t)once.length)) abort();
        options.keep_markup = 1;
        if (clean_text(ctx, &options, once.at, (int64_t)once.length, &twice, &counts)) abort();
        if (once.length != twice.length || (once.length && memcmp(once.at, twice.at, once.length))) abort();
        text_free(&once);
        text_free(&twice);
    }
    ingot_context_free(ctx);
    return 0;
}
