/* The numbers of attention_rows as a stage; operands 0 .. 5 are the op's inputs. */
#ifndef OPS_ATTENTION_ROWS_ATTENTION_ROWS_STAGE_CUDA_H
#define OPS_ATTENTION_ROWS_ATTENTION_ROWS_STAGE_CUDA_H

#include "ops/attention_rows/attention_rows.h"

enum {
    ATTEND_HEADS,
    ATTEND_KV_HEADS,
    ATTEND_DIM,
    ATTEND_PAGE,
    ATTEND_PAGES,
    ATTEND_SEQUENCES,
    ATTEND_POOL,
    ATTEND_SHARES, /* at most; parts has room for as many */
    ATTEND_GROUP,  /* heads that read one kv head */
    ATTEND_LANES   /* threads that look at one key */
};

/* Operands: the row's own key and value and their slot in the pools, where the same launch makes them; the result; the
 * shares' results; how many shares of a head are done, 0 before and after. */
enum { ATTEND_OWN_K = 6, ATTEND_OWN_V = 7, ATTEND_O = 8, ATTEND_PARTS = 9, ATTEND_OWN_SLOT = 10, ATTEND_ARRIVED = 11 };

enum { ATTEND_MOST_SHARES = 16 };

enum {
    ATTEND_SHORT = 512,
    ATTEND_SHARE = 128
}; /* keys of a cache that is one share; keys of a share of a longer one */

#endif
