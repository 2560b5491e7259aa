/* The n-gram model's parts that its test looks at. */
#ifndef DATA_NGRAM_H
#define DATA_NGRAM_H

#include "base/base.h"
#include "ingot/data.h"

enum { NGRAM_MOST_ORDER = 8 };

/* P(token | history[0, length)), of which the last order - 1 count. */
double ngram_probability(const ingot_ngram *n, const int32_t *history, int length, int32_t token);
/* The discount of n-grams of `order` tokens. */
double ngram_discount(const ingot_ngram *n, int order);

#endif
