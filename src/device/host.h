/* Memory and launching for devices whose memory is the host's: ref, cpu, null. */
#ifndef DEVICE_HOST_H
#define DEVICE_HOST_H

#include "device/device.h"

status host_alloc(device *d, int64_t bytes, allocation *out); /* aligned to 64, pages untouched */
void host_free(device *d, allocation *a);
status host_fill(device *d, const allocation *a, int64_t offset, const void *pattern, int64_t pattern_bytes,
                 int64_t bytes);
status host_write(device *d, const allocation *to, int64_t offset, const void *from, int64_t bytes);
status host_read(device *d, const allocation *from, int64_t offset, void *to, int64_t bytes);
status host_compile(device *d, const work *w, void **out);
void host_drop(device *d, void *compiled);
status host_sync(device *d);
void host_close(device *d); /* frees d->self */
/* What device_defs over the host's memory have alike. */
#define HOST_DEVICE                                                                                                    \
    .close = host_close, .alloc = host_alloc, .free = host_free, .fill = host_fill, .write = host_write,               \
    .read = host_read, .compile = host_compile, .drop = host_drop, .sync = host_sync
/* Launches every step in turn on `q`, timing each where the work asks for it. */
status host_run_steps(device *d, const work *w, queue *q);

#endif
