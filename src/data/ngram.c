/* Interpolated Kneser-Ney over token ids, as a trie: a node is an n-gram, its parent the n-gram without its last token.
 *
 *   P_n(w | h) = max(c(h w) - D_n, 0) / c(h .) + D_n N1+(h .) / c(h .) P_n-1(w | h'),    P_0 = 1 / V
 *
 * c counts occurrences for the highest order and for n-grams that begin at the start of a document, which nothing can
 * precede; for the others it counts the different tokens that precede them. D_n = n1 / (n1 + 2 n2).
 */
#include "data/ngram.h"
#include "data/data.h"

#include <math.h>

enum { NONE = 0, ROOT = 1, MOST_NODES = 1 << 30, READ_TOKENS = 4096 };

typedef struct node {
    uint32_t count, total, kinds; /* c(h w); of its children: the sum of counts, and how many there are */
    uint32_t parent;
    uint8_t order;
} node;

struct ingot_ngram {
    context *ctx;
    int order, vocab_size, eot;
    ARRAY(node) nodes; /* [0] is nobody, [1] the empty n-gram */
    uint64_t *keys;    /* open addressing: parent << 32 | token, 0 is free; */
    uint32_t *children;
    uint64_t capacity; /* a power of 2 */
    double discount[NGRAM_MOST_ORDER + 1];
};

/* The n-grams that end at a place: suffix[k] of k tokens, NONE where there is none. */
typedef struct suffixes {
    uint32_t suffix[NGRAM_MOST_ORDER + 1];
    int length; /* tokens of history that there are, at most order */
} suffixes;

static uint64_t slot_of(const ingot_ngram *n, uint64_t key)
{
    uint64_t slot = (key * 0x9E3779B97F4A7C15u) >> 20 & (n->capacity - 1);
    while (n->keys[slot] && n->keys[slot] != key) slot = (slot + 1) & (n->capacity - 1);
    return slot;
}

static uint32_t find(const ingot_ngram *n, uint32_t parent, int32_t token)
{
    uint64_t slot = slot_of(n, (uint64_t)parent << 32 | (uint32_t)token);
    return n->keys[slot] ? n->children[slot] : NONE;
}

static status grow(ingot_ngram *n)
{
    ingot_ngram grown = *n;
    grown.capacity = n->capacity ? n->capacity * 2 : 1 << 16;
    grown.keys = calloc(grown.capacity, sizeof *grown.keys);
    grown.children = malloc(grown.capacity * sizeof *grown.children);
    if (!grown.keys || !grown.children) {
        free(grown.keys);
        free(grown.children);
        return fail_memory(n->ctx, "n-grams", grown.capacity * 12);
    }
    for (uint64_t i = 0; i < n->capacity; i++) {
        if (!n->keys[i]) continue;
        uint64_t slot = slot_of(&grown, n->keys[i]);
        grown.keys[slot] = n->keys[i];
        grown.children[slot] = n->children[i];
    }
    free(n->keys);
    free(n->children);
    *n = grown;
    return INGOT_OK;
}

static status find_or_add(ingot_ngram *n, uint32_t parent, int32_t token, uint32_t *out, bool *added)
{
    if ((uint64_t)n->nodes.count >= n->capacity / 2) TRY(grow(n));
    uint64_t key = (uint64_t)parent << 32 | (uint32_t)token, slot = slot_of(n, key);
    *added = !n->keys[slot];
    if (*added) {
        node fresh = {.parent = parent, .order = (uint8_t)(n->nodes.at[parent].order + 1)};
        if (n->nodes.count >= MOST_NODES || !ARRAY_PUSH(&n->nodes, fresh))
            return fail_memory(n->ctx, "n-grams", (uint64_t)n->nodes.count * sizeof fresh);
        n->keys[slot] = key;
        n->children[slot] = (uint32_t)(n->nodes.count - 1);
    }
    *out = n->children[slot];
    return INGOT_OK;
}

/* ---- counting ---- */

/* Goes on to the n-grams that end at `token`; counts them unless it only begins a history. */
static status count_token(ingot_ngram *n, suffixes *s, int32_t token, bool counts)
{
    suffixes next = {.suffix = {ROOT}, .length = MIN(s->length + 1, n->order)};
    for (int k = 1; k <= next.length; k++) {
        bool added;
        TRY(find_or_add(n, s->suffix[k - 1], token, &next.suffix[k], &added));
        bool longest = k == next.length;
        if (longest && counts) n->nodes.at[next.suffix[k]].count++;
        if (added && k > 1) n->nodes.at[next.suffix[k - 1]].count++; /* one more token that precedes it */
    }
    *s = next;
    return INGOT_OK;
}

static void start_history(suffixes *s)
{
    *s = (suffixes){.suffix = {ROOT}};
}

/* Calls `see` for each token; a last EOT is added where EOT is known. */
typedef status token_visitor(void *user, int32_t token, bool first);
static status visit_tokens(const ingot_data *data, int eot, token_visitor *see, void *user)
{
    int32_t ids[READ_TOKENS];
    for (int64_t at = 0; at < data->tokens; at += READ_TOKENS) {
        int64_t count = MIN(READ_TOKENS, data->tokens - at);
        TRY(ingot_data_read(data, at, count, ids));
        if (ingot_interrupted(data->ctx)) return ingot_fail(data->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
        for (int64_t i = 0; i < count; i++) TRY(see(user, ids[i], at + i == 0));
    }
    return eot >= 0 ? see(user, eot, false) : INGOT_OK;
}

typedef struct counting {
    ingot_ngram *n;
    suffixes s;
} counting;

static status count_one(void *user, int32_t token, bool first)
{
    counting *c = user;
    ingot_ngram *n = c->n;
    if (token < 0 || token >= n->vocab_size)
        return ingot_fail(n->ctx, INGOT_ERROR_FORMAT, "token id %u is beyond the vocabulary of %d", (uint32_t)token,
                          n->vocab_size);
    if (!first || token != n->eot) TRY(count_token(n, &c->s, token, true));
    if (token != n->eot) return INGOT_OK;
    start_history(&c->s);
    return count_token(n, &c->s, token, false);
}

/* Totals of the contexts, and the discounts from how many n-grams were seen once and twice. */
static void finish(ingot_ngram *n)
{
    int64_t seen[NGRAM_MOST_ORDER + 1][3] = {{0}};
    for (int64_t i = ROOT + 1; i < n->nodes.count; i++) {
        const node *child = &n->nodes.at[i];
        if (!child->count) continue;
        n->nodes.at[child->parent].total += child->count;
        n->nodes.at[child->parent].kinds++;
        if (child->count < 3) seen[child->order][child->count]++;
    }
    for (int k = 1; k <= n->order; k++) {
        double once = (double)seen[k][1], twice = (double)seen[k][2];
        /* Where nothing was seen once the estimate is 0, and what is new would have no probability at all. */
        n->discount[k] = once > 0 ? once / (once + 2 * twice) : .1;
    }
}

ingot_status ingot_ngram_train(const ingot_data *data, int order, int vocab_size, ingot_ngram **out)
{
    *out = NULL;
    if (order < 1 || order > NGRAM_MOST_ORDER || vocab_size < 1)
        return ingot_fail(data->ctx, INGOT_ERROR_ARGUMENT, "%d-grams of %d tokens: orders are 1 to %d", order,
                          vocab_size, NGRAM_MOST_ORDER);
    ingot_ngram *n = calloc(1, sizeof *n);
    if (!n) return fail_memory(data->ctx, "n-grams", sizeof *n);
    *n = (ingot_ngram){.ctx = data->ctx, .order = order, .vocab_size = vocab_size, .eot = data->eot};
    counting c = {.n = n};
    start_history(&c.s);
    status s = ARRAY_PUSH(&n->nodes, (node){0}) && ARRAY_PUSH(&n->nodes, (node){0})
                   ? INGOT_OK
                   : fail_memory(data->ctx, "n-grams", 64);
    if (!s) s = visit_tokens(data, n->eot, count_one, &c);
    if (s) {
        ingot_ngram_free(n);
        return s;
    }
    finish(n);
    *out = n;
    return INGOT_OK;
}

void ingot_ngram_free(ingot_ngram *n)
{
    if (!n) return;
    ARRAY_FREE(&n->nodes);
    free(n->keys);
    free(n->children);
    free(n);
}

/* ---- asking ---- */

static double probability(const ingot_ngram *n, const suffixes *s, int32_t token)
{
    double p = 1. / n->vocab_size;
    for (int k = 0; k < n->order && k <= s->length && s->suffix[k]; k++) {
        const node *h = &n->nodes.at[s->suffix[k]];
        if (!h->total) continue;
        uint32_t child = find(n, s->suffix[k], token);
        double count = child ? n->nodes.at[child].count : 0, d = n->discount[k + 1];
        p = (fmax(count - d, 0) + d * h->kinds * p) / h->total;
    }
    return p;
}

static void advance(const ingot_ngram *n, suffixes *s, int32_t token)
{
    suffixes next = {.suffix = {ROOT}, .length = MIN(s->length + 1, n->order)};
    for (int k = 1; k <= next.length; k++) next.suffix[k] = s->suffix[k - 1] ? find(n, s->suffix[k - 1], token) : NONE;
    *s = next;
}

double ngram_probability(const ingot_ngram *n, const int32_t *history, int length, int32_t token)
{
    suffixes s;
    start_history(&s);
    for (int i = MAX(0, length - n->order + 1); i < length; i++) advance(n, &s, history[i]);
    return probability(n, &s, token);
}

double ngram_discount(const ingot_ngram *n, int order)
{
    return n->discount[order];
}

typedef struct evaluation {
    const ingot_ngram *n;
    suffixes s;
    double nats;
    int64_t tokens;
} evaluation;

static status evaluate_one(void *user, int32_t token, bool first)
{
    evaluation *e = user;
    if (!first) {
        e->nats -= log(probability(e->n, &e->s, token));
        e->tokens++;
    }
    if (token == e->n->eot) start_history(&e->s);
    advance(e->n, &e->s, token);
    return INGOT_OK;
}

ingot_status ingot_ngram_evaluate(const ingot_ngram *n, const ingot_data *data, double *nats, int64_t *tokens)
{
    evaluation e = {.n = n};
    start_history(&e.s);
    TRY(visit_tokens(data, n->eot, evaluate_one, &e));
    *nats = e.nats;
    *tokens = e.tokens;
    return INGOT_OK;
}
