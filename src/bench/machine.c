/* Names and limits of a machine. */
#define _GNU_SOURCE
#include "bench/machine.h"
#include "bench/measure.h"
#include "kit/cpu/peak.h"

#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

static void read_cpu_name(char *out, size_t size)
{
    struct utsname system;
    snprintf(out, size, "%s", uname(&system) ? "unknown" : system.machine);
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) return;
    char line[512];
    while (fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(out, size, "%s", colon + 2);
        break;
    }
    fclose(file);
}

void machine_describe(pool *p, machine *out)
{
    *out = (machine){.cores = (int)sysconf(_SC_NPROCESSORS_ONLN), .threads = pool_size(p)};
    read_cpu_name(out->cpu, sizeof out->cpu);
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (pages > 0 && size > 0) out->memory_bytes = (uint64_t)pages * (uint64_t)size;
}

typedef struct copy_work {
    pool *pool;
    float *from, *to;
    int64_t count;
} copy_work;

static void copy_part(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const copy_work *w = arg;
    memcpy(w->to + first, w->from + first, (size_t)(last - first) * sizeof(float));
}

static status copy_once(void *arg)
{
    const copy_work *w = arg;
    pool_for(w->pool, w->count, 1 << 16, copy_part, arg);
    return INGOT_OK;
}

typedef struct peak_work {
    pool *pool;
    double *sums; /* one a thread: what was computed must be used */
} peak_work;

enum { PEAK_ROUNDS = 200000 };

static void peak_part(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    peak_work *w = arg;
    for (int64_t i = first; i < last; i++) w->sums[i] = peak_multiply_adds(PEAK_ROUNDS);
}

static status peak_once(void *arg)
{
    peak_work *w = arg;
    pool_for(w->pool, pool_size(w->pool), 1, peak_part, arg);
    return INGOT_OK;
}

static status measure_copy(context *ctx, pool *p, machine *out)
{
    copy_work w = {.pool = p, .count = 32 << 20};
    w.from = malloc((size_t)w.count * sizeof(float));
    w.to = malloc((size_t)w.count * sizeof(float));
    status s = w.from && w.to ? INGOT_OK : fail_memory(ctx, "measuring bandwidth", (uint64_t)w.count * 8);
    bench_stats stats = {0};
    if (!s) {
        memset(w.from, 1, (size_t)w.count * sizeof(float));
        memset(w.to, 1, (size_t)w.count * sizeof(float));
        s = bench_measure(ctx, copy_once, &w, &(bench_effort){.warmup = 1, .repetitions = 5}, &stats);
    }
    if (!s) out->copy_bytes = 2.0 * (double)w.count * sizeof(float) / stats.least;
    bench_stats_free(&stats);
    free(w.from);
    free(w.to);
    return s;
}

status machine_measure(context *ctx, machine *out)
{
    pool *p = context_pool(ctx);
    machine_describe(p, out);
    TRY(measure_copy(ctx, p, out));
    peak_work w = {.pool = p, .sums = calloc((size_t)pool_size(p), sizeof(double))};
    if (!w.sums) return fail_memory(ctx, "measuring the peak", 8);
    bench_stats stats;
    status s = bench_measure(ctx, peak_once, &w, &(bench_effort){.warmup = 1, .repetitions = 7}, &stats);
    free(w.sums);
    if (s) return s;
    out->peak_flops = peak_flops_a_round() * PEAK_ROUNDS * pool_size(p) / stats.least;
    bench_stats_free(&stats);
    return INGOT_OK;
}
