/* The tokenizer inside the library: its tables, how it is put together, and the merging of one word.
 *
 * tokenizer.c builds it from parts (which come from training, tokenizer.json or GGUF); encode.c and decode.c use it.
 */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include "base/base.h"
#include "ingot/tokenizer.h"
#include "text/split.h"

typedef ingot_tokenizer tokenizer;

/* Byte-level BPE has at least one entry a byte and files are hostile: more ids than this are refused. */
#define TOKENIZER_MOST_IDS (1 << 24)

typedef enum normal_form { NORMAL_NONE, NORMAL_NFC, NORMAL_NFD, NORMAL_NFKC, NORMAL_NFKD } normal_form;

/* A token that is found in the text before it is cut into words. */
typedef struct added_token {
    const char *content;
    size_t length;
    int id;
    bool special, normalized, single_word, lstrip, rstrip;
} added_token;

typedef struct token_entry {
    const char *spelling; /* as in the file; NULL: no such id */
    const uint8_t *bytes;
    uint32_t spelling_length, length;
    bool special, added, listed; /* listed: in the model's vocabulary, not only among the added tokens */
} token_entry;

/* What a tokenizer is made of. Everything is copied. */
typedef struct tokenizer_parts {
    const char *name;             /* what messages call it */
    const char *const *spellings; /* [vocab_size] by id, NULL where only an added token has the id */
    const size_t *spelling_lengths;
    int vocab_size;
    const int32_t (*merges)[2]; /* [merge_count] ids, best first */
    int64_t merge_count;
    const added_token *added; /* their ids may lie beyond vocab_size */
    int added_count;
    split_step steps[SPLIT_STEPS];
    int step_count;
    normal_form normal;
    bool ignore_merges;
    const char *unknown; /* unk_token, only to be written again: every byte has an entry here */
    const char *eot;     /* content of the token that ends a text; NULL: the usual names are tried */
    /* JSON as it stood in the file, to be written again; NULL for what tokenizer_write.c makes of the fields above. */
    const char *json_normalizer, *json_pre_tokenizer, *json_post_processor, *json_decoder;
} tokenizer_parts;
status tokenizer_build(context *ctx, const tokenizer_parts *parts, tokenizer **out);

/* Merge rules: a hash table from a pair of ids to its rank. */
typedef struct merge_slot {
    uint64_t pair; /* left << 32 | right; ~0: empty */
    uint32_t rank;
} merge_slot;
#define NO_RANK UINT32_MAX

typedef struct merge_table {
    merge_slot *slots;
    uint64_t mask;
    int32_t (*pairs)[2]; /* [count] by rank */
    int32_t *results;    /* [count] by rank */
    int64_t count;
} merge_table;

static inline uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline uint64_t pair_hash(uint64_t pair)
{
    pair *= 0x9E3779B97F4A7C15u;
    return pair ^ pair >> 32;
}

static inline uint32_t merge_rank(const merge_table *m, int32_t left, int32_t right)
{
    uint64_t pair = pair_key(left, right);
    for (uint64_t i = pair_hash(pair);; i++) {
        const merge_slot *slot = &m->slots[i & m->mask];
        if (slot->pair == pair) return slot->rank;
        if (slot->pair == ~(uint64_t)0) return NO_RANK;
    }
}

/* Finds added tokens in text: a trie, longest match first. */
typedef struct added_trie added_trie;
typedef struct added_match {
    const added_token *token;
    size_t start, end; /* with the white space that lstrip and rstrip take */
} added_match;
status added_trie_new(context *ctx, const added_token *tokens, int count, bool normalized, added_trie **out);
void added_trie_free(added_trie *t);
/* The next match that begins at or after *from; *from moves behind it. `taken` is where the last match ended. */
bool added_next(const added_trie *t, const uint8_t *bytes, size_t length, bool skip_special, size_t taken, size_t *from,
                added_match *out);

struct ingot_tokenizer {
    context *ctx;
    arena *arena;
    token_entry *tokens; /* [size] */
    int size, eot;
    int32_t byte_id[256];
    merge_table merges;
    int32_t *spelling_slots; /* hash table of spellings: ids, -1 empty */
    uint64_t spelling_mask;
    added_token *added;
    int added_count;
    added_trie *raw_trie, *normalized_trie; /* NULL when no token needs it */
    splitter *splitter;
    split_step steps[SPLIT_STEPS];
    int step_count;
    normal_form normal;
    bool ignore_merges;
    const char *unknown;
    const char *json_normalizer, *json_pre_tokenizer, *json_post_processor, *json_decoder;
    uint64_t checksum;
};

int tokenizer_find(const tokenizer *t, const char *spelling, size_t length); /* -1: there is none */

/* Merges a word in place: ids[count] in, the returned number of ids out. `scratch` is grown as needed. */
typedef struct merge_scratch {
    ARRAY(uint64_t) heap;
    ARRAY(uint32_t) ranks;
    ARRAY(int32_t) next, previous;
} merge_scratch;
void merge_scratch_free(merge_scratch *s);
status merge_word(const tokenizer *t, merge_scratch *scratch, int32_t *ids, int64_t count, int64_t *merged);

/* Valid UTF-8 in, the same text in `form` appended to out. */
status normalize(context *ctx, normal_form form, const uint8_t *bytes, size_t length, text *out);

#endif
