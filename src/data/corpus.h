/* Documents out of files; the public part is in ingot/data.h. Memory: a few pieces, whatever the files' size. */
#ifndef DATA_CORPUS_H
#define DATA_CORPUS_H

#include "base/base.h"
#include "ingot/data.h"

#define CORPUS_EOT_LINE "<|endoftext|>"

enum {
    CORPUS_PIECE_BYTES = 1 << 20,   /* longer documents come in pieces of at most this */
    CORPUS_LONGEST_LINE = 32 << 20, /* of jsonl: a line has to be in memory as a whole */
};

/* One file to read. */
typedef struct corpus_source {
    const char *path; /* "-": standard input */
    bool jsonl;
    bool found; /* in a folder, not named by the user: binary files are passed over */
} corpus_source;
typedef ARRAY(corpus_source) corpus_sources;

/* Files, folders (all below, by name, hidden ones left out) and globs, in order. Paths live in `a`. */
status corpus_expand(context *ctx, arena *a, const ingot_corpus_options *options, corpus_sources *out);

/* As ingot_corpus_open, with standard input taken from the file `standard_input` (read from its start), if not NULL. */
status corpus_open(context *ctx, const ingot_corpus_options *options, const char *standard_input, ingot_corpus **out);

/* No warnings from now on: for a first pass over what will be read again. */
void corpus_silence(ingot_corpus *c);

/* Where to cut bytes[0, count): the last place in (least, most], most < count, where every known pre-tokenizer begins a
 * new word whatever comes before and after, or -1. */
int64_t corpus_safe_cut(const char *bytes, int64_t count, int64_t least, int64_t most);

/* Moves `at` down to where no UTF-8 sequence is cut. */
int64_t corpus_character_start(const char *bytes, int64_t at);

#endif
