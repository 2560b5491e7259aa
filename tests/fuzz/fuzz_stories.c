/* Any bytes to the story parser: at most one derivation, and never more than the bytes that are there. */
#include "data/stories.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size + !size); /* so that the sanitizer sees a read behind the end */
    memcpy(exact, data, size);
    double bits;
    if (story_derivations(exact, (int64_t)size, &bits) > 1) abort();
    free(exact);
    return 0;
}
