/* Added tokens (<|endoftext|> and the like): found in the text before it is cut into words, longest first. */
#include "text/tokenizer.h"
#include "text/utf8.h"

typedef struct trie_node {
    int32_t child, sibling; /* 0: none */
    int32_t token;          /* -1: none ends here */
    uint8_t byte;
} trie_node;

struct added_trie {
    ARRAY(trie_node) nodes; /* [0] is the root */
    const added_token *tokens;
    bool begins[256]; /* some token begins with this byte */
};

/* The child of `node` by `byte`, made when `make` is set; 0 when there is none, -1 when memory is out. */
static int32_t child_of(added_trie *t, int32_t node, uint8_t byte)
{
    for (int32_t c = t->nodes.at[node].child; c; c = t->nodes.at[c].sibling)
        if (t->nodes.at[c].byte == byte) return c;
    int32_t made = (int32_t)t->nodes.count;
    if (!ARRAY_PUSH(&t->nodes, (trie_node){.sibling = t->nodes.at[node].child, .token = -1, .byte = byte})) return -1;
    t->nodes.at[node].child = made;
    return made;
}

status added_trie_new(context *ctx, const added_token *tokens, int count, bool normalized, added_trie **out)
{
    *out = NULL;
    bool wanted = false;
    for (int i = 0; i < count; i++) wanted = wanted || tokens[i].normalized == normalized;
    if (!wanted) return INGOT_OK;
    added_trie *t = calloc(1, sizeof *t);
    bool ok = t && ARRAY_PUSH(&t->nodes, (trie_node){.token = -1});
    for (int i = 0; ok && i < count; i++) {
        if (tokens[i].normalized != normalized) continue;
        t->tokens = tokens;
        t->begins[(uint8_t)tokens[i].content[0]] = true;
        int32_t node = 0;
        for (size_t j = 0; j < tokens[i].length && node >= 0; j++)
            node = child_of(t, node, (uint8_t)tokens[i].content[j]);
        ok = node >= 0;
        if (ok) t->nodes.at[node].token = i;
    }
    if (!ok) {
        added_trie_free(t);
        return fail_memory(ctx, "added tokens", (uint64_t)count);
    }
    *out = t;
    return INGOT_OK;
}

void added_trie_free(added_trie *t)
{
    if (!t) return;
    ARRAY_FREE(&t->nodes);
    free(t);
}

static const added_token *longest_at(const added_trie *t, const uint8_t *bytes, size_t length)
{
    int32_t node = 0, found = -1;
    for (size_t i = 0; i < length; i++) {
        int32_t c = t->nodes.at[node].child;
        while (c && t->nodes.at[c].byte != bytes[i]) c = t->nodes.at[c].sibling;
        if (!c) break;
        node = c;
        if (t->nodes.at[node].token >= 0) found = t->nodes.at[node].token;
    }
    return found < 0 ? NULL : &t->tokens[found];
}

/* Whether the character before (after) `at` belongs to a word; bytes that are no UTF-8 do not. */
static bool word_before(const uint8_t *bytes, size_t at)
{
    if (!at) return false;
    const uint8_t *start = utf8_previous(bytes, bytes + at);
    size_t length = (size_t)(bytes + at - start);
    return utf8_sequence(start, length) == length && is_word_character(utf8_decode(start, &length));
}

static bool word_after(const uint8_t *bytes, size_t length, size_t at)
{
    return at < length && utf8_sequence(bytes + at, length - at) &&
           is_word_character(utf8_decode(bytes + at, &(size_t){0}));
}

static size_t spaces_before(const uint8_t *bytes, size_t at, size_t from)
{
    while (at > from) {
        const uint8_t *start = utf8_previous(bytes + from, bytes + at);
        size_t length = (size_t)(bytes + at - start);
        if (utf8_sequence(start, length) != length || class_of(utf8_decode(start, &length)) != CLASS_SPACE) break;
        at -= length;
    }
    return at;
}

static size_t spaces_after(const uint8_t *bytes, size_t length, size_t at)
{
    for (size_t count; at < length && utf8_sequence(bytes + at, length - at); at += count)
        if (class_of(utf8_decode(bytes + at, &count)) != CLASS_SPACE) break;
    return at;
}

bool added_next(const added_trie *t, const uint8_t *bytes, size_t length, bool skip_special, size_t taken, size_t *from,
                added_match *out)
{
    for (size_t at = *from; at < length; at++) {
        if (!t->begins[bytes[at]]) continue;
        const added_token *token = longest_at(t, bytes + at, length - at);
        if (!token) continue;
        size_t end = at + token->length;
        *from = end; /* a match that is not taken is passed over, as `tokenizers` does */
        bool skipped = (skip_special && token->special) ||
                       (token->single_word && (word_before(bytes, at) || word_after(bytes, length, end)));
        if (skipped) {
            at = end - 1;
            continue;
        }
        *out = (added_match){.token = token, .start = at, .end = end};
        if (token->lstrip) out->start = MIN(at, spaces_before(bytes, at, taken));
        if (token->rstrip) out->end = spaces_after(bytes, length, end);
        return true;
    }
    *from = length;
    return false;
}
