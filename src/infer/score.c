/* How likely a model finds tokens that are given. */
#include "infer/session.h"

#include <math.h>

static double log_probability(const float *logits, int64_t vocab, int32_t token)
{
    float top = -INFINITY;
    for (int64_t i = 0; i < vocab; i++) top = MAX(top, logits[i]);
    double sum = 0;
    for (int64_t i = 0; i < vocab; i++) sum += exp((double)logits[i] - top);
    return (double)logits[token] - top - log(sum);
}

static status check(const session *s, const int32_t *tokens, int64_t count)
{
    if (count > s->context_tokens)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT,
                          "%lld tokens are to be scored, more than the %lld of the context; score them in parts",
                          (long long)count, (long long)s->context_tokens);
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= s->info.vocab_size)
            return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "token %lld is %d; the model's vocabulary has %lld entries",
                              (long long)i, (int)tokens[i], (long long)s->info.vocab_size);
    return INGOT_OK;
}

static status score(session *s, cached *c, const int32_t *tokens, int64_t count, double *logprobs)
{
    int64_t most = MIN(s->most_rows, s->most_wanted);
    for (int64_t from = 0; from + 1 < count; from += most) {
        int64_t rows = MIN(most, count - 1 - from);
        rows_begin(s);
        rows_add(s, c, tokens + from, rows, rows);
        TRY(rows_run(s));
        for (int64_t i = 0; i < rows; i++)
            logprobs[from + i + 1] =
                log_probability(s->logits + i * s->info.vocab_size, s->info.vocab_size, tokens[from + i + 1]);
        s->stats.prefill_tokens += rows;
        s->stats.prefill_seconds += s->run_seconds;
    }
    return INGOT_OK;
}

ingot_status ingot_session_score(ingot_session *s, const int32_t *tokens, int64_t count, double *logprobs)
{
    TRY(check(s, tokens, count));
    if (count < 1) return INGOT_OK;
    logprobs[0] = 0;
    cached c;
    if (!session_open(s, &c, count, NULL, 0))
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "the cache holds %lld tokens, %lld are to be scored",
                          (long long)(s->pages.free_count * s->page_size), (long long)count);
    status failed = score(s, &c, tokens, count, logprobs);
    session_close(s, &c);
    return failed;
}
