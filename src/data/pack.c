/* Order and packing; see batches.h. */
#include "base/rng.h"
#include "data/batches.h"

/* A Feistel network over the next even number of bits, walked until it lands below count (Black & Rogaway 2002). */
uint64_t permute(uint64_t seed, uint32_t epoch, uint64_t index, uint64_t count)
{
    enum { ROUNDS = 6, STREAM = 0x5046 };
    int half = 1;
    while (half < 32 && (UINT64_C(1) << 2 * half) < count) half++;
    const uint64_t mask = (UINT64_C(1) << half) - 1;
    if (count < 2) return 0;
    do {
        uint64_t left = index >> half, right = index & mask;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            uint64_t mixed = left ^ (rng_bits(seed, epoch, round, STREAM, right) & mask);
            left = right;
            right = mixed;
        }
        index = left << half | right;
    } while (index >= count);
    return index;
}

/* Longest first; equal ones in the order of their places, so that qsort's instability cannot show. */
static int compare_pieces(const void *a, const void *b)
{
    const row_piece *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Puts each piece into the fullest row that still takes it: row_of[i]; rows' free positions in `space`. */
static int64_t assign_rows(const packed_rows *p, int64_t length, int64_t *row_of, int64_t *space)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < p->pieces.count; i++) {
        int64_t best = -1, wanted = p->pieces.at[i].count;
        for (int64_t r = 0; r < rows; r++)
            if (space[r] >= wanted && (best < 0 || space[r] < space[best])) {
                best = r;
                if (space[r] == wanted) break;
            }
        if (best < 0) space[best = rows++] = length;
        space[best] -= wanted;
        row_of[i] = best;
    }
    return rows;
}

/* Sorts pieces by their rows, keeping their order inside a row. */
static bool gather_rows(packed_rows *p, const int64_t *row_of)
{
    int64_t count = p->pieces.count;
    row_piece *sorted = malloc(sizeof *sorted * (size_t)MAX(count, 1));
    if (!sorted || !ARRAY_RESERVE(&p->row_start, p->rows + 1)) {
        free(sorted);
        return false;
    }
    int64_t *start = p->row_start.at;
    memset(start, 0, sizeof *start * (size_t)(p->rows + 1));
    p->row_start.count = p->rows + 1;
    for (int64_t i = 0; i < count; i++) start[row_of[i] + 1]++;
    for (int64_t r = 0; r < p->rows; r++) start[r + 1] += start[r];
    for (int64_t i = count; i-- > 0;) sorted[--start[row_of[i] + 1]] = p->pieces.at[i];
    /* Each entry behind the first went down to its own row's start; shift them back into place. */
    memmove(start, start + 1, sizeof *start * (size_t)p->rows);
    start[p->rows] = count;
    memcpy(p->pieces.at, sorted, sizeof *sorted * (size_t)count);
    free(sorted);
    return true;
}

status pack_rows(context *ctx, packed_rows *p, int64_t length)
{
    int64_t count = p->pieces.count;
    if (count) qsort(p->pieces.at, (size_t)count, sizeof *p->pieces.at, compare_pieces);
    int64_t *row_of = malloc(2 * sizeof *row_of * (size_t)MAX(count, 1));
    bool done = row_of != NULL;
    if (done) {
        p->rows = assign_rows(p, length, row_of, row_of + count);
        done = gather_rows(p, row_of);
    }
    free(row_of);
    return done ? INGOT_OK : fail_memory(ctx, "packed rows", (uint64_t)count * 32);
}

void packed_rows_free(packed_rows *p)
{
    ARRAY_FREE(&p->pieces);
    ARRAY_FREE(&p->row_start);
}
