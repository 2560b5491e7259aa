/* Pre-tokenization: how a text is cut into the words that BPE merges within.
 *
 * A splitter is a list of steps, each cutting the pieces of the one before it. The four patterns that GGUF files name
 * are recognised and cut by hand-written code (split_known.c); any other regular expression runs through PCRE2
 * (split_regex.c). A splitter is shared by all threads; a cutter is one thread's walk through one text.
 *
 *     text bytes --> stretches of valid UTF-8 --> steps --> words
 *                    bytes that are no UTF-8: a word for each run of them, so that nothing is ever lost
 */
#ifndef TEXT_SPLIT_H
#define TEXT_SPLIT_H

#include "base/base.h"

enum { SPLIT_STEPS = 8, CUT_WORDS = 256 };

typedef enum split_known { SPLIT_BY_STEPS, SPLIT_GPT2, SPLIT_LLAMA_BPE, SPLIT_QWEN2, SPLIT_SMOLLM } split_known;

typedef enum split_kind {
    STEP_REGEX,          /* each match is a piece, and so is each gap between matches */
    STEP_LITERAL,        /* the same for a plain string */
    STEP_DIGITS_ALONE,   /* each number is a piece */
    STEP_DIGITS_TOGETHER /* each run of numbers is a piece */
} split_kind;

typedef struct split_step {
    split_kind kind;
    const char *pattern; /* of STEP_REGEX and STEP_LITERAL; owned by the caller of splitter_new until it returns */
    size_t length;
} split_step;

typedef struct splitter splitter;

/* Fails with INGOT_ERROR_UNSUPPORTED when PCRE2 cannot take a pattern. */
status splitter_new(context *ctx, const split_step *steps, int count, splitter **out);
/* The same without the hand-written code: what tests compare it with. */
status splitter_new_by_steps(context *ctx, const split_step *steps, int count, splitter **out);
void splitter_free(splitter *s);
split_known splitter_known(const splitter *s);

/* "gpt-2", "llama-bpe", "qwen2", "smollm"; NULL for SPLIT_BY_STEPS. */
const char *split_known_name(split_known known);
/* The steps of a named pattern, written to out[SPLIT_STEPS]; 0 when there is no such name. */
int split_known_steps(const char *name, split_step *out);
/* The names, for messages; a NULL ends them. */
const char *const *split_known_names(void);

typedef struct cutter {
    const splitter *splitter;
    context *ctx;
    const uint8_t *bytes;
    size_t length, at;
    size_t stretch_end; /* of the valid UTF-8 that `at` is in */
    size_t start[SPLIT_STEPS + 1],
        end[SPLIT_STEPS + 1]; /* the piece of each step that `at` is in; [0] is the stretch */
    struct regex_scratch *scratch;
} cutter;

status cutter_init(cutter *c, context *ctx, const splitter *s);
void cutter_free(cutter *c);
void cutter_start(cutter *c, const uint8_t *bytes, size_t length);
/* The ends of the next words, at most CUT_WORDS of them, each beginning where the one before it ends; *count = 0 at the
 * end of the text. Fails only when a regular expression gives up on a text. */
status cutter_next(cutter *c, size_t ends[CUT_WORDS], int *count);

/* split_known.c: words of the stretch [at, end) of valid UTF-8. */
int cut_known(split_known known, const uint8_t *bytes, size_t at, size_t end, size_t ends[CUT_WORDS]);

/* split_regex.c */
typedef struct regex regex;
typedef struct regex_scratch regex_scratch;
status regex_new(context *ctx, const char *pattern, size_t length, bool literal, regex **out);
void regex_free(regex *r);
status regex_scratch_new(context *ctx, regex_scratch **out);
void regex_scratch_free(regex_scratch *s);
/* The first match at or after `at` in the subject of `length` bytes that is not empty; *from = *to = length when there
 * is none. */
status regex_find(const regex *r, regex_scratch *s, context *ctx, const uint8_t *subject, size_t length, size_t at,
                  size_t *from, size_t *to);

#endif
