/* A hash table of pairs, their lists of places, and the queue (a binary heap). */
#include "text/pairs.h"

#include "text/tokenizer.h"

static bool pairs_grow(pair_table *t)
{
    uint64_t size = t->slots ? (t->mask + 1) * 2 : 1 << 16;
    int32_t *bigger = malloc(size * sizeof *bigger);
    if (!bigger) return false;
    memset(bigger, 0xFF, size * sizeof *bigger);
    for (int64_t i = 0; i < t->records.count; i++) {
        uint64_t j = pair_hash(t->records.at[i].pair);
        while (bigger[j & (size - 1)] >= 0) j++;
        bigger[j & (size - 1)] = (int32_t)i;
    }
    free(t->slots);
    t->slots = bigger;
    t->mask = size - 1;
    return true;
}

/* The record of a pair, made when it is new; NULL when memory is out. Valid until the next call. */
static pair_record *record_of(pair_table *t, uint64_t pair)
{
    if ((!t->slots || (uint64_t)t->records.count * 2 > t->mask) && !pairs_grow(t)) return NULL;
    for (uint64_t i = pair_hash(pair);; i++) {
        int32_t *slot = &t->slots[i & t->mask];
        if (*slot >= 0 && t->records.at[*slot].pair == pair) return &t->records.at[*slot];
        if (*slot >= 0) continue;
        if (t->records.count >= INT32_MAX ||
            !ARRAY_PUSH(&t->records, (pair_record){.pair = pair, .found = NO_LIST, .merge = -1}))
            return NULL;
        *slot = (int32_t)t->records.count - 1;
        return &t->records.at[*slot];
    }
}

static int32_t new_list(pair_table *t)
{
    if (t->free_lists.count) return t->free_lists.at[--t->free_lists.count];
    return ARRAY_PUSH(&t->lists, (places){0}) ? (int32_t)t->lists.count - 1 : NO_LIST;
}

bool pairs_free_list(pair_table *t, int32_t list)
{
    ARRAY_FREE(&t->lists.at[list]);
    return ARRAY_PUSH(&t->free_lists, list);
}

bool pair_change(pair_table *t, uint64_t pair, int64_t change)
{
    pair_record *r = record_of(t, pair);
    if (r) r->count += change;
    return r;
}

bool pair_found(pair_table *t, uint64_t pair, uint32_t place, int64_t times)
{
    pair_record *r = record_of(t, pair);
    if (!r) return false;
    r->count += times;
    if (r->found == NO_LIST) {
        r->found = new_list(t);
        if (r->found == NO_LIST || !ARRAY_PUSH(&t->touched, (int32_t)(r - t->records.at))) return false;
    }
    return ARRAY_PUSH(&t->lists.at[r->found], place);
}

static bool comes_before(const queued_pair *a, const queued_pair *b)
{
    return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

static bool queue_push(pair_table *t, queued_pair item)
{
    if (!ARRAY_PUSH(&t->queue, item)) return false;
    int64_t i = t->queue.count - 1;
    for (int64_t parent; i > 0 && comes_before(&item, &t->queue.at[parent = (i - 1) / 2]); i = parent)
        t->queue.at[i] = t->queue.at[parent];
    t->queue.at[i] = item;
    return true;
}

static queued_pair queue_pop(pair_table *t)
{
    queued_pair top = t->queue.at[0], moved = t->queue.at[--t->queue.count];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < t->queue.count; i = child) {
        if (child + 1 < t->queue.count && comes_before(&t->queue.at[child + 1], &t->queue.at[child])) child++;
        if (!comes_before(&t->queue.at[child], &moved)) break;
        t->queue.at[i] = t->queue.at[child];
    }
    t->queue.at[i] = moved;
    return top;
}

bool pairs_queue_found(pair_table *t)
{
    for (int64_t i = 0; i < t->touched.count; i++) {
        int32_t record = t->touched.at[i];
        pair_record *r = &t->records.at[record];
        int32_t list = r->found;
        r->found = NO_LIST;
        bool ok =
            r->count > 0 ? queue_push(t, (queued_pair){r->count, r->pair, record, list}) : pairs_free_list(t, list);
        if (!ok) return false;
    }
    t->touched.count = 0;
    return true;
}

bool pairs_next(pair_table *t, queued_pair *out)
{
    *out = (queued_pair){.list = NO_LIST};
    while (t->queue.count) {
        queued_pair top = queue_pop(t);
        int64_t count = t->records.at[top.record].count;
        if (count == top.count) {
            *out = top;
            return true;
        }
        top.count = count;
        if (!queue_push(t, top)) return false;
    }
    return true;
}

void pairs_free(pair_table *t)
{
    for (int64_t i = 0; i < t->lists.count; i++) ARRAY_FREE(&t->lists.at[i]);
    free(t->slots);
    ARRAY_FREE(&t->records);
    ARRAY_FREE(&t->lists);
    ARRAY_FREE(&t->free_lists);
    ARRAY_FREE(&t->touched);
    ARRAY_FREE(&t->queue);
}
