/* What tests of generation share: a tiny model of random weights, written nowhere, and a device for it. */
#ifndef TESTS_SESSION_H
#define TESTS_SESSION_H

#include <stdio.h>

#include "context.h"
#include "infer/session.h"

enum { TEST_VOCAB = 61, TEST_CONTEXT = 48 };

/* Weights large enough for the most likely token to change all the time. */
static inline ingot_model *tiny_model(const char *family)
{
    static const int32_t eos[] = {0};
    ingot_model *m;
    ingot_model_options o = {.family = family,
                             .vocab_size = TEST_VOCAB,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = strcmp(family, "llama") ? 0 : 2,
                             .dim = 32,
                             .ffn_dim = 64,
                             .context = TEST_CONTEXT,
                             .init_std = 0.4,
                             .eos_tokens = eos,
                             .eos_count = 1};
    OK(ingot_model_new(ctx, &o, &m));
    return m;
}

static inline ingot_device *open_device(bool row_invariant)
{
    ingot_device *d;
    OK(ingot_device_open(ctx, "cpu", &(ingot_device_options){.row_invariant = row_invariant}, &d));
    return d;
}

static inline ingot_session *open_session(const ingot_model *m, ingot_device *d, ingot_session_options o)
{
    ingot_session *s;
    o.seed = 3;
    OK(ingot_session_new(m, d, &o, &s));
    return s;
}

/* A prompt of `count` tokens that are no end tokens. */
static inline const int32_t *some_tokens(int32_t *out, int64_t count, int seed)
{
    for (int64_t i = 0; i < count; i++) out[i] = 1 + (int32_t)((seed * 31 + i * 17 + i * i * 5) % (TEST_VOCAB - 1));
    return out;
}

#endif
