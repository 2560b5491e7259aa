/* Memory planning: pure functions from lifetimes to offsets. No device, no graph: easy to trust, easy to fuzz.
 *
 *     plan_interval in[] = {{.bytes = 64, .first = 0, .last = 1}, {.bytes = 64, .first = 2, .last = 3}};
 *     int64_t arena;
 *     plan_offsets(in, 2, 64, &arena);            // both get offset 0, arena is 64
 */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include "base/base.h"

typedef struct plan_interval {
    int64_t bytes;
    int64_t first, last; /* steps in which it is alive, both included */
    int64_t offset;      /* out */
} plan_interval;

/* Gives every interval an offset, aligned, so that no two that are alive at once overlap; *arena_bytes is the end of the
 * last. Greedy by size, largest first, each at the lowest offset that is free for its life (Pisarchyk & Lee 2020). */
bool plan_offsets(plan_interval *intervals, int64_t count, int64_t align, int64_t *arena_bytes);

/* The most bytes alive in one step: no plan can need less. */
int64_t plan_lower_bound(const plan_interval *intervals, int64_t count, int64_t align);

/* Whether two intervals that share a step share a byte: the rule that a plan must keep, for tests and debug builds. */
bool plan_overlaps(const plan_interval *intervals, int64_t count, int64_t *one, int64_t *other);

#endif
