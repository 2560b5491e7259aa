/* Lifetimes to offsets. */
#include "plan/plan.h"

typedef struct by_size {
    const plan_interval *interval;
    int64_t index;
} by_size;

static int largest_first(const void *x, const void *y)
{
    const by_size *a = x, *b = y;
    if (a->interval->bytes != b->interval->bytes) return a->interval->bytes > b->interval->bytes ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index; /* qsort is not stable; plans must be */
}

static bool alive_together(const plan_interval *a, const plan_interval *b)
{
    return a->first <= b->last && b->first <= a->last;
}

static int64_t aligned(int64_t bytes, int64_t align)
{
    return (bytes + align - 1) / align * align;
}

/* placed[] is kept sorted by offset. */
static int64_t lowest_gap(const plan_interval *in, plan_interval *const *placed, int64_t count, int64_t align)
{
    int64_t offset = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!alive_together(in, placed[i])) continue;
        if (placed[i]->offset >= offset + aligned(in->bytes, align)) break;
        offset = MAX(offset, placed[i]->offset + aligned(placed[i]->bytes, align));
    }
    return offset;
}

bool plan_offsets(plan_interval *intervals, int64_t count, int64_t align, int64_t *arena_bytes)
{
    *arena_bytes = 0;
    by_size *order = malloc(sizeof *order * (size_t)MAX(count, 1));
    plan_interval **placed = malloc(sizeof *placed * (size_t)MAX(count, 1));
    if (order && placed) {
        for (int64_t i = 0; i < count; i++) order[i] = (by_size){&intervals[i], i};
        qsort(order, (size_t)count, sizeof *order, largest_first);
        for (int64_t i = 0; i < count; i++) {
            plan_interval *in = &intervals[order[i].index];
            in->offset = lowest_gap(in, placed, i, align);
            int64_t at = i;
            for (; at > 0 && placed[at - 1]->offset > in->offset; at--) placed[at] = placed[at - 1];
            placed[at] = in;
            *arena_bytes = MAX(*arena_bytes, in->offset + aligned(in->bytes, align));
        }
    }
    bool done = order && placed;
    free(order);
    free(placed);
    return done;
}

int64_t plan_lower_bound(const plan_interval *intervals, int64_t count, int64_t align)
{
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++) { /* the most is reached where some interval begins */
        int64_t alive = 0;
        for (int64_t j = 0; j < count; j++)
            if (intervals[j].first <= intervals[i].first && intervals[i].first <= intervals[j].last)
                alive += aligned(intervals[j].bytes, align);
        most = MAX(most, alive);
    }
    return most;
}

bool plan_overlaps(const plan_interval *intervals, int64_t count, int64_t *one, int64_t *other)
{
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = i + 1; j < count; j++) {
            const plan_interval *a = &intervals[i], *b = &intervals[j];
            if (!alive_together(a, b) || a->offset >= b->offset + b->bytes || b->offset >= a->offset + a->bytes)
                continue;
            *one = i;
            *other = j;
            return true;
        }
    }
    return false;
}
