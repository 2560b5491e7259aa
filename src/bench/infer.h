/* Generation, as llama-bench measures it: `pp512` takes in a prompt of 512 random tokens, `tg128` writes 128, one after
 * the other; drawing tokens and tokenizing are not in it. `-b 8` does it for 8 sequences at once.
 */
#ifndef BENCH_INFER_H
#define BENCH_INFER_H

#include "bench/row.h"
#include "ingot/generate.h"

typedef struct infer_plan {
    const int64_t *prompts, *generated, *batches; /* tokens, tokens, sequences at once */
    int64_t prompt_count, generated_count, batch_count;
    int64_t depth; /* tokens in the cache before the test; 0: none */
    bool no_cache; /* also tokens made by running the whole text again for each */
    double cap;    /* seconds: a test without the cache that would take longer makes fewer tokens */
    bench_effort effort;
    uint64_t seed;
} infer_plan;

/* Rows with llama-bench's fields: model_type, model_size, model_n_params, n_prompt, n_gen, n_depth, avg_ts, stddev_ts,
 * samples_ts; and n_batch (sequences), test, joules_per_token or its reason. */
status bench_infer(ingot_device *d, const ingot_model *m, const char *name, const infer_plan *plan, const machine *on,
                   json_t *rows);

#endif
