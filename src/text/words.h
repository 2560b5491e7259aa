/* How often each word occurs in a text: the first half of training a tokenizer. */
#ifndef TEXT_WORDS_H
#define TEXT_WORDS_H

#include "ingot/tokenizer.h"
#include "text/split.h"

typedef struct word_entry {
    uint64_t hash;
    uint64_t place; /* of its bytes in word_counts.bytes */
    uint64_t length;
    uint64_t count; /* 0: a free slot */
} word_entry;

typedef struct word_counts {
    word_entry *slots; /* [mask + 1], a hash table */
    uint64_t mask, used;
    ARRAY(uint8_t) bytes;
} word_counts;

/* Counts the words of all documents of `source`, line by line, on the context's threads. */
status count_words(context *ctx, const splitter *s, ingot_text_source *source, void *user, word_counts *out);
void word_counts_free(word_counts *w);

#endif
