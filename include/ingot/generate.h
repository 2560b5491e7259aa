/* Generation: a model that continues texts, many of them at once.
 *
 *     ingot_session *s;
 *     if (ingot_session_new(model, device, NULL, &s)) return puts(ingot_message(ctx));
 *     ingot_request r = {.prompt = "In the beginning", .max_tokens = 64, .sampling = {.temperature = 0.8, .seed = 1}};
 *     ingot_completions *all;
 *     if (ingot_generate(s, &r, 1, NULL, NULL, &all)) return puts(ingot_message(ctx));
 *     puts(all->at[0].text);
 *     ingot_completions_free(all);
 *     ingot_session_free(s);
 *
 * A session runs programs over rows: each row is one token of any sequence, so prompts, single steps and batches of
 * sequences of different lengths are one thing. Keys and values lie in pages that sequences take and give back; samples of
 * one prompt share the prompt's full pages. Programs are compiled on first use, for 1, 2, 4, ... rows.
 *
 * Thread safety: a session belongs to one thread at a time; several sessions may run on one device in several threads,
 * each with a store of its own. Model, device, store and tokenizer must outlive it.
 */
#ifndef INGOT_GENERATE_H
#define INGOT_GENERATE_H

#include "ingot/model.h"
#include "ingot/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ingot_session ingot_session;

/* 0 and NULL: the default in brackets. */
typedef struct ingot_session_options {
    ingot_store *store; /* one that holds the model's weights [its own, filled from the model's directory] */
    const ingot_tokenizer *tokenizer; /* [the one beside the model; a model without a directory has none] */
    int64_t context;                  /* most tokens of a sequence [the model's] */
    int64_t sequences;                /* that run at once; more of them wait [8] */
    int64_t cache_tokens;             /* keys and values kept, over all sequences [sequences * context] */
    int64_t page_size;                /* tokens a page [32; the whole context for one sequence] */
    int64_t most_rows;                /* of one run: longer prompts go in chunks [512; what the device likes] */
    uint64_t seed;                    /* weights of a model that was never saved, in a store of the session's own */
} ingot_session_options;

/* Errors: INGOT_ERROR_ARGUMENT when `context` is more than a model with learned positions has; those of
 * ingot_model_read; INGOT_ERROR_MEMORY. */
INGOT_API ingot_status ingot_session_new(const ingot_model *model, ingot_device *device,
                                         const ingot_session_options *options, ingot_session **out);
INGOT_API void ingot_session_free(ingot_session *s);

/* How a token is drawn. All zero: the most likely one, always. In this order, as transformers and vLLM do it:
 * logit_bias is added; a logit l of a token in the text (prompt too) becomes l / repetition_penalty where positive, else
 * l * repetition_penalty; a token that was generated n > 0 times loses presence_penalty + n * frequency_penalty; logits
 * are divided by the temperature; the top_k largest stay (ties too), then the fewest that hold top_p of the probability,
 * then those with at least min_p times the largest probability; one of the rest is drawn. */
typedef struct ingot_sampling {
    double temperature;        /* 0: the most likely token, the lowest id of equals */
    int64_t top_k;             /* 0: off */
    double top_p;              /* in (0, 1]; 0: off */
    double min_p;              /* in [0, 1]; 0: off */
    double repetition_penalty; /* > 0; 0 or 1: off */
    double presence_penalty, frequency_penalty;
    const int32_t *bias_tokens; /* bias_count ids, and what is added to their logits; -INFINITY forbids one */
    const float *biases;
    int64_t bias_count;
    uint64_t
        seed; /* the same seed gives the same text (Philox; samples of one request draw from streams of their own) */
} ingot_sampling;

typedef struct ingot_request {
    const char *prompt;    /* text: the model's first token is put before it, unless no_begin */
    int64_t prompt_bytes;  /* 0: up to its NUL */
    const int32_t *tokens; /* or ids, taken as they are; then `prompt` is not looked at */
    int64_t token_count;
    int64_t max_tokens; /* to generate; 0: up to the context's end, where every text ends */
    int64_t samples;    /* of this prompt; 0: 1 */
    ingot_sampling sampling;
    const char *const *stops; /* texts that end the generation; they are not part of it. UTF-8 */
    int64_t stop_count;
    int no_begin;
    int specials;   /* special tokens in `prompt` become their ids */
    int ignore_end; /* the model's end tokens do not end the text */
} ingot_request;

typedef enum ingot_finish {
    INGOT_GOING_ON,
    INGOT_FINISH_STOP,   /* an end token or a stop string */
    INGOT_FINISH_LENGTH, /* max_tokens or the context */
    INGOT_FINISH_CANCEL  /* the callback said so */
} ingot_finish;

/* Text as it comes: whole UTF-8 sequences, never a part of what may become a stop string. */
typedef struct ingot_piece {
    int64_t request, sample; /* indices */
    const char *text;        /* valid during the call, not NUL-terminated */
    int64_t bytes;           /* may be 0 */
    int32_t token;           /* that was drawn, end tokens too; -1 in a last piece without one */
    ingot_finish finish;     /* not INGOT_GOING_ON in the last piece of a sample */
} ingot_piece;

/* Returns 0 to go on, else this sample ends. */
typedef int ingot_on_piece(void *user, const ingot_piece *piece);

typedef struct ingot_completion {
    int64_t request, sample;
    int64_t prompt_tokens;
    int32_t *tokens; /* what was generated, without the end token */
    int64_t token_count;
    char *text; /* NUL-terminated beyond `bytes`; special tokens are left out. "" without a tokenizer */
    int64_t bytes;
    ingot_finish finish;
} ingot_completion;

typedef struct ingot_completions {
    int64_t count; /* request after request, sample after sample */
    ingot_completion *at;
} ingot_completions;

/* Runs all requests to their ends, as many at once as the session takes. on_piece may be NULL, and so may out.
 * ingot_interrupt stops it between two runs. Errors: INGOT_ERROR_ARGUMENT for a prompt that is empty, longer than the
 * context or than the cache, for ids beyond the vocabulary and for sampling options out of range;
 * INGOT_ERROR_NOT_FINITE when a logit is NaN. */
INGOT_API ingot_status ingot_generate(ingot_session *s, const ingot_request *requests, int64_t count,
                                      ingot_on_piece *on_piece, void *user, ingot_completions **out);
INGOT_API void ingot_completions_free(ingot_completions *all);

/* log p(tokens[i] | tokens[0 .. i-1]) in nats for i = 1 .. count - 1 into logprobs[i]; logprobs[0] is 0. */
INGOT_API ingot_status ingot_session_score(ingot_session *s, const int32_t *tokens, int64_t count, double *logprobs);

/* Since the session was made. */
typedef struct ingot_session_stats {
    int64_t prefill_tokens, decode_tokens;
    double prefill_seconds, decode_seconds; /* of the runs; one that does both counts by its rows */
    double sample_seconds;                  /* drawing tokens, on the host */
    int64_t runs, programs;                 /* programs: compiled so far */
    int64_t cache_bytes, pages, free_pages;
    int64_t context, page_size;
} ingot_session_stats;
INGOT_API ingot_session_stats ingot_session_describe(const ingot_session *s);
/* NULL when it has none. Owned by the session or whoever gave it. */
INGOT_API const ingot_tokenizer *ingot_session_tokenizer(const ingot_session *s);

#ifdef __cplusplus
}
#endif
#endif
