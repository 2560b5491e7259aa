/* Rows for training and evaluation: which tokens stand in which row, as a function of (options, state) alone. */
#ifndef DATA_BATCHES_H
#define DATA_BATCHES_H

#include "data/data.h"

context *batches_context(const ingot_batches *b);

/* A pseudo-random permutation of [0, count) that needs no memory: where `index` goes in `epoch`. */
uint64_t permute(uint64_t seed, uint32_t epoch, uint64_t index, uint64_t count);

/* A document, or a part of one that is longer than a row: positions [first, first + count) of the tokens predict what
 * follows each. What follows a document's last token is EOT. */
typedef struct row_piece {
    int64_t first, count;
    bool ends; /* the last target is EOT, whatever is stored there */
} row_piece;

/* The rows of one group of documents: row r holds pieces[row_start[r] .. row_start[r + 1]). */
typedef struct packed_rows {
    ARRAY(row_piece) pieces;
    ARRAY(int64_t) row_start;
    int64_t rows;
} packed_rows;

/* Best fit, longest first: rows of `length` positions. Reorders `pieces` in place; deterministic. */
status pack_rows(context *ctx, packed_rows *p, int64_t length);
void packed_rows_free(packed_rows *p);

#endif
