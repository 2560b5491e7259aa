/* The pool of pages that keys and values lie in: which are free, and how many sequences use each. The pages of a prompt
 * are shared by its samples. No device memory is touched here.
 */
#ifndef INFER_PAGES_H
#define INFER_PAGES_H

#include "base/base.h"

typedef struct page_pool {
    int64_t count, free_count;
    int32_t *free;  /* a stack; the lowest page is taken first from a fresh pool */
    int32_t *users; /* by page */
} page_pool;

status pages_init(context *ctx, page_pool *p, int64_t count);
void pages_free(page_pool *p);
int32_t pages_take(page_pool *p); /* -1 when none is free */
void pages_share(page_pool *p, int32_t page);
void pages_drop(page_pool *p, int32_t page); /* free again with its last user */

#endif
