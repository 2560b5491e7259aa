/* Text to ids: added tokens are found first, what lies between is normalised, cut into words, and each word's ids are
 * looked up in the encoder's memory or merged.
 *
 * Words repeat (in English 99 % of them within a few megabytes), so the memory decides the speed. An entry is half a
 * cache line: the word itself when it has at most 16 bytes, else its place in `kept`, and its ids when there are at most
 * three, else their place in `spilled`.
 */
#include "text/tokenizer.h"
#include "text/utf8.h"

#define SMALLEST_MEMORY 256
#define LARGEST_MEMORY  65536     /* 2 MB: fits in a core's own cache, and holds the words of most books */
#define LONGEST_KEPT    128       /* bytes; longer words hardly repeat */
#define MOST_KEPT       (4 << 20) /* bytes of long words, and ids of words with many */
#define PROBES          4

typedef struct remembered {
    union {
        uint64_t halves[2]; /* a word of at most 16 bytes, zeros behind it */
        struct {
            uint64_t hash;
            uint64_t place;
        } kept;
    } word;
    uint8_t length, count; /* bytes of the word (0: free), ids */
    uint16_t unused;
    int32_t ids[3]; /* ids[0] is the place in `spilled` when count > 3 */
} remembered;

struct ingot_encoder {
    const tokenizer *t;
    cutter cutter;
    remembered *memory;
    uint64_t mask, used, replaced;
    ARRAY(uint8_t) kept;
    ARRAY(int32_t) spilled;
    ARRAY(int32_t) ids;
    merge_scratch merging;
    text normal;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(a ^ 0x9E3779B97F4A7C15u) * (b ^ 0xD6E8FEB86659FD93u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_long(const uint8_t *at, size_t length)
{
    uint64_t hash = length, piece[2];
    for (; length >= 16; at += 16, length -= 16) {
        memcpy(piece, at, 16);
        hash = mix(hash ^ piece[0], piece[1]);
    }
    piece[0] = piece[1] = 0;
    if (length) memcpy(piece, at, length);
    return mix(hash ^ piece[0], piece[1]);
}

/* The word's bytes with zeros behind them. `room` bytes may be read from `at`. */
static inline void load_short(const uint8_t *at, size_t length, size_t room, uint64_t halves[2])
{
    if (room < 16) {
        halves[0] = halves[1] = 0;
        memcpy(halves, at, length);
        return;
    }
    memcpy(halves, at, 16);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t all = ~(uint64_t)0;
    halves[0] &= length >= 8 ? all : ~(all << (8 * length));
    halves[1] &= length >= 16 ? all : length <= 8 ? 0 : ~(all << (8 * (length - 8)));
#else
    memset((uint8_t *)halves + length, 0, 16 - length);
#endif
}

status ingot_encoder_new(const ingot_tokenizer *t, ingot_encoder **out)
{
    *out = NULL;
    ingot_encoder *e = calloc(1, sizeof *e);
    if (!e) return fail_memory(t->ctx, "an encoder", sizeof *e);
    e->t = t;
    e->mask = SMALLEST_MEMORY - 1;
    e->memory = calloc(SMALLEST_MEMORY, sizeof *e->memory);
    status s = e->memory ? INGOT_OK : fail_memory(t->ctx, "an encoder", SMALLEST_MEMORY * sizeof *e->memory);
    if (!s) s = cutter_init(&e->cutter, t->ctx, t->splitter);
    if (s) {
        ingot_encoder_free(e);
        return s;
    }
    *out = e;
    return INGOT_OK;
}

void ingot_encoder_free(ingot_encoder *e)
{
    if (!e) return;
    cutter_free(&e->cutter);
    free(e->memory);
    ARRAY_FREE(&e->kept);
    ARRAY_FREE(&e->spilled);
    ARRAY_FREE(&e->ids);
    merge_scratch_free(&e->merging);
    text_free(&e->normal);
    free(e);
}

static uint64_t hash_of(const remembered *r)
{
    return r->length > 16 ? r->word.kept.hash : mix(r->word.halves[0], r->word.halves[1]);
}

/* A free place near `hash`, or one whose word is forgotten. */
static remembered *place_for(ingot_encoder *e, uint64_t hash)
{
    for (uint64_t i = hash; i < hash + PROBES; i++)
        if (!e->memory[i & e->mask].length) return e->used++, &e->memory[i & e->mask];
    return &e->memory[(hash + e->replaced++ % PROBES) & e->mask];
}

static void forget_all(ingot_encoder *e)
{
    memset(e->memory, 0, (e->mask + 1) * sizeof *e->memory);
    e->used = 0;
    e->kept.count = e->spilled.count = 0;
}

/* Four times the room; without memory for it the encoder goes on with what it has. */
static void grow(ingot_encoder *e)
{
    remembered *old = e->memory, *bigger = calloc((e->mask + 1) * 4, sizeof *bigger);
    if (!bigger) return;
    uint64_t count = e->mask + 1;
    e->memory = bigger;
    e->mask = count * 4 - 1;
    e->used = 0;
    for (uint64_t i = 0; i < count; i++)
        if (old[i].length) *place_for(e, hash_of(&old[i])) = old[i];
    free(old);
}

static void remember(ingot_encoder *e, remembered r, const uint8_t *word, const int32_t *ids, int64_t count)
{
    if (e->used * 2 > e->mask && e->mask + 1 < LARGEST_MEMORY) grow(e);
    if (e->kept.count + e->spilled.count > MOST_KEPT) forget_all(e);
    if (r.length > 16) {
        if (!ARRAY_RESERVE(&e->kept, e->kept.count + r.length)) return;
        r.word.kept.place = (uint64_t)e->kept.count;
        memcpy(e->kept.at + e->kept.count, word, r.length);
        e->kept.count += r.length;
    }
    r.count = (uint8_t)count;
    if (count <= 3) {
        memcpy(r.ids, ids, (size_t)count * sizeof *ids);
    } else {
        if (!ARRAY_RESERVE(&e->spilled, e->spilled.count + count)) return;
        r.ids[0] = (int32_t)e->spilled.count;
        memcpy(e->spilled.at + e->spilled.count, ids, (size_t)count * sizeof *ids);
        e->spilled.count += count;
    }
    *place_for(e, hash_of(&r)) = r;
}

/* The id of a word that is in the vocabulary as it stands (Llama 3 takes it without merging), or -1. */
static int whole_word(ingot_encoder *e, const uint8_t *word, size_t length)
{
    if (length > 4096) return -1;
    text spelling = {0};
    byte_level_spell(&spelling, word, length);
    int id = spelling.failed ? -1 : tokenizer_find(e->t, spelling.at, spelling.length);
    text_free(&spelling);
    return id >= 0 && e->t->tokens[id].listed ? id : -1;
}

/* Appends the ids of a word that is not remembered; there is room for `length` more. */
static status merge_new(ingot_encoder *e, const uint8_t *word, size_t length, int64_t *count)
{
    int32_t *ids = e->ids.at + e->ids.count;
    int id = e->t->ignore_merges ? whole_word(e, word, length) : -1;
    if (id >= 0) {
        ids[0] = id;
        *count = 1;
        return INGOT_OK;
    }
    for (size_t i = 0; i < length; i++) ids[i] = e->t->byte_id[word[i]];
    return merge_word(e->t, &e->merging, ids, (int64_t)length, count);
}

static inline void append_remembered(ingot_encoder *e, const remembered *r)
{
    int32_t *ids = e->ids.at + e->ids.count;
    e->ids.count += r->count;
    if (r->count > 3) {
        memcpy(ids, e->spilled.at + r->ids[0], r->count * sizeof *ids);
    } else {
        memcpy(ids, r->ids, sizeof r->ids); /* there is room: see encode_stretch */
    }
}

/* A word that is not remembered: merged, then remembered as `new`, which holds what finds it again. */
static status encode_new(ingot_encoder *e, remembered new, const uint8_t *word, size_t length)
{
    int64_t count;
    TRY(merge_new(e, word, length, &count));
    remember(e, new, word, e->ids.at + e->ids.count, count);
    e->ids.count += count;
    return INGOT_OK;
}

static status encode_short(ingot_encoder *e, const uint8_t *word, size_t length, size_t room)
{
    remembered new = {.length = (uint8_t)length};
    load_short(word, length, room, new.word.halves);
    uint64_t hash = mix(new.word.halves[0], new.word.halves[1]);
    for (uint64_t i = hash; i < hash + PROBES; i++) {
        const remembered *r = &e->memory[i & e->mask];
        if (r->word.halves[0] == new.word.halves[0] && r->word.halves[1] == new.word.halves[1] && r->length == length) {
            append_remembered(e, r);
            return INGOT_OK;
        }
        if (!r->length) break;
    }
    return encode_new(e, new, word, length);
}

static status encode_long(ingot_encoder *e, const uint8_t *word, size_t length)
{
    remembered new = {.length = (uint8_t)length, .word.kept.hash = hash_long(word, length)};
    uint64_t hash = new.word.kept.hash;
    for (uint64_t i = hash; i < hash + PROBES; i++) {
        const remembered *r = &e->memory[i & e->mask];
        if (r->length == length && r->word.kept.hash == hash &&
            !memcmp(e->kept.at + r->word.kept.place, word, length)) {
            append_remembered(e, r);
            return INGOT_OK;
        }
        if (!r->length) break;
    }
    return encode_new(e, new, word, length);
}

static status encode_huge(ingot_encoder *e, const uint8_t *word, size_t length)
{
    int64_t count;
    TRY(merge_new(e, word, length, &count));
    e->ids.count += count;
    return INGOT_OK;
}

/* Text without added tokens, already normalised. */
static status encode_words(ingot_encoder *e, const uint8_t *bytes, size_t length)
{
    size_t ends[CUT_WORDS], at = 0;
    int words;
    cutter_start(&e->cutter, bytes, length);
    for (;;) {
        TRY(cutter_next(&e->cutter, ends, &words));
        if (!words) return INGOT_OK;
        /* At most one id a byte, and three places more: short words are copied as a whole. */
        int64_t wanted = e->ids.count + (int64_t)(ends[words - 1] - at) + 3;
        if (!ARRAY_RESERVE(&e->ids, wanted)) return fail_memory(e->t->ctx, "token ids", (uint64_t)wanted * 4);
        for (int i = 0; i < words; at = ends[i++]) {
            size_t word = ends[i] - at;
            if (word <= 16)
                TRY(encode_short(e, bytes + at, word, length - at));
            else if (word <= LONGEST_KEPT)
                TRY(encode_long(e, bytes + at, word));
            else
                TRY(encode_huge(e, bytes + at, word));
        }
    }
}

static status append_id(ingot_encoder *e, int id)
{
    return ARRAY_PUSH(&e->ids, id) ? INGOT_OK : fail_memory(e->t->ctx, "token ids", (uint64_t)e->ids.count * 4);
}

typedef status encode_piece(ingot_encoder *e, const uint8_t *bytes, size_t length, bool plain);

/* Ids of the added tokens that `trie` finds; what lies between goes to `rest`. */
static status encode_around(ingot_encoder *e, const added_trie *trie, const uint8_t *bytes, size_t length, bool plain,
                            encode_piece *rest)
{
    size_t taken = 0, from = 0;
    added_match match;
    while (trie && added_next(trie, bytes, length, plain, taken, &from, &match)) {
        if (match.start > taken) TRY(rest(e, bytes + taken, match.start - taken, plain));
        TRY(append_id(e, match.token->id));
        taken = match.end;
    }
    return taken < length ? rest(e, bytes + taken, length - taken, plain) : INGOT_OK;
}

static status encode_normalised(ingot_encoder *e, const uint8_t *bytes, size_t length, bool plain)
{
    (void)plain;
    return encode_words(e, bytes, length);
}

static status encode_raw(ingot_encoder *e, const uint8_t *bytes, size_t length, bool plain)
{
    const tokenizer *t = e->t;
    if (t->normal == NORMAL_NONE) return encode_around(e, t->normalized_trie, bytes, length, plain, encode_normalised);
    e->normal.length = 0;
    for (size_t at = 0; at < length;) { /* bytes that are no UTF-8 stay as they are */
        size_t valid = utf8_valid(bytes + at, length - at);
        TRY(normalize(t->ctx, t->normal, bytes + at, valid, &e->normal));
        at += valid;
        for (; at < length && !utf8_sequence(bytes + at, length - at); at++)
            text_add(&e->normal, (const char *)bytes + at, 1);
    }
    if (e->normal.failed) return fail_memory(t->ctx, "normalised text", length);
    return encode_around(e, t->normalized_trie, (const uint8_t *)e->normal.at, e->normal.length, plain,
                         encode_normalised);
}

status ingot_encoder_run(ingot_encoder *e, const char *input, int64_t bytes, ingot_encode_mode mode,
                         const int32_t **ids, int64_t *count)
{
    *ids = NULL;
    *count = 0;
    if (bytes < 0) return ingot_fail(e->t->ctx, INGOT_ERROR_ARGUMENT, "a text of %lld bytes", (long long)bytes);
    e->ids.count = 0;
    if (bytes)
        TRY(encode_around(e, e->t->raw_trie, (const uint8_t *)input, (size_t)bytes, mode == INGOT_ENCODE_PLAIN,
                          encode_raw));
    *ids = e->ids.at;
    *count = e->ids.count;
    return INGOT_OK;
}

status ingot_encode(const ingot_tokenizer *t, const char *input, int64_t bytes, ingot_encode_mode mode, int32_t **ids,
                    int64_t *count)
{
    *ids = NULL;
    *count = 0;
    ingot_encoder *e;
    TRY(ingot_encoder_new(t, &e));
    const int32_t *made;
    status s = ingot_encoder_run(e, input, bytes, mode, &made, count);
    if (!s) {
        int32_t *fitted = realloc(e->ids.at, (size_t)MAX(e->ids.count, 1) * sizeof *fitted);
        if (!fitted) s = fail_memory(t->ctx, "token ids", (uint64_t)e->ids.count * 4);
        if (fitted) {
            *ids = fitted;
            e->ids.at = NULL;
            e->ids.capacity = 0;
        }
    }
    ingot_encoder_free(e);
    if (s) *count = 0;
    return s;
}
