/* HTML out of text: tags, comments, scripts, entities. What only looks like a tag, <stdio.h> or a<b, stays. */
#ifndef DATA_MARKUP_H
#define DATA_MARKUP_H

#include "base/base.h"

/* Strips in place (text only gets shorter); returns the bytes removed. */
int64_t markup_strip(text *t);

#endif
