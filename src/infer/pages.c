#include "infer/pages.h"

status pages_init(context *ctx, page_pool *p, int64_t count)
{
    *p = (page_pool){.count = count, .free_count = count};
    p->free = calloc((size_t)count, sizeof *p->free);
    p->users = calloc((size_t)count, sizeof *p->users);
    if (!p->free || !p->users) {
        pages_free(p);
        return fail_memory(ctx, "the list of cache pages", (uint64_t)count * 8);
    }
    for (int64_t i = 0; i < count; i++) p->free[i] = (int32_t)(count - 1 - i);
    return INGOT_OK;
}

void pages_free(page_pool *p)
{
    free(p->free);
    free(p->users);
    *p = (page_pool){0};
}

int32_t pages_take(page_pool *p)
{
    if (!p->free_count) return -1;
    int32_t page = p->free[--p->free_count];
    p->users[page] = 1;
    return page;
}

void pages_share(page_pool *p, int32_t page)
{
    p->users[page]++;
}

void pages_drop(page_pool *p, int32_t page)
{
    if (--p->users[page] == 0) p->free[p->free_count++] = page;
}
