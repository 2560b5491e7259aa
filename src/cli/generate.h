/* `ingot generate`: its options, and what is shown while it runs (generate_show.c). */
#ifndef CLI_GENERATE_H
#define CLI_GENERATE_H

#include "cli/model_options.h"
#include "ingot/generate.h"

typedef struct generate_options {
    device_flags device;
    const char *model;
    string_list prompts, prompt_files, stops, biases;
    int64_t max_tokens, samples, seed, context, sequences, chunk, page_size, top_k;
    double temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
    bool ignore_end, begin, specials, echo;
} generate_options;

typedef struct generation {
    call *c;
    const generate_options *o;
    int64_t count; /* prompts */
    text *prompts;
    ingot_request *requests;
    ingot_tokenizer *tokenizer;
    ingot_session *session;
    int64_t current; /* the continuation whose text goes out as it comes; those behind it wait */
    bool begun;      /* its prompt was shown */
    bool newline;    /* the last byte that was shown is one */
    text *waiting;   /* by continuation: text that came before its turn */
    bool *ended;     /* by continuation */
} generation;

ingot_on_piece generation_show;
void generation_statistics(call *c, const generation *g);
status generation_json(call *c, const generation *g, const ingot_completions *all);

#endif
