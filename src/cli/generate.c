/* ingot generate: continuations of prompts, on standard output as they come; what they took, on standard error. */
#define _GNU_SOURCE
#include "cli/generate.h"

#include "base/file.h"

#include <stdio.h>
#include <sys/random.h>

#define MOST_PROMPT (UINT64_C(1) << 30)

static const option text_lines[] = {
    {"model", STRING_AT(generate_options, model), "DIR", "a run, a checkpoint or a Hugging Face folder",
     .short_name = "m", .required = true},
    {"prompt", LIST_AT(generate_options, prompts), "TEXT",
     "what is continued; may come several times, all run together", .short_name = "p", .initial_help = "nothing"},
    {"prompt-file", LIST_AT(generate_options, prompt_files), "FILE",
     "the same from a file, without the newline at its end"},
    {"max-tokens", INT_AT(generate_options, max_tokens), "N", "tokens to write; 0: up to the context's end",
     .short_name = "n", .initial = "128", .range = AT_LEAST(0)},
    {"num-samples", INT_AT(generate_options, samples), "N", "continuations of each prompt", .initial = "1",
     .range = BETWEEN(1, 1000000)},
    {"stop", LIST_AT(generate_options, stops), "TEXT", "ends the text where it appears, and is not printed"},
    {"ignore-end", BOOL_AT(generate_options, ignore_end), NULL, "go on after the token that ends a text"},
    {"begin", BOOL_AT(generate_options, begin), NULL, "put the token that begins a text before the prompt",
     .initial = "true"},
    {"specials", BOOL_AT(generate_options, specials), NULL, "special tokens in prompts are tokens, not text"},
    {"echo", BOOL_AT(generate_options, echo), NULL, "print the prompt too"},
};

static const option sampling_lines[] = {
    {"temperature", DOUBLE_AT(generate_options, temperature), "T", "0: always the most likely token", .initial = "0.8",
     .range = AT_LEAST(0)},
    {"top-k", INT_AT(generate_options, top_k), "K", "draw from the K most likely tokens; 0: from all", .initial = "0",
     .range = AT_LEAST(0)},
    {"top-p", DOUBLE_AT(generate_options, top_p), "P", "draw from the fewest tokens that hold this probability",
     .initial = "1", .range = {true, true, 0, 1}},
    {"min-p", DOUBLE_AT(generate_options, min_p), "P", "drop tokens below this share of the most likely one's",
     .initial = "0", .range = BETWEEN(0, 1)},
    {"repetition-penalty", DOUBLE_AT(generate_options, repetition_penalty), "X",
     "divides logits of tokens in the text, prompt too; 1: none", .initial = "1", .range = MORE_THAN(0)},
    {"presence-penalty", DOUBLE_AT(generate_options, presence_penalty), "X",
     "taken from logits of tokens that were written", .initial = "0"},
    {"frequency-penalty", DOUBLE_AT(generate_options, frequency_penalty), "X", "the same for each time",
     .initial = "0"},
    {"logit-bias", LIST_AT(generate_options, biases), "ID=X", "added to a token's logit; -inf forbids it"},
    {"seed", INT_AT(generate_options, seed), "N", "the same seed writes the same text",
     .initial_help = "drawn, and printed", .range = AT_LEAST(0)},
};

static const option run_lines[] = {
    {"context", INT_AT(generate_options, context), "T", "most tokens of a prompt and its continuation",
     .short_name = "c", .initial_help = "what the model was made for", .range = BETWEEN(1, 1 << 30)},
    {"sequences", INT_AT(generate_options, sequences), "N", "continuations that run at once", .initial = "16",
     .range = BETWEEN(1, 512)},
    {"chunk", INT_AT(generate_options, chunk), "N", "most tokens of one run: longer prompts go in parts",
     .initial_help = "512; cuda: 2048", .range = BETWEEN(1, 2048)},
    {"page-size", INT_AT(generate_options, page_size), "N", "tokens of a page of the cache",
     .initial_help = "32; all for one continuation", .range = AT_LEAST(1)},
};

/* ---- the requests ---- */

static status read_prompt_files(call *c, const generate_options *o, text *prompts)
{
    for (int64_t i = 0; i < o->prompt_files.count; i++) {
        text *t = &prompts[o->prompts.count + i];
        TRY(file_read_whole(c->ctx, o->prompt_files.at[i], MOST_PROMPT, t));
        if (t->length && t->at[t->length - 1] == '\n') t->at[--t->length] = 0;
    }
    return INGOT_OK;
}

static status parse_biases(call *c, const generate_options *o, ingot_sampling *s)
{
    int32_t *tokens = ARENA_ARRAY(c->arena, int32_t, o->biases.count + 1);
    float *biases = ARENA_ARRAY(c->arena, float, o->biases.count + 1);
    if (!tokens || !biases) return fail_memory(c->ctx, "logit biases", 0);
    for (int64_t i = 0; i < o->biases.count; i++) {
        char *equals, *end = NULL;
        long id = strtol(o->biases.at[i], &equals, 10);
        double bias = *equals == '=' ? strtod(equals + 1, &end) : 0;
        if (equals == o->biases.at[i] || !end || end == equals + 1 || *end || id < 0 || id > INT32_MAX)
            return fail_usage(c, "--logit-bias %s: it is written ID=X, as in 13=-2.5 or 0=-inf", o->biases.at[i]);
        tokens[i] = (int32_t)id;
        biases[i] = (float)bias;
    }
    s->bias_tokens = tokens;
    s->biases = biases;
    s->bias_count = o->biases.count;
    return INGOT_OK;
}

static ingot_sampling sampling_of(const generate_options *o)
{
    return (ingot_sampling){.temperature = o->temperature,
                            .top_k = o->top_k,
                            .top_p = o->top_p,
                            .min_p = o->min_p,
                            .repetition_penalty = o->repetition_penalty,
                            .presence_penalty = o->presence_penalty,
                            .frequency_penalty = o->frequency_penalty,
                            .seed = (uint64_t)o->seed};
}

static status make_requests(call *c, generation *g)
{
    const generate_options *o = g->o;
    ingot_sampling sampling = sampling_of(o);
    TRY(parse_biases(c, o, &sampling));
    for (int64_t i = 0; i < g->count; i++) {
        text *t = &g->prompts[i];
        if (i < o->prompts.count) text_puts(t, o->prompts.at[i]);
        text_puts(t, ""); /* an empty prompt is a text too */
        if (t->failed) return fail_memory(c->ctx, "a prompt", 0);
        g->requests[i] = (ingot_request){.prompt = t->at,
                                         .prompt_bytes = (int64_t)t->length,
                                         .max_tokens = o->max_tokens,
                                         .samples = o->samples,
                                         .sampling = sampling,
                                         .stops = o->stops.at,
                                         .stop_count = o->stops.count,
                                         .no_begin = !o->begin,
                                         .specials = o->specials,
                                         .ignore_end = o->ignore_end};
    }
    return INGOT_OK;
}

static status draw_seed(call *c, generate_options *o)
{
    if (option_given(c, "seed") || o->temperature == 0) return INGOT_OK;
    uint32_t drawn;
    if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn) return fail_errno(c->ctx, "draw", "a seed");
    o->seed = drawn;
    log_line(c->ctx, INGOT_LOG_INFO, "seed %u (drawn; --seed %u writes the same again)", drawn, drawn);
    return INGOT_OK;
}

/* ---- the run ---- */

/* A cache no larger than what is asked for can fill: the longest prompt and what may follow it. */
static status tokens_needed(const generation *g, const ingot_tokenizer *t, int64_t context, int64_t *out)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < g->count; i++) {
        int32_t *ids;
        int64_t count;
        TRY(ingot_encode(t, g->prompts[i].at, (int64_t)g->prompts[i].length,
                         g->o->specials ? INGOT_ENCODE_SPECIALS : INGOT_ENCODE_PLAIN, &ids, &count));
        free(ids);
        longest = MAX(longest, count + 1);
    }
    *out = g->o->max_tokens ? MIN(context, longest + MIN(g->o->max_tokens, context)) : context;
    return INGOT_OK;
}

static status open_session(call *c, generation *g, const ingot_model *m, ingot_device *d)
{
    const generate_options *o = g->o;
    ingot_model_info info = ingot_model_describe(m);
    if (info.image) return ingot_session_new(m, d, NULL, &g->session); /* says why not */
    TRY(ingot_tokenizer_load(c->ctx, info.directory, &g->tokenizer));
    int64_t context = o->context ? o->context : info.context, needed = context;
    if (context > info.context && info.rotary)
        log_line(c->ctx, INGOT_LOG_WARNING, "--context %lld is more than the %lld positions that %s was trained with",
                 (long long)context, (long long)info.context, o->model);
    /* A context that is too large is the session's to refuse. */
    if (context <= info.context || info.rotary) TRY(tokens_needed(g, g->tokenizer, context, &needed));
    int64_t all = g->count * o->samples;
    return ingot_session_new(m, d,
                             &(ingot_session_options){.tokenizer = g->tokenizer,
                                                      .context = needed,
                                                      .sequences = MIN(all, o->sequences),
                                                      .page_size = o->page_size,
                                                      .most_rows = o->chunk},
                             &g->session);
}

static status generate(call *c, generation *g, const ingot_model *m, ingot_device *d)
{
    TRY(open_session(c, g, m, d));
    ingot_completions *all;
    TRY(ingot_generate(g->session, g->requests, g->count, c->json ? NULL : generation_show, g, &all));
    status s = c->json ? generation_json(c, g, all) : INGOT_OK;
    ingot_completions_free(all);
    if (!c->json) generation_statistics(c, g);
    return s;
}

static status run(call *c, void *given)
{
    generate_options *o = given;
    TRY(draw_seed(c, o));
    int64_t count = MAX(o->prompts.count + o->prompt_files.count, 1);
    generation g = {.c = c, .o = o, .count = count};
    g.prompts = ARENA_ARRAY(c->arena, text, count);
    g.requests = ARENA_ARRAY(c->arena, ingot_request, count);
    g.waiting = ARENA_ARRAY(c->arena, text, count * o->samples);
    g.ended = ARENA_ARRAY(c->arena, bool, count * o->samples);
    if (!g.prompts || !g.requests || !g.waiting || !g.ended) return fail_memory(c->ctx, "prompts", 0);
    ingot_model *m = NULL;
    ingot_device *d = NULL;
    status s = read_prompt_files(c, o, g.prompts);
    if (!s) s = make_requests(c, &g);
    if (!s) s = device_flags_open(c, &o->device, &d);
    if (!s) s = ingot_model_load(c->ctx, o->model, &m);
    if (!s) s = device_flags_set_dtype(&o->device, m);
    if (!s) s = generate(c, &g, m, d);
    ingot_session_free(g.session);
    ingot_tokenizer_free(g.tokenizer);
    ingot_model_free(m);
    ingot_device_close(d);
    for (int64_t i = 0; i < count; i++) text_free(&g.prompts[i]);
    for (int64_t i = 0; i < count * o->samples; i++) text_free(&g.waiting[i]);
    return s;
}

const verb verb_generate = {
    .name = "generate",
    .summary = "let a model write",
    .description =
        "Writes what the model puts after each prompt, as it comes. The token that begins a text stands before the "
        "prompt, so an empty prompt gives a whole text. Several continuations are separated by a line that holds only "
        "<|endoftext|>, as in training text. Penalties come before the temperature, then top-k, top-p, min-p, as in "
        "transformers. Seed, options, --threads and machine decide the text; with --row-invariant it is the same "
        "however many run at once.",
    .options = {{"Text", OPTIONS(text_lines), 0},
                {"Sampling", OPTIONS(sampling_lines), 0},
                {"Running", OPTIONS(run_lines), 0},
                DEVICE_TABLE(generate_options, device)},
    .options_bytes = sizeof(generate_options),
    .run = run,
    .examples = "ingot generate --model run --prompt \"In the beginning\" --max-tokens 64 --temperature 0 --seed 1\n"
                "ingot generate -m run -p \"Once\" -p \"Then\" --num-samples 4 --top-p 0.9 --stop \"The end\"\n"
                "ingot generate -m run --prompt-file start.txt --echo --json\n",
};
