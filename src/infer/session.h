/* The session's inside: programs over rows, the cache's pages, the rows of the run that is being put together.
 *
 * A run: rows_begin, then for each sequence rows_add with its next tokens, then rows_run. Logits come back only for rows
 * that were wanted, in the order in which they were added.
 */
#ifndef INFER_SESSION_H
#define INFER_SESSION_H

#include "infer/pages.h"
#include "infer/sampler.h"

#define SESSION_SIZES 12 /* programs of 1, 2, 4, ... 2048 rows */

typedef ingot_session session;

struct ingot_session {
    context *ctx;
    const ingot_model *model;
    ingot_model_info info;
    ingot_device *device;
    ingot_store *store;
    bool owns_store, owns_tokenizer;
    const ingot_tokenizer *tokenizer;
    int64_t context_tokens, sequences, page_size, table_width; /* table_width: pages a sequence */
    int64_t most_rows, most_wanted;                            /* of one run: powers of two */
    page_pool pages;
    ingot_program *programs[SESSION_SIZES][SESSION_SIZES]; /* by log2 of rows and of logit rows; NULL: not compiled */
    ingot_program *ran;                                    /* the one of the last run */
    /* The run that is put together: most_rows of each, most_wanted of `wanted`. */
    int32_t *tokens, *position, *sequence, *slot, *wanted;
    int64_t rows, wanted_rows;
    int32_t *block_table; /* (sequences, table_width) */
    float *logits;        /* of the last run: in own_logits, or where the device has written them */
    float *own_logits;    /* (logits_rows, V) */
    int64_t logits_rows;
    int32_t *free_tables; /* rows of block_table that no sequence has: a stack */
    int64_t free_table_count;
    candidate *room; /* V of them */
    ingot_session_stats stats;
    double run_seconds; /* of the last run, without the compilation that it may have needed */
};

/* What a sequence has in the cache. */
typedef struct cached {
    int32_t table; /* its row of the block table; -1: none */
    int64_t pages; /* taken or shared, at the front of that row */
    int64_t done;  /* tokens whose keys and values are there */
} cached;

/* Pages for `tokens` tokens, the first `shared` pages being those of `prefix`, which another sequence filled. False when
 * there are not enough, or no row of the block table: nothing is taken then. */
bool session_open(session *s, cached *c, int64_t tokens, const int32_t *prefix, int64_t shared);
void session_close(session *s, cached *c);
static inline int64_t pages_for(const session *s, int64_t tokens)
{
    return (tokens + s->page_size - 1) / s->page_size;
}

/* The program for so many rows and logit rows, each a power of two; compiled when it is asked for the first time. */
status session_program(session *s, int64_t rows, int64_t wanted, ingot_program **out);

void rows_begin(session *s);
/* The next `count` tokens of c: the caller sees to it that they fit (rows_left) and that c has pages for them. The last
 * `wanted` of them give logits. */
void rows_add(session *s, cached *c, const int32_t *tokens, int64_t count, int64_t wanted);
static inline int64_t rows_left(const session *s)
{
    return s->most_rows - s->rows;
}
/* s->logits (wanted_rows, V) is valid until the next run. */
status rows_run(session *s);

double session_seconds(void);

#endif
