/* The pairs of neighbouring tokens while a tokenizer is trained: how often each occurs and where, and which is next.
 *
 * A queue gives the most frequent pair, the one of smaller ids among equals. Its items may be out of date: one whose
 * count has changed goes back with the new count. That, and that an item's places are those found since its pair was
 * last queued, is how `tokenizers` does it; the order of merges depends on it.
 */
#ifndef TEXT_PAIRS_H
#define TEXT_PAIRS_H

#include "base/base.h"

#define NO_LIST (-1)

typedef ARRAY(uint32_t) places;

typedef struct pair_record {
    uint64_t pair; /* pair_key */
    int64_t count;
    int32_t found; /* places found since it was last queued: index of `lists`, or NO_LIST */
    int32_t merge; /* the trainer's: its last index in the list of merges, or -1 */
} pair_record;

typedef struct queued_pair {
    int64_t count;
    uint64_t pair;
    int32_t record, list; /* indices of `records` and `lists` */
} queued_pair;

typedef struct pair_table {
    ARRAY(pair_record) records;
    int32_t *slots; /* hash table of indices of `records`, -1 empty */
    uint64_t mask;
    ARRAY(places) lists;
    ARRAY(int32_t) free_lists;
    ARRAY(int32_t) touched;   /* records that have found places */
    ARRAY(queued_pair) queue; /* a heap */
} pair_table;

void pairs_free(pair_table *t);

/* All of these are false when memory is out. */
bool pair_change(pair_table *t, uint64_t pair, int64_t change);
/* `pair` occurs at `place`, in a word that occurs `times` times. */
bool pair_found(pair_table *t, uint64_t pair, uint32_t place, int64_t times);
/* Queues every pair that has found places. */
bool pairs_queue_found(pair_table *t);
/* The next pair with its true count; *out has count 0 when none is left. Its list of places then is the caller's, who
 * gives it back with pairs_free_list. */
bool pairs_next(pair_table *t, queued_pair *out);
bool pairs_free_list(pair_table *t, int32_t list);

#endif
