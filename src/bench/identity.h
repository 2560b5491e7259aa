/* What a processor says of itself, and what people call it: from the text of /proc/cpuinfo, or from `sysctl` lines.
 *
 *     cpu_identity cpu;
 *     identity_parse_cpuinfo(text, "Amazon EC2", &cpu);      // cpu.family: "Graviton3 (Neoverse V1)"
 */
#ifndef BENCH_IDENTITY_H
#define BENCH_IDENTITY_H

#include "base/base.h"

typedef struct cpu_identity {
    char name[128];   /* "AMD EPYC 9B45": its own words, or the family where it has none */
    char family[64];  /* "EPYC Turin (Zen 5)"; "unknown" */
    char isa[256];    /* "avx2 fma avx512f avx512_bf16": what kernels may care about, in a fixed order */
    int logical;      /* processors that the system schedules */
    int cores;        /* 0: unknown */
    int fast_cores;   /* of two kinds; 0: one kind */
    int64_t l1_bytes; /* data, of one core; these three 0 where the text does not say */
    int64_t l2_bytes;
    uint64_t memory_bytes;
} cpu_identity;

/* vendor: who made the machine ("Amazon EC2"), which names what a part number alone does not; NULL: unknown. */
void identity_parse_cpuinfo(const char *text, const char *vendor, cpu_identity *out);
/* "machdep.cpu.brand_string: Apple M1 Max" and the like, a line each. */
void identity_parse_sysctl(const char *text, cpu_identity *out);
/* Of this machine. */
void identity_here(cpu_identity *out);

#endif
