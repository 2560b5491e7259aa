#include "cli/samples.h"

#include <stdio.h>

const option sample_lines[SAMPLE_LINES] = {
    {"sample-every", INT_AT(sample_flags, every), "N", "steps between texts that the model writes; 0: none",
     .initial = "0", .range = AT_LEAST(0)},
    {"sample-prompt", STRING_AT(sample_flags, prompt), "TEXT", "how they begin", .initial = ""},
    {"sample-tokens", INT_AT(sample_flags, tokens), "N", "tokens of one, at most", .initial = "64",
     .range = BETWEEN(1, 100000)},
    {"sample-temperature", DOUBLE_AT(sample_flags, temperature), "X", "0: always the likeliest token", .initial = "0.8",
     .range = AT_LEAST(0)},
};

static status open_session(sampler_of_run *s)
{
    if (s->session) return INGOT_OK;
    TRY(ingot_tokenizer_load(s->c->ctx, s->data, &s->tokenizer));
    const ingot_session_options options = {.store = s->store, .tokenizer = s->tokenizer, .sequences = 1};
    return ingot_session_new(s->model, s->device, &options, &s->session);
}

static status write_sample(sampler_of_run *s, ingot_completions **all)
{
    TRY(open_session(s));
    const ingot_request request = {.prompt = s->flags->prompt,
                                   .max_tokens = s->flags->tokens,
                                   .sampling = {.temperature = s->flags->temperature, .seed = s->seed}};
    return ingot_generate(s->session, &request, 1, NULL, NULL, all);
}

/* A sample that fails (no tokenizer beside the data, say) is worth a warning, not the run. */
status print_sample(sampler_of_run *s, int64_t step)
{
    ingot_completions *all = NULL;
    status failed = write_sample(s, &all);
    if (failed == INGOT_ERROR_INTERRUPTED) return INGOT_OK; /* the trainer sees that itself */
    if (failed) {
        log_line(s->c->ctx, INGOT_LOG_WARNING, "no sample: %s", ingot_message(s->c->ctx));
        return INGOT_OK;
    }
    print_line(s->c, "sample %lld | %s%s", (long long)step, s->flags->prompt, all->at[0].text);
    ingot_completions_free(all);
    return INGOT_OK;
}

void sampler_of_run_close(sampler_of_run *s)
{
    ingot_session_free(s->session);
    ingot_tokenizer_free(s->tokenizer);
}
