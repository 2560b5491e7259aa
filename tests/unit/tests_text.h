/* What the tests of the text room share: a context that counts warnings, training on a string, comparing ids. */
#ifndef TESTS_TEXT_H
#define TESTS_TEXT_H

#include <stdio.h>

#include "context.h"
#include "base/rng.h"
#include "text/tokenizer.h"

static int warnings;

static inline void count_warning(void *user, ingot_log_level level, const char *line)
{
    (void)user;
    (void)line;
    warnings += level == INGOT_LOG_WARNING;
}

/* Like assert_int_equal(call, 0), but says why. */
#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if (call) fail_msg("%s: %s", #call, ingot_message(ctx));                                                       \
    } while (0)

typedef struct test_document {
    const char *bytes;
    int64_t count;
} test_document;

static inline ingot_status one_document(void *user, const char **bytes, int64_t *count)
{
    test_document *d = user;
    *bytes = d->bytes;
    *count = d->bytes ? d->count : -1;
    d->bytes = NULL;
    return INGOT_OK;
}

static inline ingot_tokenizer *train_on(const char *string, int vocab_size, const char *pattern)
{
    test_document d = {.bytes = string, .count = (int64_t)strlen(string)};
    ingot_tokenizer *t;
    ingot_tokenizer_training options = {.vocab_size = vocab_size, .pattern = pattern};
    assert_ok(ingot_tokenizer_train(ctx, &options, one_document, &d, &t));
    return t;
}

static inline void assert_ids(const ingot_tokenizer *t, const char *bytes, int64_t length, ingot_encode_mode mode,
                              const int32_t *expected, int64_t expected_count)
{
    int32_t *ids;
    int64_t count;
    assert_ok(ingot_encode(t, bytes, length, mode, &ids, &count));
    for (int64_t i = 0; i < MIN(count, expected_count); i++)
        if (ids[i] != expected[i])
            fail_msg("id %lld of \"%.*s\" is %d, should be %d", (long long)i, (int)length, bytes, ids[i], expected[i]);
    assert_int_equal(count, expected_count);
    free(ids);
}

static inline void assert_round_trip(const ingot_tokenizer *t, const char *bytes, int64_t length)
{
    for (int mode = INGOT_ENCODE_PLAIN; mode <= INGOT_ENCODE_SPECIALS; mode++) {
        int32_t *ids;
        int64_t count, decoded_length;
        char *decoded;
        assert_ok(ingot_encode(t, bytes, length, (ingot_encode_mode)mode, &ids, &count));
        assert_ok(ingot_decode(t, ids, count, &decoded, &decoded_length));
        assert_int_equal(decoded_length, length);
        assert_memory_equal(decoded, bytes, (size_t)length);
        free(decoded);
        free(ids);
    }
}

/* One word against the definition of BPE: again and again the lowest rank, the leftmost first. */
static inline void assert_same_as_definition(const ingot_tokenizer *t, const char *word, int length)
{
    int32_t *ids = malloc((size_t)length * sizeof *ids);
    for (int i = 0; i < length; i++) ids[i] = t->byte_id[(uint8_t)word[i]];
    int count = length;
    for (;;) {
        int64_t best_rank = t->merges.count;
        int best = -1;
        for (int i = 0; i + 1 < count; i++)
            for (int64_t rank = 0; rank < best_rank; rank++)
                if (t->merges.pairs[rank][0] == ids[i] && t->merges.pairs[rank][1] == ids[i + 1])
                    best_rank = rank, best = i;
        if (best < 0) break;
        ids[best] = t->merges.results[best_rank];
        memmove(ids + best + 1, ids + best + 2, (size_t)(--count - best - 1) * sizeof *ids);
    }
    assert_ids(t, word, length, INGOT_ENCODE_PLAIN, ids, count);
    free(ids);
}

static inline int make_context(void **state)
{
    (void)state;
    warnings = 0;
    return ingot_context_new(&(ingot_context_options){.threads = 2, .log = count_warning}, &ctx);
}

static inline int free_context(void **state)
{
    (void)state;
    ingot_context_free(ctx);
    return 0;
}

#endif
