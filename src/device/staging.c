/* Staging where a run is done when it returns: buffers of the host, copied at once. */
#include "device/device.h"

typedef struct host_staging {
    const allocation *memory;
    int64_t offset, bytes;
    int slots, next;
    char *host; /* slots * bytes */
} host_staging;

static void close_staging(device *d, void *staging)
{
    (void)d;
    host_staging *s = staging;
    if (!s) return;
    free(s->host);
    free(s);
}

static status open_staging(device *d, const allocation *memory, int64_t offset, int64_t bytes, bool inputs, int slots,
                           void **out)
{
    (void)inputs;
    host_staging *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return fail_memory(d->ctx, "staging", sizeof *s);
    *s = (host_staging){memory, offset, bytes, slots, 0, calloc((size_t)slots, (size_t)bytes)};
    if (!s->host) {
        close_staging(d, s);
        return fail_memory(d->ctx, "staging", (uint64_t)slots * (uint64_t)bytes);
    }
    *out = s;
    return INGOT_OK;
}

static char *slot_at(const host_staging *s, int slot)
{
    return s->host + slot * s->bytes;
}

static status fill(device *d, void *staging, void **host)
{
    (void)d;
    host_staging *s = staging;
    s->next = (s->next + 1) % s->slots;
    *host = slot_at(s, s->next);
    return INGOT_OK;
}

static status send(device *d, void *staging, int64_t at, int64_t bytes)
{
    const host_staging *s = staging;
    return d->def->write(d, s->memory, s->offset + at, slot_at(s, s->next) + at, bytes);
}

static status fetch(device *d, void *staging, int *slot)
{
    host_staging *s = staging;
    *slot = s->next = (s->next + 1) % s->slots;
    return d->def->read(d, s->memory, s->offset, slot_at(s, s->next), s->bytes);
}

static status wait_for(device *d, void *staging, int slot, const void **host)
{
    (void)d;
    *host = slot_at(staging, slot);
    return INGOT_OK;
}

static const staging_def at_once = {
    .open = open_staging, .close = close_staging, .fill = fill, .send = send, .fetch = fetch, .wait = wait_for};

const staging_def *device_staging(const device *d)
{
    return d->def->staging ? d->def->staging : &at_once;
}
