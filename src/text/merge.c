/* Merging one word (Sennrich et al. 2016): of all neighbouring pairs the one of lowest rank, the leftmost among equals,
 * becomes one token, until no pair has a rank. Short words look through their few ranks; long ones keep a heap, so that
 * a megabyte without a space takes n log n. */
#include "text/tokenizer.h"

#define SHORT_WORD   48        /* where the heap begins to win, on random words */
#define LONGEST_WORD (1 << 30) /* longer ones (none in practice) are merged in parts */

static int64_t merge_short(const merge_table *m, int32_t *ids, int count)
{
    uint32_t ranks[SHORT_WORD];
    for (int i = 0; i + 1 < count; i++) ranks[i] = merge_rank(m, ids[i], ids[i + 1]);
    while (count > 1) {
        int best = 0;
        for (int i = 1; i + 1 < count; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == NO_RANK) break;
        ids[best] = m->results[ranks[best]];
        count--;
        for (int i = best + 1; i < count; i++) ids[i] = ids[i + 1], ranks[i - 1] = ranks[i];
        if (best + 1 < count) ranks[best] = merge_rank(m, ids[best], ids[best + 1]);
        if (best) ranks[best - 1] = merge_rank(m, ids[best - 1], ids[best]);
    }
    return count;
}

static void sift_down(uint64_t *heap, int64_t count, int64_t i)
{
    uint64_t moved = heap[i];
    for (int64_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && heap[child + 1] < heap[child]) child++;
        if (moved <= heap[child]) break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

static void push(merge_scratch *s, uint32_t rank, int64_t position)
{
    s->ranks.at[position] = rank;
    if (rank == NO_RANK) return;
    uint64_t item = (uint64_t)rank << 32 | (uint64_t)position;
    int64_t i = s->heap.count++;
    for (int64_t parent; i > 0 && item < s->heap.at[parent = (i - 1) / 2]; i = parent)
        s->heap.at[i] = s->heap.at[parent];
    s->heap.at[i] = item;
}

/* Each merge takes one item away and adds at most two, so `3 * count` items are room enough. */
static bool long_scratch(merge_scratch *s, int64_t count)
{
    return ARRAY_RESERVE(&s->heap, 3 * count) && ARRAY_RESERVE(&s->ranks, count) && ARRAY_RESERVE(&s->next, count) &&
           ARRAY_RESERVE(&s->previous, count);
}

static int64_t merge_long(const merge_table *m, merge_scratch *s, int32_t *ids, int64_t count)
{
    s->heap.count = 0;
    for (int64_t i = 0; i < count; i++) {
        s->next.at[i] = i + 1 < count ? (int32_t)(i + 1) : -1;
        s->previous.at[i] = (int32_t)(i - 1);
        uint32_t rank = i + 1 < count ? merge_rank(m, ids[i], ids[i + 1]) : NO_RANK;
        s->ranks.at[i] = rank;
        if (rank != NO_RANK) s->heap.at[s->heap.count++] = (uint64_t)rank << 32 | (uint64_t)i;
    }
    for (int64_t i = s->heap.count / 2 - 1; i >= 0; i--) sift_down(s->heap.at, s->heap.count, i);
    while (s->heap.count) {
        uint64_t top = s->heap.at[0];
        s->heap.at[0] = s->heap.at[--s->heap.count];
        if (s->heap.count) sift_down(s->heap.at, s->heap.count, 0);
        int64_t at = (int64_t)(top & UINT32_MAX);
        uint32_t rank = (uint32_t)(top >> 32);
        if (s->ranks.at[at] != rank) continue; /* an older pair's item */
        int32_t gone = s->next.at[at], after = s->next.at[gone], before = s->previous.at[at];
        ids[at] = m->results[rank];
        s->ranks.at[gone] = NO_RANK;
        s->next.at[at] = after;
        if (after >= 0) s->previous.at[after] = (int32_t)at;
        push(s, after >= 0 ? merge_rank(m, ids[at], ids[after]) : NO_RANK, at);
        if (before >= 0) push(s, merge_rank(m, ids[before], ids[at]), before);
    }
    int64_t merged = 0;
    for (int32_t i = 0; i >= 0; i = s->next.at[i]) ids[merged++] = ids[i];
    return merged;
}

status merge_word(const tokenizer *t, merge_scratch *scratch, int32_t *ids, int64_t count, int64_t *merged)
{
    if (count <= SHORT_WORD) {
        *merged = merge_short(&t->merges, ids, (int)count);
        return INGOT_OK;
    }
    *merged = 0;
    for (int64_t first = 0; first < count; first += LONGEST_WORD) {
        int64_t part = MIN(count - first, (int64_t)LONGEST_WORD);
        if (!long_scratch(scratch, part)) return fail_memory(t->ctx, "a long word", (uint64_t)part * 36);
        int64_t kept = merge_long(&t->merges, scratch, ids + first, part);
        memmove(ids + *merged, ids + first, (size_t)kept * sizeof *ids);
        *merged += kept;
    }
    return INGOT_OK;
}

void merge_scratch_free(merge_scratch *s)
{
    ARRAY_FREE(&s->heap);
    ARRAY_FREE(&s->ranks);
    ARRAY_FREE(&s->next);
    ARRAY_FREE(&s->previous);
}
