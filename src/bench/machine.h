/* The machine that a figure was measured on: what it says of itself, and what it was seen to do. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include "base/threads.h"

typedef struct machine {
    char cpu[128];         /* "AMD EPYC 9B45" */
    int cores, threads;    /* of the machine, of the pool */
    uint64_t memory_bytes; /* 0: unknown */
    double peak_flops;     /* float32 multiply-adds on all threads of the pool, 2 FLOPs each; 0: not measured */
    double copy_bytes;     /* bytes a second, read and written, over arrays far larger than the caches */
} machine;

/* The CPU's name as /proc/cpuinfo (Linux) gives it; other systems: the architecture. */
void machine_describe(pool *p, machine *out);
/* Also runs the two loops, about 0.5 s. */
status machine_measure(context *ctx, machine *out);

#endif
