/* The machine that a figure was measured on: what it says of itself, and what it was seen to do. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include "base/threads.h"
#include "bench/identity.h"
#include "device/device.h"

typedef struct machine {
    cpu_identity cpu;
    int threads; /* of the pool */
    /* Multiply-adds on all threads of the pool, 2 FLOPs each; 0: not measured, or no such instruction. */
    double peak_flops, peak_flops_f64, peak_flops_bf16;
    double copy_bytes; /* bytes a second, read and written, over arrays far larger than the caches: the faster of memcpy
                          and of stores that go past the caches */
    double read_bytes; /* the same, read alone */
} machine;

void machine_describe(pool *p, machine *out);
/* Also runs the loops, about 0.3 s. */
status machine_measure(context *ctx, machine *out);

/* The larger of both figures each: what was seen once, the machine can do. Returns the largest ratio of two that differ. */
double machine_raise(machine *on, const machine *seen);

/* What a device can do at most, for `of limit` and MFU. */
typedef struct device_limit {
    double flops, bytes; /* a second; 0: unknown */
    const char *from;    /* "multiply-adds in registers", "the device's own largest product" */
} device_limit;
device_limit machine_limit(const machine *on, dtype type); /* of the cpu: what machine_measure saw */
/* The cpu: that; other devices: their own product of 8192^3 and copy of 256 MB, timed now. */
status device_limit_measure(device *d, const machine *on, dtype type, device_limit *out);

#endif
