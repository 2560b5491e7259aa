/* Text that a model in training writes, so that one sees what the loss means. */
#ifndef CLI_SAMPLES_H
#define CLI_SAMPLES_H

#include "cli/verb.h"
#include "ingot/generate.h"

typedef struct sample_flags {
    int64_t every, tokens;
    double temperature;
    const char *prompt;
} sample_flags;
#define SAMPLE_TABLE(type, field)                                                                                      \
    {                                                                                                                  \
        "Samples", sample_lines, SAMPLE_LINES, offsetof(type, field)                                                   \
    }
enum { SAMPLE_LINES = 4 };
extern const option sample_lines[SAMPLE_LINES];

/* A session over the store in which the model is trained; made at the first sample. */
typedef struct sampler_of_run {
    call *c;
    const sample_flags *flags;
    ingot_device *device;
    const ingot_model *model;
    ingot_store *store;
    const char *data; /* folder with the tokenizer */
    uint64_t seed;
    ingot_tokenizer *tokenizer;
    ingot_session *session;
} sampler_of_run;
status print_sample(sampler_of_run *s, int64_t step);
void sampler_of_run_close(sampler_of_run *s);

#endif
