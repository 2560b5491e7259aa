/* What --clean does to a document: a pure function, so that documents are cleaned on all threads at once. */
#ifndef DATA_CLEAN_H
#define DATA_CLEAN_H

#include "base/base.h"
#include "ingot/data.h"

typedef struct clean_counts {
    int64_t broken_sequences; /* of UTF-8, each replaced by U+FFFD */
    int64_t control_bytes;    /* stripped: controls but tab and newline, byte order marks */
    int64_t markup_bytes;     /* that HTML tags, comments, scripts and entities were longer than what stands for them */
    int64_t line_ends;        /* CR, CR LF, NEL, LS, PS made \n */
    int64_t composed;         /* 1 when NFC changed something */
} clean_counts;

/* Replaces *out by the cleaned bytes and adds to *counts. */
status clean_text(context *ctx, const ingot_clean_options *options, const char *bytes, int64_t count, text *out,
                  clean_counts *counts);

/* Broken sequences of UTF-8 in bytes[0, count), as clean_text counts them. */
int64_t clean_count_broken(const char *bytes, int64_t count);

/* A set of hashes of documents seen: 16 bytes a document at most. */
typedef struct hash_set {
    uint64_t *at; /* 0: free */
    uint64_t capacity, count;
} hash_set;
/* *seen: it was in the set before. */
status hash_set_add(context *ctx, hash_set *set, uint64_t hash, bool *seen);
void hash_set_free(hash_set *set);

#endif
