/* A request's prompt as tokens, checked against what model and session can take. */
#ifndef INFER_PROMPT_H
#define INFER_PROMPT_H

#include "infer/session.h"

/* *tokens is malloc'ed; *limit: the tokens, prompt included, at which a sample ends. */
status prompt_tokens(const session *s, const ingot_request *r, int64_t index, int32_t **tokens, int64_t *count,
                     int64_t *limit);

/* The token that a text begins with: the model's, or the tokenizer's end of text; -1: none. */
int32_t prompt_begin(const session *s);

/* Does this token end a text? */
bool prompt_ends(const session *s, int32_t token);

#endif
