/* Training byte-level BPE (Sennrich et al. 2016), with the merges and ids that Hugging Face `tokenizers` gives.
 *
 * All distinct words lie one after another in one array of symbols, a byte each at first, -1 between words. A token of
 * n bytes keeps its id in its first and its last place, so both neighbours are found without links:
 *
 *     t h e _ t h      (t,h) becomes X      X X e _ X X       (X,e) becomes Y      Y . Y _ X X
 *
 * Each pair of neighbours has its count and the places where it occurs (pairs.h), so a merge touches only those places.
 */
#include "text/pairs.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "text/words.h"

#include <xxhash.h>

#define BETWEEN_WORDS (-1)
#define WITHIN_TOKEN  (-2)

typedef struct trained_token {
    char *spelling;
    uint32_t spelling_length, bytes;
} trained_token;

typedef struct trainer {
    context *ctx;
    arena *arena;
    /* Words. */
    int32_t *symbols;     /* [symbol_count] */
    uint32_t *word_of;    /* [symbol_count] */
    int64_t *word_counts; /* [words] */
    int64_t symbol_count;
    /* Vocabulary. */
    ARRAY(trained_token) tokens;
    int32_t *spelling_slots; /* hash table of token ids, -1 empty; larger than the vocabulary can become */
    uint64_t spelling_mask;
    int32_t byte_id[256];
    pair_table pairs;
    ARRAY(uint64_t) merges; /* pairs; ~0 where the same pair was merged again later */
} trainer;

static status out_of_memory(trainer *t)
{
    return fail_memory(t->ctx, "training a tokenizer", (uint64_t)t->symbol_count * 16);
}

/* ---- vocabulary ---- */

static int32_t *spelling_slot(trainer *t, const char *spelling, size_t length)
{
    uint64_t i = XXH3_64bits(spelling, length);
    for (;; i++) {
        int32_t *slot = &t->spelling_slots[i & t->spelling_mask];
        if (*slot < 0) return slot;
        const trained_token *token = &t->tokens.at[*slot];
        if (token->spelling_length == length && !memcmp(token->spelling, spelling, length)) return slot;
    }
}

/* The id of `spelling`, made when it is new; -1 when memory is out. */
static int32_t token_for(trainer *t, const char *spelling, size_t length, uint32_t bytes)
{
    int32_t *slot = spelling_slot(t, spelling, length);
    if (*slot >= 0) {
        t->tokens.at[*slot].bytes = bytes;
        return *slot;
    }
    trained_token token = {arena_alloc(t->arena, length + 1), (uint32_t)length, bytes};
    if (!token.spelling) return -1;
    memcpy(token.spelling, spelling, length);
    if (!ARRAY_PUSH(&t->tokens, token)) return -1;
    return *slot = (int32_t)t->tokens.count - 1;
}

static int32_t merged_token(trainer *t, uint64_t pair)
{
    const trained_token *left = &t->tokens.at[pair >> 32], *right = &t->tokens.at[pair & UINT32_MAX];
    text joined = {0};
    text_add(&joined, left->spelling, left->spelling_length);
    text_add(&joined, right->spelling, right->spelling_length);
    int32_t id = joined.failed ? -1 : token_for(t, joined.at, joined.length, left->bytes + right->bytes);
    text_free(&joined);
    return id;
}

static status first_tokens(trainer *t, const ingot_tokenizer_training *o)
{
    uint64_t size = 1024;
    while (size < 2 * (uint64_t)o->vocab_size + 1024) size *= 2;
    t->spelling_mask = size - 1;
    t->spelling_slots = malloc(size * sizeof *t->spelling_slots);
    if (!t->spelling_slots) return out_of_memory(t);
    memset(t->spelling_slots, 0xFF, size * sizeof *t->spelling_slots);
    for (int i = 0; i < o->special_count; i++)
        if (token_for(t, o->specials[i], strlen(o->specials[i]), 0) < 0) return out_of_memory(t);
    for (uint32_t code = 0; code <= 0x143; code++) { /* in the order of their spelling */
        int byte = byte_level_byte(code);
        if (byte < 0) continue;
        uint8_t spelling[4];
        size_t length = utf8_encode(code, spelling);
        t->byte_id[byte] = token_for(t, (char *)spelling, length, 1);
        if (t->byte_id[byte] < 0) return out_of_memory(t);
    }
    return INGOT_OK;
}

/* ---- words and merges ---- */

static status lay_out_words(trainer *t, word_counts *words)
{
    uint64_t total = 1 + words->used + (uint64_t)words->bytes.count;
    if (total > UINT32_MAX || words->used > UINT32_MAX)
        return ingot_fail(t->ctx, INGOT_ERROR_UNSUPPORTED,
                          "the text has %llu different words of %llu bytes together, more than 4 GB: this is hardly "
                          "text; train on a part of it",
                          (unsigned long long)words->used, (unsigned long long)words->bytes.count);
    t->symbol_count = (int64_t)total;
    t->symbols = malloc(total * sizeof *t->symbols);
    t->word_of = malloc(total * sizeof *t->word_of);
    t->word_counts = malloc((words->used + 1) * sizeof *t->word_counts);
    if (!t->symbols || !t->word_of || !t->word_counts) return out_of_memory(t);
    uint64_t at = 0;
    uint32_t word = 0;
    t->symbols[at++] = BETWEEN_WORDS;
    for (uint64_t i = 0; words->slots && i <= words->mask; i++) {
        const word_entry *e = &words->slots[i];
        if (!e->count) continue;
        for (uint64_t j = 0; j < e->length; j++, at++) {
            t->symbols[at] = t->byte_id[words->bytes.at[e->place + j]];
            t->word_of[at] = word;
        }
        t->symbols[at++] = BETWEEN_WORDS;
        t->word_counts[word++] = (int64_t)e->count;
    }
    word_counts_free(words);
    return INGOT_OK;
}

static status first_pairs(trainer *t)
{
    for (int64_t i = 1; i + 1 < t->symbol_count; i++) {
        int32_t left = t->symbols[i], right = t->symbols[i + 1];
        if (left == BETWEEN_WORDS || right == BETWEEN_WORDS) continue;
        if (!pair_found(&t->pairs, pair_key(left, right), (uint32_t)i, t->word_counts[t->word_of[i]]))
            return out_of_memory(t);
    }
    return pairs_queue_found(&t->pairs) ? INGOT_OK : out_of_memory(t);
}

/* Makes `id` of the pair that begins at `place`, if it still does. */
static bool merge_place(trainer *t, int32_t left, int32_t right, int32_t id, uint32_t place)
{
    uint32_t left_bytes = t->tokens.at[left].bytes, right_bytes = t->tokens.at[right].bytes;
    uint32_t second = place + left_bytes, after = second + right_bytes;
    if (t->symbols[place] != left || second >= t->symbol_count || t->symbols[second] != right) return true;
    int64_t times = t->word_counts[t->word_of[place]];
    t->symbols[second - 1] = t->symbols[second] = WITHIN_TOKEN;
    t->symbols[place] = t->symbols[after - 1] = id;
    int32_t previous = t->symbols[place - 1], next = t->symbols[after];
    bool ok = true;
    if (previous != BETWEEN_WORDS)
        ok = pair_change(&t->pairs, pair_key(previous, left), -times) &&
             pair_found(&t->pairs, pair_key(previous, id), place - t->tokens.at[previous].bytes, times);
    if (ok && next != BETWEEN_WORDS)
        ok = pair_change(&t->pairs, pair_key(right, next), -times) &&
             pair_found(&t->pairs, pair_key(id, next), place, times);
    return ok;
}

static status merge_pair(trainer *t, const queued_pair *top)
{
    int32_t id = merged_token(t, top->pair);
    if (id < 0 || !ARRAY_PUSH(&t->merges, top->pair)) return out_of_memory(t);
    pair_record *r = &t->pairs.records.at[top->record];
    if (r->merge >= 0) t->merges.at[r->merge] = ~(uint64_t)0;
    r->merge = (int32_t)t->merges.count - 1;
    for (int64_t i = 0; i < t->pairs.lists.at[top->list].count; i++)
        if (!merge_place(t, (int32_t)(top->pair >> 32), (int32_t)top->pair, id, t->pairs.lists.at[top->list].at[i]))
            return out_of_memory(t);
    if (!pairs_free_list(&t->pairs, top->list)) return out_of_memory(t);
    return pairs_queue_found(&t->pairs) ? INGOT_OK : out_of_memory(t);
}

static status merge_all(trainer *t, int vocab_size, int min_frequency)
{
    for (int64_t done = 1; t->tokens.count < vocab_size; done++) {
        queued_pair top;
        if (!pairs_next(&t->pairs, &top)) return out_of_memory(t);
        if (top.count < 1 || top.count < min_frequency) break;
        TRY(merge_pair(t, &top));
        if (done % 256) continue;
        progress(t->ctx, "merging", (double)t->tokens.count, vocab_size, "entries");
        if (ingot_interrupted(t->ctx)) return ingot_fail(t->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
    }
    return INGOT_OK;
}

static status build(trainer *t, const ingot_tokenizer_training *o, tokenizer_parts *parts, tokenizer **out)
{
    int64_t size = t->tokens.count, merge_count = 0;
    const char **spellings = ARENA_ARRAY(t->arena, const char *, size);
    size_t *lengths = ARENA_ARRAY(t->arena, size_t, size);
    int32_t(*merges)[2] = arena_alloc(t->arena, (size_t)(t->merges.count + 1) * sizeof *merges);
    added_token *added = ARENA_ARRAY(t->arena, added_token, o->special_count + 1);
    if (!spellings || !lengths || !merges || !added) return out_of_memory(t);
    for (int64_t i = 0; i < size; i++) {
        spellings[i] = t->tokens.at[i].spelling;
        lengths[i] = t->tokens.at[i].spelling_length;
    }
    for (int64_t i = 0; i < t->merges.count; i++) {
        if (t->merges.at[i] == ~(uint64_t)0) continue;
        merges[merge_count][0] = (int32_t)(t->merges.at[i] >> 32);
        merges[merge_count++][1] = (int32_t)t->merges.at[i];
    }
    for (int i = 0; i < o->special_count; i++) {
        size_t length = strlen(o->specials[i]);
        int32_t id = *spelling_slot(t, o->specials[i], length);
        bool twice = false;
        for (int j = 0; j < parts->added_count; j++) twice = twice || added[j].id == id;
        if (!twice)
            added[parts->added_count++] =
                (added_token){.content = o->specials[i], .length = length, .id = id, .special = true};
    }
    parts->name = "the trained tokenizer";
    parts->spellings = spellings;
    parts->spelling_lengths = lengths;
    parts->vocab_size = (int)size;
    parts->merges = (const int32_t(*)[2])merges;
    parts->merge_count = merge_count;
    parts->added = added;
    return tokenizer_build(t->ctx, parts, out);
}

static void trainer_free(trainer *t)
{
    arena_free(t->arena);
    free(t->symbols);
    free(t->word_of);
    free(t->word_counts);
    free(t->spelling_slots);
    pairs_free(&t->pairs);
    ARRAY_FREE(&t->tokens);
    ARRAY_FREE(&t->merges);
}

static status train(context *ctx, const ingot_tokenizer_training *o, const splitter *cuts, ingot_text_source *source,
                    void *user, tokenizer_parts *parts, tokenizer **out)
{
    word_counts words;
    TRY(count_words(ctx, cuts, source, user, &words));
    bool has_text = words.used > 0; /* none is the caller's to refuse, not worth a warning */
    trainer t = {.ctx = ctx, .arena = arena_new()};
    status s = t.arena ? INGOT_OK : out_of_memory(&t);
    if (!s) s = first_tokens(&t, o);
    if (!s) s = lay_out_words(&t, &words);
    if (!s) s = first_pairs(&t);
    if (!s) s = merge_all(&t, o->vocab_size, o->min_frequency);
    if (!s) s = build(&t, o, parts, out);
    if (!s && t.tokens.count < o->vocab_size && has_text)
        log_line(ctx, INGOT_LOG_WARNING, "the text gives %lld entries, not %d: no pair of its words is left to merge%s",
                 (long long)t.tokens.count, o->vocab_size,
                 o->min_frequency > 1 ? " (--min-frequency allows)" : "; more or other text would give more");
    trainer_free(&t);
    word_counts_free(&words);
    return s;
}

static status check_options(context *ctx, const ingot_tokenizer_training *o)
{
    if (o->vocab_size < o->special_count + 256 || o->vocab_size > TOKENIZER_MOST_IDS)
        return ingot_fail(
            ctx, INGOT_ERROR_ARGUMENT,
            "a vocabulary of %d entries: 256 bytes and %d special tokens need at least %d, and at most %d "
            "are possible",
            o->vocab_size, o->special_count, o->special_count + 256, TOKENIZER_MOST_IDS);
    for (int i = 0; i < o->special_count; i++)
        if (!o->specials[i] || !o->specials[i][0] || strlen(o->specials[i]) > 4096 ||
            utf8_valid((const uint8_t *)o->specials[i], strlen(o->specials[i])) < strlen(o->specials[i]))
            return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "special token %d is empty, too long, or no UTF-8", i);
    return INGOT_OK;
}

ingot_status ingot_tokenizer_train(ingot_context *ctx, const ingot_tokenizer_training *options,
                                   ingot_text_source *source, void *user, ingot_tokenizer **out)
{
    static const char *const usual[] = {"<|endoftext|>"};
    *out = NULL;
    ingot_tokenizer_training o = *options;
    if (!o.specials) {
        o.specials = usual;
        o.special_count = 1;
    }
    TRY(check_options(ctx, &o));
    const char *pattern = o.pattern ? o.pattern : "gpt-2";
    tokenizer_parts parts = {0};
    parts.step_count = split_known_steps(pattern, parts.steps);
    if (!parts.step_count)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                          "no pattern is named \"%s\"; use gpt-2, llama-bpe, qwen2 or smollm", pattern);
    splitter *cuts;
    TRY(splitter_new(ctx, parts.steps, parts.step_count, &cuts));
    status s = train(ctx, &o, cuts, source, user, &parts, out);
    splitter_free(cuts);
    return s;
}
