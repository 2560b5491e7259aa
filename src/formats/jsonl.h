/* A line of a .jsonl file: one JSON object, of which a string is wanted. */
#ifndef FORMATS_JSONL_H
#define FORMATS_JSONL_H

#include "base/base.h"

/* Appends the string `field` of the object in `line`. `path` and `number` (from 1) are for messages. */
status jsonl_string(context *ctx, const char *path, int64_t number, const char *line, int64_t bytes, const char *field,
                    text *out);

#endif
