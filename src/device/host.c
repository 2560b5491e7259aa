/* Memory and launching for devices whose memory is the host's. */
#define _GNU_SOURCE
#include "device/host.h"

#include "base/system_memory.h"

#include <sys/mman.h>
#include <time.h>

#define HUGE_PAGE (2 << 20)
#define LARGE     (64 << 20) /* bytes from which it is worth asking how much is left */

status host_alloc(device *d, int64_t bytes, allocation *out)
{
    /* The system promises more than it has and kills later: what cannot fit is refused before it is touched. */
    uint64_t have = bytes >= LARGE ? memory_available() : UINT64_MAX;
    if ((uint64_t)bytes > have) {
        char wanted[24], left[24];
        return ingot_fail(d->ctx, INGOT_ERROR_MEMORY, "not enough memory for a buffer of %s: %s are left",
                          format_bytes(wanted, (uint64_t)bytes), format_bytes(left, have));
    }
    int64_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : 64, rounded = (bytes + align - 1) / align * align;
    void *at = NULL;
    if (posix_memalign(&at, (size_t)align, (size_t)MAX(rounded, align)))
        return fail_memory(d->ctx, "a buffer", (uint64_t)bytes);
#ifdef MADV_HUGEPAGE
    if (align == HUGE_PAGE) madvise(at, (size_t)rounded, MADV_HUGEPAGE);
#endif
    *out = (allocation){.address = at, .bytes = bytes};
    return INGOT_OK;
}

void host_free(device *d, allocation *a)
{
    (void)d;
    free(a->address);
    *a = (allocation){0};
}

status host_fill(device *d, const allocation *a, int64_t offset, const void *pattern, int64_t pattern_bytes,
                 int64_t bytes)
{
    (void)d;
    char *at = (char *)a->address + offset;
    int64_t done = MIN(pattern_bytes, bytes);
    memcpy(at, pattern, (size_t)done);
    while (done < bytes) { /* doubles what is there: whole patterns until the last piece */
        int64_t piece = MIN(done, bytes - done);
        memcpy(at + done, at, (size_t)piece);
        done += piece;
    }
    return INGOT_OK;
}

status host_write(device *d, const allocation *to, int64_t offset, const void *from, int64_t bytes)
{
    (void)d;
    memcpy((char *)to->address + offset, from, (size_t)bytes);
    return INGOT_OK;
}

status host_read(device *d, const allocation *from, int64_t offset, void *to, int64_t bytes)
{
    (void)d;
    memcpy(to, (const char *)from->address + offset, (size_t)bytes);
    return INGOT_OK;
}

status host_compile(device *d, const work *w, void **out)
{
    (void)d, (void)w;
    *out = NULL;
    return INGOT_OK;
}

void host_drop(device *d, void *compiled)
{
    (void)d, (void)compiled;
}

status host_sync(device *d)
{
    (void)d;
    return INGOT_OK;
}

void host_close(device *d)
{
    free(d->self);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

status host_run_steps(device *d, const work *w, queue *q)
{
    (void)d;
    int64_t last = w->ns ? now_ns() : 0;
    for (int64_t i = 0; i < w->count; i++) {
        const step *s = &w->steps[i];
        TRY(s->kernel->launch(s, q));
        if (!w->ns) continue;
        int64_t now = now_ns();
        w->ns[i] = now - last;
        last = now;
    }
    return INGOT_OK;
}
