/* Putting a tokenizer together from its parts, with every check that files need, and looking things up in it. */
#include "text/tokenizer.h"
#include "text/utf8.h"

#include <xxhash.h>

static uint64_t power_of_two_above(uint64_t n)
{
    uint64_t size = 16;
    while (size < n) size *= 2;
    return size;
}

int tokenizer_find(const tokenizer *t, const char *spelling, size_t length)
{
    for (uint64_t i = XXH3_64bits(spelling, length);; i++) {
        int32_t id = t->spelling_slots[i & t->spelling_mask];
        if (id < 0) return -1;
        const token_entry *entry = &t->tokens[id];
        if (entry->spelling_length == length && !memcmp(entry->spelling, spelling, length)) return id;
    }
}

static void enter_spelling(tokenizer *t, int id)
{
    uint64_t i = XXH3_64bits(t->tokens[id].spelling, t->tokens[id].spelling_length);
    while (t->spelling_slots[i & t->spelling_mask] >= 0) i++;
    t->spelling_slots[i & t->spelling_mask] = id;
}

/* Gives `id` its spelling and its bytes. Added tokens stand for their text, entries for what byte-level spelling says. */
static status enter_token(tokenizer *t, const char *name, int id, const char *spelling, size_t length, bool added)
{
    if (length > UINT32_MAX / 4 || !length)
        return ingot_fail(t->ctx, INGOT_ERROR_FORMAT, "%s: token %d has a spelling of %zu bytes", name, id, length);
    if (utf8_valid((const uint8_t *)spelling, length) < length)
        return ingot_fail(t->ctx, INGOT_ERROR_FORMAT, "%s: the spelling of token %d is not UTF-8", name, id);
    int other = tokenizer_find(t, spelling, length);
    if (other >= 0)
        return ingot_fail(t->ctx, INGOT_ERROR_FORMAT, "%s: \"%.*s\" has two ids, %d and %d", name,
                          (int)MIN(length, 80u), spelling, other, id);
    token_entry *entry = &t->tokens[id];
    char *copy = arena_alloc(t->arena, length + 1);
    if (!copy) return fail_memory(t->ctx, "a vocabulary", length);
    memcpy(copy, spelling, length);
    *entry = (token_entry){.spelling = copy, .spelling_length = (uint32_t)length, .added = added, .listed = !added};
    entry->bytes = (const uint8_t *)copy;
    entry->length = (uint32_t)length;
    enter_spelling(t, id);
    return INGOT_OK;
}

static status decode_spellings(tokenizer *t)
{
    text bytes = {0};
    status s = INGOT_OK;
    for (int id = 0; id < t->size && !s; id++) {
        token_entry *entry = &t->tokens[id];
        bytes.length = 0;
        if (entry->added || !byte_level_bytes(&bytes, entry->spelling, entry->spelling_length)) continue;
        uint8_t *copy = arena_alloc(t->arena, bytes.length + 1);
        if (!copy || bytes.failed) s = fail_memory(t->ctx, "a vocabulary", bytes.length);
        if (s) break;
        entry->bytes = memcpy(copy, bytes.at, bytes.length);
        entry->length = (uint32_t)bytes.length;
    }
    text_free(&bytes);
    return s;
}

static status enter_added(tokenizer *t, const tokenizer_parts *parts)
{
    t->added = ARENA_ARRAY(t->arena, added_token, MAX(parts->added_count, 1));
    if (!t->added) return fail_memory(t->ctx, "added tokens", (uint64_t)parts->added_count);
    for (int i = 0; i < parts->added_count; i++) {
        added_token token = parts->added[i];
        int have = token.length ? tokenizer_find(t, token.content, token.length) : -1;
        if (have >= 0 && have != token.id)
            return ingot_fail(t->ctx, INGOT_ERROR_FORMAT,
                              "%s: added token \"%.*s\" says id %d, but the vocabulary gives it %d", parts->name,
                              (int)MIN(token.length, 80u), token.content, token.id, have);
        if (have >= 0 && t->tokens[have].added)
            return ingot_fail(t->ctx, INGOT_ERROR_FORMAT, "%s: added token \"%.*s\" is listed twice", parts->name,
                              (int)MIN(token.length, 80u), token.content);
        if (have < 0 && t->tokens[token.id].spelling)
            return ingot_fail(t->ctx, INGOT_ERROR_FORMAT, "%s: added token \"%.*s\" has id %d, which is \"%s\"",
                              parts->name, (int)MIN(token.length, 80u), token.content, token.id,
                              t->tokens[token.id].spelling);
        if (have < 0) TRY(enter_token(t, parts->name, token.id, token.content, token.length, true));
        t->tokens[token.id].added = true;
        t->tokens[token.id].special = token.special;
        token.content = t->tokens[token.id].spelling;
        t->added[t->added_count++] = token;
    }
    TRY(added_trie_new(t->ctx, t->added, t->added_count, false, &t->raw_trie));
    return added_trie_new(t->ctx, t->added, t->added_count, true, &t->normalized_trie);
}

static status enter_vocabulary(tokenizer *t, const tokenizer_parts *parts)
{
    int64_t size = parts->vocab_size;
    for (int i = 0; i < parts->added_count; i++) {
        if (parts->added[i].id < 0 || parts->added[i].id >= TOKENIZER_MOST_IDS)
            return ingot_fail(t->ctx, INGOT_ERROR_FORMAT, "%s: added token %d has id %d; ids go from 0 to %d",
                              parts->name, i, parts->added[i].id, TOKENIZER_MOST_IDS - 1);
        size = MAX(size, parts->added[i].id + (int64_t)1);
    }
    if (size < 1 || size > TOKENIZER_MOST_IDS)
        return ingot_fail(t->ctx, INGOT_ERROR_FORMAT, "%s: a vocabulary of %lld entries; 1 to %d are possible",
                          parts->name, (long long)size, TOKENIZER_MOST_IDS);
    t->size = (int)size;
    t->tokens = ARENA_ARRAY(t->arena, token_entry, size);
    t->spelling_mask = power_of_two_above((uint64_t)size * 2) - 1;
    t->spelling_slots = ARENA_ARRAY(t->arena, int32_t, t->spelling_mask + 1);
    if (!t->tokens || !t->spelling_slots)
        return fail_memory(t->ctx, "a vocabulary", (uint64_t)size * sizeof *t->tokens);
    memset(t->spelling_slots, 0xFF, (t->spelling_mask + 1) * sizeof *t->spelling_slots);
    for (int id = 0; id < parts->vocab_size; id++)
        if (parts->spellings[id])
            TRY(enter_token(t, parts->name, id, parts->spellings[id], parts->spelling_lengths[id], false));
    TRY(enter_added(t, parts));
    for (int id = 0; id < t->size; id++)
        if (!t->tokens[id].spelling)
            return ingot_fail(
                t->ctx, INGOT_ERROR_FORMAT,
                "%s: no token has id %d, though ids go up to %d; a model's rows would have no meaning there",
                parts->name, id, t->size - 1);
    return decode_spellings(t);
}

static status enter_bytes(tokenizer *t, const tokenizer_parts *parts)
{
    for (int byte = 0; byte < 256; byte++) {
        uint8_t spelling[4];
        size_t length = utf8_encode(byte_level_code((uint8_t)byte), spelling);
        t->byte_id[byte] = tokenizer_find(t, (const char *)spelling, length);
        if (t->byte_id[byte] < 0)
            return ingot_fail(
                t->ctx, INGOT_ERROR_UNSUPPORTED,
                "%s: byte 0x%02X has no entry (\"%.*s\"), so text with it could not be encoded; this is no "
                "complete byte-level vocabulary",
                parts->name, (unsigned)byte, (int)length, (const char *)spelling);
    }
    return INGOT_OK;
}

/* The pair's slot: the one that holds it or the free one where it goes. */
static merge_slot *slot_of(const merge_table *m, uint64_t pair)
{
    uint64_t i = pair_hash(pair);
    while (m->slots[i & m->mask].pair != pair && m->slots[i & m->mask].pair != ~(uint64_t)0) i++;
    return &m->slots[i & m->mask];
}

static status enter_merges(tokenizer *t, const tokenizer_parts *parts)
{
    merge_table *m = &t->merges;
    int64_t count = parts->merge_count;
    if (count < 0 || count >= INT32_MAX)
        return ingot_fail(t->ctx, INGOT_ERROR_FORMAT, "%s: %lld merges", parts->name, (long long)count);
    m->mask = power_of_two_above((uint64_t)count * 2) - 1;
    m->slots = ARENA_ARRAY(t->arena, merge_slot, m->mask + 1);
    m->pairs = arena_alloc(t->arena, (size_t)(count + 1) * sizeof *m->pairs);
    m->results = ARENA_ARRAY(t->arena, int32_t, count + 1);
    if (!m->slots || !m->pairs || !m->results) return fail_memory(t->ctx, "merges", (uint64_t)count * 40);
    memset(m->slots, 0xFF, (m->mask + 1) * sizeof *m->slots);
    text joined = {0};
    status s = INGOT_OK;
    for (int64_t rank = 0; rank < count && !s; rank++) {
        int32_t left = parts->merges[rank][0], right = parts->merges[rank][1];
        if (left < 0 || left >= t->size || right < 0 || right >= t->size) {
            s = ingot_fail(t->ctx, INGOT_ERROR_FORMAT, "%s: merge %lld is of ids %d and %d; ids go up to %d",
                           parts->name, (long long)rank, left, right, t->size - 1);
            break;
        }
        joined.length = 0;
        text_add(&joined, t->tokens[left].spelling, t->tokens[left].spelling_length);
        text_add(&joined, t->tokens[right].spelling, t->tokens[right].spelling_length);
        int result = joined.failed ? -1 : tokenizer_find(t, joined.at, joined.length);
        if (result < 0) {
            s = joined.failed ? fail_memory(t->ctx, "merges", joined.length)
                              : ingot_fail(t->ctx, INGOT_ERROR_FORMAT,
                                           "%s: merge %lld makes \"%.80s\", which is not in the vocabulary",
                                           parts->name, (long long)rank, joined.at);
            break;
        }
        merge_slot *slot = slot_of(m, pair_key(left, right));
        *slot = (merge_slot){.pair = pair_key(left, right),
                             .rank = (uint32_t)rank}; /* of two equal ones the later counts */
        m->pairs[rank][0] = left;
        m->pairs[rank][1] = right;
        m->results[rank] = result;
        m->count = rank + 1;
    }
    text_free(&joined);
    return s;
}

static status enter_splitter(tokenizer *t, const tokenizer_parts *parts)
{
    t->step_count = parts->step_count;
    TRY(splitter_new(t->ctx, parts->steps, parts->step_count, &t->splitter));
    for (int i = 0; i < parts->step_count; i++) {
        t->steps[i] = parts->steps[i];
        char *copy = arena_alloc(t->arena, parts->steps[i].length + 1);
        if (!copy) return fail_memory(t->ctx, "a pattern", parts->steps[i].length);
        if (parts->steps[i].length) memcpy(copy, parts->steps[i].pattern, parts->steps[i].length);
        t->steps[i].pattern = copy;
    }
    return INGOT_OK;
}

static uint64_t checksum_of(const tokenizer *t)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) return 0;
    XXH3_64bits_reset(state);
    for (int id = 0; id < t->size; id++) {
        uint32_t head[2] = {t->tokens[id].spelling_length, (uint32_t)t->tokens[id].added << 1 | t->tokens[id].special};
        XXH3_64bits_update(state, head, sizeof head);
        XXH3_64bits_update(state, t->tokens[id].spelling, t->tokens[id].spelling_length);
    }
    XXH3_64bits_update(state, t->merges.pairs, (size_t)t->merges.count * sizeof *t->merges.pairs);
    for (int i = 0; i < t->step_count; i++) {
        uint32_t kind = (uint32_t)t->steps[i].kind;
        XXH3_64bits_update(state, &kind, sizeof kind);
        XXH3_64bits_update(state, t->steps[i].pattern, t->steps[i].length);
    }
    uint32_t tail[2] = {(uint32_t)t->normal, t->ignore_merges};
    XXH3_64bits_update(state, tail, sizeof tail);
    uint64_t sum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return sum;
}

static int find_eot(const tokenizer *t, const char *named)
{
    const char *usual[] = {"<|endoftext|>", "<|end_of_text|>", "</s>", named};
    for (size_t i = 0; i < COUNT(usual); i++) {
        int id = usual[i] ? ingot_token_id(t, usual[i]) : -1;
        if (id >= 0) return id;
    }
    return -1;
}

static const char *kept(tokenizer *t, const char *json)
{
    return json ? arena_strdup(t->arena, json) : NULL;
}

status tokenizer_build(context *ctx, const tokenizer_parts *parts, tokenizer **out)
{
    *out = NULL;
    tokenizer *t = calloc(1, sizeof *t);
    if (!t) return fail_memory(ctx, "a tokenizer", sizeof *t);
    t->ctx = ctx;
    t->normal = parts->normal;
    t->ignore_merges = parts->ignore_merges;
    t->arena = arena_new();
    status s = t->arena ? INGOT_OK : fail_memory(ctx, "a tokenizer", sizeof *t);
    if (!s) s = enter_vocabulary(t, parts);
    if (!s) s = enter_bytes(t, parts);
    if (!s) s = enter_merges(t, parts);
    if (!s) s = enter_splitter(t, parts);
    if (!s) {
        t->unknown = kept(t, parts->unknown);
        t->json_normalizer = kept(t, parts->json_normalizer);
        t->json_pre_tokenizer = kept(t, parts->json_pre_tokenizer);
        t->json_post_processor = kept(t, parts->json_post_processor);
        t->json_decoder = kept(t, parts->json_decoder);
        t->checksum = checksum_of(t);
        t->eot = find_eot(t, parts->eot);
        if (arena_failed(t->arena) || !t->checksum) s = fail_memory(ctx, "a tokenizer", sizeof *t);
    }
    if (s) {
        ingot_tokenizer_free(t);
        return s;
    }
    *out = t;
    return INGOT_OK;
}

void ingot_tokenizer_free(ingot_tokenizer *t)
{
    if (!t) return;
    added_trie_free(t->raw_trie);
    added_trie_free(t->normalized_trie);
    splitter_free(t->splitter);
    arena_free(t->arena);
    free(t);
}

int ingot_tokenizer_vocab_size(const ingot_tokenizer *t)
{
    return t->size;
}

int ingot_tokenizer_merge_count(const ingot_tokenizer *t)
{
    return (int)t->merges.count;
}

const char *ingot_tokenizer_pattern(const ingot_tokenizer *t)
{
    const char *name = split_known_name(splitter_known(t->splitter));
    return name ? name : "custom";
}

int ingot_token_id(const ingot_tokenizer *t, const char *token)
{
    return tokenizer_find(t, token, strlen(token));
}

const char *ingot_token_spelling(const ingot_tokenizer *t, int id)
{
    return id >= 0 && id < t->size ? t->tokens[id].spelling : NULL;
}

const char *ingot_token_bytes(const ingot_tokenizer *t, int id, int64_t *bytes)
{
    *bytes = 0;
    if (id < 0 || id >= t->size) return NULL;
    *bytes = t->tokens[id].length;
    return (const char *)t->tokens[id].bytes;
}

int ingot_token_is_special(const ingot_tokenizer *t, int id)
{
    return id >= 0 && id < t->size && t->tokens[id].special;
}

int ingot_tokenizer_eot(const ingot_tokenizer *t)
{
    return t->eot;
}

uint64_t ingot_tokenizer_checksum(const ingot_tokenizer *t)
{
    return t->checksum;
}
