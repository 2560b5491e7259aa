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
/* Launches every step in turn on `q`, timing each where the work asks for it. */
status host_run_steps(device *d, const work *w, queue *q);

#endif
